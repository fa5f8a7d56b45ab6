"""The checks of a folder of LMDBs. Each prints one line, with the first fault if it fails."""

import collections

import numpy as np

from data_prep.build import examine
from data_prep.build.builder import BOXES, test_boxes
from data_prep.files import read_json
from data_prep.geometry import patch
from data_prep.plan import balance
from data_prep.sources.source import SPLITS, content_hash
from data_prep.store.databases import in_order, key, keys, records

# Largest mean difference per pixel between a stored patch and the original; JPEG is at quality 95, the others lossless.
TOLERANCE = {"jpg": 6, "png": 0, "raw": 0}


class Check:
    """The checks of one folder; `failures` counts those that failed.

    data: Prepared; sample: number of records per database of the stream form whose pixels are compared
    """

    def __init__(self, data, sample):
        self.data, self.sample, self.failures = data, sample, 0

    def report(self, what, wrong):
        """Print the line of one check. what: the check; wrong: its faults (list of str), empty if it passed."""
        self.failures += bool(wrong)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        print(f"FAILED  {what}: {wrong[0]}{more}" if wrong else f"ok      {what}", flush=True)

    def run(self):
        """Run all checks. Returns the training samples, or None if damaged databases prevent the further checks."""
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
        """Every database is there and numbered without gaps, and has as many images as labels."""
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
                    wrong.append(f"{name} has {len(names)} records, but should have {expected}")
                wrong += [f"{name}: record {key(n)} is {k}" for n, k in enumerate(names) if k != key(n)][:1]
            except OSError as error:
                wrong.append(str(error))
        self.report("databases complete, images and labels in the same order", wrong)
        return not wrong

    def names(self):
        """No name is in two splits, and each split is as large as the manifest says."""
        times = collections.Counter(self.data.names)
        wrong = [f"{name} is in images.csv more than once" for name, number in times.items() if number > 1]
        for split in SPLITS:
            members, images = len(self.data.members(split)), self.data.manifest.splits[split].images
            wrong += [f"{split} has {members} images, the manifest says {images}"] * (members != images)
        self.report("no name in two splits", wrong)

    def same_names(self):
        """Names and splits agree with the data set."""
        data = self.data
        numbers = [data.number(name) for name in data.names]
        wrong = [f"{name} is not in the data set" for name, number in zip(data.names, numbers) if number is None]
        if not wrong:
            moved = np.flatnonzero(data.source.partition[numbers] != data.parts)
            wrong = [f"{data.names[row]} is in another split of the data set" for row in moved]
        self.report("names and splits agree with the data set", wrong)
        return not wrong

    def labels(self):
        """Labels agree with the data set."""
        data = self.data
        for split in SPLITS:
            if (data.folder / f"{split}_labels").exists():
                differ = np.argwhere(data.labels(split) != data.source_labels(split))
                wrong = [f"{data.names[data.members(split)[i]]}: {data.attributes[a]} differs" for i, a in differ]
                self.report(f"{split} labels agree with the data set", wrong)

    def contents(self):
        """Images of the data set have the same bytes as when the LMDBs were built."""
        data = self.data

        digests = in_order(lambda name: content_hash(data.source.read(data.number(name))), data.names, 2)
        changed = [name for name, one, other in zip(data.names, digests, data.hashes) if one != other.tobytes()]
        self.report("images of the data set unchanged", [f"{name} has other content now" for name in changed])

    def boxes(self):
        """True boxes of the test split agree with the data set, if it has some. Raises ValueError, OSError."""
        data, path = self.data, self.data.folder / BOXES
        if not data.source.boxes:
            return
        members = data.members("test")
        stored = read_json(path, list) if path.exists() else []
        wrong = [f"{path} has boxes of {len(stored)} images, but should have {len(members)}"] * (
            len(stored) != len(members)
        )
        for row, boxes in zip(members, stored):
            if boxes != test_boxes(data.source, data.number(data.names[row])):
                wrong.append(f"those of {data.names[row]} differ")
        self.report("true boxes agree with the data set", wrong)

    def duplicates(self):
        """No training image has the content of a validation or test image."""
        data, splits = self.data, list(SPLITS)
        pairs = examine.duplicates(data.hashes, data.parts)
        wrong, held_out = [], 0
        for one, other in pairs:
            if data.parts[one] == SPLITS["train"]:
                words = f"{data.names[one]} (train) equals {data.names[other]} ({splits[data.parts[other]]})"
                wrong.append(f"{words}; build without --keep-duplicates to leave it out")
            else:
                held_out += 1
        more = f" ({held_out} images are in both of these)" if held_out else ""
        self.report(f"no image of the validation or test split is in training{more}", wrong)

    def balance(self, samples):
        """Absent and present alternate for every attribute, so that every even batch is 1:1, unless it is natural."""
        data, balanced = self.data, self.data.manifest.sampling == "balanced"
        shape = (-1, 2, len(data.attributes), data.solvers)
        labels, wrong = samples["label"], []
        if data.stream:
            labels = np.fromiter((datum.label for datum in records(data.folder / "train")), np.int64, len(samples))
        if len(labels) % np.prod(shape[1:]):
            wrong.append(f"{len(labels)} records are not a whole number of rounds")
        elif balanced:
            off = np.argwhere(labels.reshape(shape) != np.array([0, 1])[:, np.newaxis, np.newaxis])
            wrong += [f"round {t}: {data.attributes[a]} is not absent, then present" for t, _, a, _ in off]
        else:
            wrong += [f"record {i} has another label than planned" for i in np.flatnonzero(labels != samples["label"])]
        what = "every batch 1:1 for every attribute" if balanced else "batches natural, labelled as planned"
        self.report(what, wrong)

    def samples(self, samples):
        """Samples are training images with their labels, cropped as the paper allows. False if other images occur."""
        data = self.data
        images = samples["image"]
        outside = np.flatnonzero((images < 0) | (images >= len(data.members("train"))))
        self.report("only training images are sampled", [f"record {i} is of image {images[i]}" for i in outside])
        labels = data.labels("train")
        if labels is None or len(outside):
            return not len(outside)
        column = data.columns(len(samples))
        differ = np.flatnonzero(labels[images, column] != samples["label"])
        names = [f"record {i}: {data.attributes[column[i]]} of {data.train_name(images[i])}" for i in differ]
        self.report("labels of training records agree with their images", [f"{words} differs" for words in names])

        shifts = np.stack([samples["dx"], samples["dy"]]).astype(int)
        far = np.flatnonzero(abs(shifts).max(axis=0) > balance.LARGEST_SHIFT)
        wrong = [f"record {i} is shifted by {shifts[0, i]}, {shifts[1, i]}" for i in far]
        smaller = (labels.sum(axis=0) * 2 <= len(labels))[column] == samples["label"]
        may = {"both": smaller | True, "none": smaller & False, "minority": smaller}[data.settings.augment]
        moved = shifts.any(axis=0) | (samples["mirror"] != 0)
        wrong += [f"record {i} is shifted, but its class is the larger one" for i in np.flatnonzero(moved & ~may)]
        self.report("patches shifted by at most 5 %, and only in the class that is augmented", wrong)
        return True

    def pixels(self, samples):
        """Stored images are the data set's, cropped as planned: a sample of the stream, all of the compact form."""
        data, wrong, compared = self.data, [], 0
        for name in ("train", "val_images", "test_images") if data.stream else [f"{split}_images" for split in SPLITS]:
            members = data.members(name.partition("_")[0])
            total = len(samples) if name == "train" else len(members)
            chosen = np.linspace(0, total - 1, min(self.sample, total)).astype(int) if data.stream else range(total)
            for number, image, content in data.records(name, chosen):
                compared += 1
                taken, _, *cut = samples[number].item() if name == "train" else (number, 0, 0, 0, 0)
                row = members[taken]
                fault = self.fault(row, image, content, *cut)
                if fault:
                    wrong.append(f"{name} {number:08d} ({data.names[row]}) {fault}")
        self.report(f"stored images agree with the data set, cropped as planned ({compared:,} compared)", wrong)

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
            if image.shape != expected.shape or abs(image - expected).mean() > TOLERANCE[data.settings.encoding]:
                return "is not cropped from it as planned"
        return None
