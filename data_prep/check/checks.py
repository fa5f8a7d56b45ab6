"""The checks of a folder of LMDBs. Each prints one line, with the first fault if it fails."""

import collections

import numpy as np

from data_prep.build import examine
from data_prep.build.builder import BOXES, test_boxes
from data_prep.files import read_json
from data_prep.geometry import patch
from data_prep.plan import balance
from data_prep.sources.source import content_hash
from data_prep.store import manifest
from data_prep.store.databases import in_order, key, keys, records
from data_prep.store.image_list import SPLITS

# Largest mean difference per pixel between a stored patch and the original; JPEG is at quality 95, the others lossless.
TOLERANCE = {"jpg": 6, "png": 0, "raw": 0}


class Check:
    """The checks of one folder; `failures` counts those that failed.

    data: Prepared; sample: number of records per database of the stream form whose pixels are compared
    """

    def __init__(self, data, sample):
        self.data, self.sample, self.failures = data, sample, 0

    def report(self, what, wrong):
        """Print the line of one check; whether it passed. what: the check; wrong: its faults (iterable of str)."""
        wrong = list(wrong)
        self.failures += bool(wrong)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        print(f"FAILED  {what}: {wrong[0]}{more}" if wrong else f"ok      {what}", flush=True)
        return not wrong

    def run(self):
        """Run all checks. Returns the training samples, or None if damaged databases prevent the further checks."""
        data = self.data
        changed = manifest.changed(data.folder, data.manifest)
        self.report("every file as it was built", (f"{path} is missing, changed or damaged" for path in changed))
        if not self.report("databases complete, images and labels in the same order", self.databases()):
            return None
        self.report("no name in two splits", self.names())
        self.report("labels as the manifest counts them", self.counts())
        if data.source:
            if not self.report("names and splits agree with the data set", self.same_names()):
                return None
            for split in SPLITS:
                if (data.folder / f"{split}_labels").exists():
                    self.report(f"{split} labels agree with the data set", self.labels(split))
            self.report("images of the data set unchanged", self.contents())
            if (data.folder / BOXES).exists():
                self.report("true boxes agree with the data set", self.boxes())
        self.duplicates()
        samples = data.samples()
        what = "every batch 1:1 for every attribute"
        if data.manifest.sampling != "balanced":
            what = "batches natural, labelled as planned"
        self.report(what, self.balance(samples))
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
        for name, expected in sizes.items():
            try:
                names = list(keys(data.folder / name))
                if len(names) != expected:
                    yield f"{name} has {len(names)} records, but should have {expected}"
                yield from [f"{name}: record {key(n)} is {k}" for n, k in enumerate(names) if k != key(n)][:1]
            except OSError as error:
                yield str(error)

    def names(self):
        """No name is in two splits, and each split is as large as the manifest says."""
        times = collections.Counter(self.data.names)
        yield from (f"{name} is in images.csv more than once" for name, number in times.items() if number > 1)
        for split in SPLITS:
            members, images = len(self.data.members(split)), self.data.manifest.splits[split].images
            if members != images:
                yield f"{split} has {members} images, the manifest says {images}"

    def counts(self):
        """Each split has as many positives of each attribute as the manifest says."""
        data = self.data
        for split in SPLITS:
            labels = data.labels(split)
            for name, found in zip(data.attributes, [] if labels is None else labels.sum(axis=0)):
                expected = data.manifest.splits[split].positive[name]
                if found != expected:
                    yield f"{split} has {found} faces with {name}, the manifest says {expected}"

    def same_names(self):
        """Names and splits agree with the data set."""
        data = self.data
        numbers = [data.number(name) for name in data.names]
        yield from (f"{name} is not in the data set" for name, number in zip(data.names, numbers) if number is None)
        if None not in numbers:
            moved = np.flatnonzero(data.source.partition[numbers] != data.parts)
            yield from (f"{data.names[row]} is in another split of the data set" for row in moved)

    def labels(self, split):
        """Labels agree with the data set."""
        data = self.data
        differ = np.argwhere(data.labels(split) != data.source_labels(split))
        return (f"{data.names[data.members(split)[i]]}: {data.attributes[a]} differs" for i, a in differ)

    def contents(self):
        """Images of the data set have the same bytes as when the LMDBs were built."""
        data = self.data
        digests = in_order(lambda name: content_hash(data.source.read(data.number(name))), data.names, 2)
        for name, now, before in zip(data.names, digests, data.hashes):
            if now != before.tobytes():
                yield f"{name} has other content now"

    def boxes(self):
        """True boxes of the test split agree with the data set. Raises ValueError, OSError."""
        data, path, members = self.data, self.data.folder / BOXES, self.data.members("test")
        stored = read_json(path, list)
        if len(stored) != len(members):
            yield f"{path} has boxes of {len(stored)} images, but should have {len(members)}"
        for row, boxes in zip(members, stored):
            if boxes != test_boxes(data.source, data.number(data.names[row])):
                yield f"those of {data.names[row]} differ"

    def duplicates(self):
        """No training image has the content of a validation or test image."""
        data, splits = self.data, list(SPLITS)
        pairs = examine.duplicates(data.hashes, data.parts)
        leaks = [pair for pair in pairs if data.parts[pair[0]] == SPLITS["train"]]
        both = len(pairs) - len(leaks)
        more = f" ({both} images are in both of these)" if both else ""
        self.report(
            f"no image of the validation or test split is in training{more}",
            (
                f"{data.names[first]} (train) equals {data.names[second]} ({splits[data.parts[second]]}); build "
                "without --keep-duplicates to leave it out"
                for first, second in leaks
            ),
        )

    def balance(self, samples):
        """Absent and present alternate for every attribute, so that every even batch is 1:1, unless it is natural."""
        data = self.data
        shape = (-1, 2, len(data.attributes), data.solvers)
        labels = samples["label"]
        if data.stream:
            labels = np.fromiter((datum.label for datum in records(data.folder / "train")), np.int64, len(samples))
        if len(labels) % np.prod(shape[1:]):
            yield f"{len(labels)} records are not a whole number of rounds"
        elif data.manifest.sampling == "balanced":
            off = np.argwhere(labels.reshape(shape) != np.array([0, 1])[:, np.newaxis, np.newaxis])
            yield from (f"round {t}: {data.attributes[a]} is not absent, then present" for t, _, a, _ in off)
        else:
            differ = np.flatnonzero(labels != samples["label"])
            yield from (f"record {i} has another label than planned" for i in differ)

    def samples(self, samples):
        """Samples are training images with their labels, cropped as the paper allows. False if other images occur."""
        data, images = self.data, samples["image"]
        outside = np.flatnonzero((images < 0) | (images >= len(data.members("train"))))
        wrong = (f"record {i} is of image {images[i]}" for i in outside)
        if not self.report("only training images are sampled", wrong):
            return False
        labels = data.labels("train")
        if labels is None:
            return True
        column = data.columns(len(samples))
        differ = np.flatnonzero(labels[images, column] != samples["label"])
        names = (f"record {i}: {data.attributes[column[i]]} of {data.train_name(images[i])} differs" for i in differ)
        self.report("labels of training records agree with their images", names)

        shifts = np.stack([samples["dx"], samples["dy"]]).astype(int)
        far = np.flatnonzero(abs(shifts).max(axis=0) > balance.LARGEST_SHIFT)
        wrong = [f"record {i} is shifted by {shifts[0, i]}, {shifts[1, i]}" for i in far]
        may = np.array([balance.augmented(data.settings.augment, of_one) for of_one in labels.T])[column, images]
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
            made = data.settings.convert or data.settings.detect  # not the image itself
            return (
                None
                if made or content_hash(content) == data.hashes[row].tobytes()
                else "is not the image it was made from"
            )
        if data.source:
            expected = patch(data.source.face(data.number(data.names[row])), dx, dy, mirror).astype(int)
            if image.shape != expected.shape or abs(image - expected).mean() > TOLERANCE[data.settings.encoding]:
                return "is not cropped from it as planned"
        return None
