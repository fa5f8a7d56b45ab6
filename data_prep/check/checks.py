"""The checks of a folder of LMDBs: a line each, and what is wrong where something is."""

import collections

import numpy as np

from data_prep.build import examine
from data_prep.build.builder import BOXES, test_boxes
from data_prep.files import read_json
from data_prep.geometry import patch
from data_prep.plan import balance
from data_prep.sources.source import SPLITS, content_hash
from data_prep.store.databases import in_order, key, keys, records

# Mean difference of pixels that JPEG at quality 95 stays below; the others store exactly.
WORST = {"jpg": 6, "png": 0, "raw": 0}


class Check:
    """One look at a folder; each check prints a line and counts its breach.

    data: Prepared; sample: records of the stream whose pixels are compared
    """

    def __init__(self, data, sample):
        self.data, self.sample, self.breaches = data, sample, 0

    def say(self, what, wrong):
        """Print a line for one check. wrong: what is wrong (list of str), empty if nothing is."""
        self.breaches += bool(wrong)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        print(f"BREACH  {what}: {wrong[0]}{more}" if wrong else f"ok      {what}", flush=True)

    def run(self):
        """All checks. Returns the training samples, or None where the databases do not allow to go on."""
        data = self.data
        if not self.databases():
            return None
        self.names()
        if data.source and self.same_names():
            self.labels()
            self.contents()
            self.boxes()
        elif data.source:
            return None
        self.duplicates()
        samples = data.samples()
        self.balance(samples)
        if self.samples(samples):
            self.pixels(samples)
        return samples

    def databases(self):
        """Every database is there, numbered without gaps, images and labels of the same number."""
        data = self.data
        sizes = {f"{split}_{kind}": len(data.members(split)) for split in SPLITS for kind in ("images", "labels")}
        if data.stream:
            del sizes["train_images"], sizes["train_labels"]
            sizes["train"] = data.manifest.train_records
        wrong = []
        for name, expected in sizes.items():
            try:
                names = list(keys(data.folder / name))
                if len(names) != expected:
                    wrong.append(f"{name} has {len(names)} records, should have {expected}")
                wrong += [f"{name}: record {key(n)} is {k}" for n, k in enumerate(names) if k != key(n)][:1]
            except OSError as error:
                wrong.append(str(error))
        self.say("databases whole, images and labels in step", wrong)
        return not wrong

    def names(self):
        """No name is in two splits, and each split is as large as the manifest says."""
        times = collections.Counter(self.data.names)
        wrong = [f"{name} is in images.csv more than once" for name, number in times.items() if number > 1]
        for split in SPLITS:
            members, images = len(self.data.members(split)), self.data.manifest.splits[split].images
            wrong += [f"{split} has {members} images, the manifest says {images}"] * (members != images)
        self.say("no name in two splits", wrong)

    def same_names(self):
        """Names and splits are the data set's."""
        data = self.data
        numbers = [data.number(name) for name in data.names]
        wrong = [f"{name} is not in the data set" for name, number in zip(data.names, numbers) if number is None]
        if not wrong:
            moved = np.flatnonzero(data.source.partition[numbers] != data.parts)
            wrong = [f"{data.names[row]} is of another split there" for row in moved]
        self.say("names and splits are the data set's", wrong)
        return not wrong

    def labels(self):
        """Labels agree with the data set's."""
        data = self.data
        for split in SPLITS:
            if (data.folder / f"{split}_labels").exists():
                differ = np.argwhere(data.labels(split) != data.source_labels(split))
                wrong = [f"{data.names[data.members(split)[i]]}: {data.attributes[a]} differs" for i, a in differ]
                self.say(f"{split} labels are the data set's", wrong)

    def contents(self):
        """Images of the data set are those that were examined, byte for byte."""
        data = self.data

        digests = in_order(lambda name: content_hash(data.source.read(data.number(name))), data.names, 2)
        changed = [name for name, one, other in zip(data.names, digests, data.hashes) if one != other.tobytes()]
        self.say("images of the data set unchanged", [f"{name} has another content now" for name in changed])

    def boxes(self):
        """True boxes of the test split, where the data set has some, are the data set's. Raises ValueError, OSError."""
        data, path = self.data, self.data.folder / BOXES
        if not data.source.boxes:
            return
        members = data.members("test")
        stored = read_json(path, list) if path.exists() else []
        wrong = [f"{path} has boxes of {len(stored)} images, should have {len(members)}"] * (
            len(stored) != len(members)
        )
        for row, found in zip(members, stored):
            if found != test_boxes(data.source, data.number(data.names[row])):
                wrong.append(f"those of {data.names[row]} differ")
        self.say("true boxes are the data set's", wrong)

    def duplicates(self):
        """No content of the validation or test split is trained on."""
        data, splits = self.data, list(SPLITS)
        pairs = examine.duplicates(data.hashes, data.parts)
        wrong, held_out = [], 0
        for one, other in pairs:
            if data.parts[one] == SPLITS["train"]:
                words = f"{data.names[one]} (train) is {data.names[other]} ({splits[data.parts[other]]})"
                wrong.append(f"{words}; build without --keep-duplicates to leave it out")
            else:
                held_out += 1
        more = f" ({held_out} images are in both of those)" if held_out else ""
        self.say(f"no image of the validation or test split is trained on{more}", wrong)

    def balance(self, samples):
        """Absent and present alternate for every attribute, so that every even batch is 1:1; not in natural ones."""
        data, balanced = self.data, self.data.manifest.sampling == "balanced"
        shape = (-1, 2, len(data.attributes), data.solvers)
        labels, wrong = samples["label"], []
        if data.stream:
            labels = np.fromiter((datum.label for datum in records(data.folder / "train")), np.int64, len(samples))
        if len(labels) % np.prod(shape[1:]):
            wrong.append(f"{len(labels)} records are no whole number of rounds")
        elif balanced:
            off = np.argwhere(labels.reshape(shape) != np.array([0, 1])[:, np.newaxis, np.newaxis])
            wrong += [f"round {t}: {data.attributes[a]} is not absent, then present" for t, _, a, _ in off]
        else:
            wrong += [f"record {i} has another label than planned" for i in np.flatnonzero(labels != samples["label"])]
        self.say("every batch 1:1 for every attribute" if balanced else "batches natural, labelled as planned", wrong)

    def samples(self, samples):
        """Samples are of training images, with their labels, cut as the paper allows. False where images are others."""
        data = self.data
        images = samples["image"]
        outside = np.flatnonzero((images < 0) | (images >= len(data.members("train"))))
        self.say("only training images are sampled", [f"record {i} is of image {images[i]}" for i in outside])
        labels = data.labels("train")
        if labels is None or len(outside):
            return not len(outside)
        column = data.columns(len(samples))
        differ = np.flatnonzero(labels[images, column] != samples["label"])
        names = [f"record {i}: {data.attributes[column[i]]} of {data.train_name(images[i])}" for i in differ]
        self.say("labels of training records are their images'", [f"{words} is not as said" for words in names])

        shifts = np.stack([samples["dx"], samples["dy"]]).astype(int)
        far = np.flatnonzero(abs(shifts).max(axis=0) > balance.LARGEST_SHIFT)
        wrong = [f"record {i} is moved by {shifts[0, i]}, {shifts[1, i]}" for i in far]
        smaller = (labels.sum(axis=0) * 2 <= len(labels))[column] == samples["label"]
        may = {"both": smaller | True, "none": smaller & False, "minority": smaller}[data.settings.augment]
        moved = shifts.any(axis=0) | (samples["mirror"] != 0)
        wrong += [f"record {i} is moved, of the larger class" for i in np.flatnonzero(moved & ~may)]
        self.say("patches moved by at most 5 %, and only of the class that is augmented", wrong)
        return True

    def pixels(self, samples):
        """Stored images are the data set's, cut as planned: a sample of the stream, all of the compact form."""
        data, wrong, looked = self.data, [], 0
        for name in ("train", "val_images", "test_images") if data.stream else [f"{split}_images" for split in SPLITS]:
            members = data.members(name.partition("_")[0])
            total = len(samples) if name == "train" else len(members)
            chosen = np.linspace(0, total - 1, min(self.sample, total)).astype(int) if data.stream else range(total)
            for number, image, content in data.records(name, chosen):
                looked += 1
                taken, _, *cut = samples[number].item() if name == "train" else (number, 0, 0, 0, 0)
                row = members[taken]
                fault = self.fault(row, image, content, *cut)
                if fault:
                    wrong.append(f"{name} {number:08d} ({data.names[row]}) {fault}")
        self.say(f"stored images are the data set's, cut as planned ({looked:,} looked at)", wrong)

    def fault(self, row, image, content, dx, dy, mirror):
        """What is wrong with a stored image of row `row` of images.csv, or None."""
        data = self.data
        if image is None:
            return "does not decode"
        if not data.stream:
            same = content_hash(content) == data.hashes[row].tobytes() or data.settings.convert
            return None if same else "is not the image it was made from"
        if data.source:
            expected = patch(data.source.face(data.number(data.names[row])), dx, dy, mirror).astype(int)
            if image.shape != expected.shape or abs(image - expected).mean() > WORST[data.settings.encoding]:
                return "is not cut from it as planned"
        return None
