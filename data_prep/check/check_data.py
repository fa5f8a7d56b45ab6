"""Read a folder of LMDBs back and prove that it holds what the paper asks for.

    python -m data_prep.check.check_data data/lmdb --out build/check
    python -m data_prep.check.check_data data/lmdb --source /elsewhere/CelebA
    python -m data_prep.check.check_data data/lmdb --no-source      # the data set is not here any more

Checked: every database is whole; every batch is 1:1 for every attribute; labels agree with the data set's own; images
and labels are in step; patches are cut from the faces they say, within 5 % (a sample of them, --sample); only the
class that should be is augmented; no face of the validation or test split is trained on, by name or by content. A line
each; the exit status is 1 on any breach. Contact sheets are written to --out: look at them.
"""

import argparse
import collections
import hashlib
import pathlib
import sys

import numpy as np

from data_prep.build import examine
from data_prep.build.build_lmdb import open_source
from data_prep.check import contact_sheet
from data_prep.check.prepared import Prepared
from data_prep.geometry import face, patch
from data_prep.pictures import write_image
from data_prep.plan import balance
from data_prep.sources.images import DataError
from data_prep.sources.source import SPLITS
from data_prep.store import manifest
from data_prep.store.databases import count, datums, in_order, key, open_lmdb

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
        """All checks. Returns the training draws, or None where the databases do not allow to go on."""
        if not self.databases():
            return None
        self.names()
        if self.data.source and self.same_names():
            self.labels()
            self.contents()
        elif self.data.source:
            return None
        self.duplicates()
        draws = self.data.draws()
        self.balance(draws)
        if self.draws(draws):
            self.pixels(draws)
        return draws

    def databases(self):
        """Every database is there, numbered without gaps, images and labels of the same number."""
        data = self.data
        sizes = {f"{split}_{kind}": len(data.members(split)) for split in SPLITS for kind in ("images", "labels")}
        if data.stream:
            del sizes["train_images"], sizes["train_labels"]
            sizes["train"] = data.told["train_records"]
        wrong = []
        for name, expected in sizes.items():
            found = count(data.folder / name)
            if found != expected:
                wrong.append(f"{name} has {found} records, should have {expected}")
                continue
            with open_lmdb(data.folder / name) as environment, environment.begin() as transaction:
                keys = enumerate(transaction.cursor().iternext(values=False))
                wrong += [f"{name}: record {key(n)} is {k}" for n, k in keys if k != key(n)][:1]
        self.say("databases whole, images and labels in step", wrong)
        return not wrong

    def names(self):
        """No name is in two splits, and each split is as large as the manifest says."""
        times = collections.Counter(self.data.names)
        wrong = [f"{name} is in images.csv more than once" for name, count_ in times.items() if count_ > 1]
        for split in SPLITS:
            found, told = len(self.data.members(split)), self.data.told[split]["images"]
            wrong += [f"{split} has {found} images, the manifest says {told}"] * (found != told)
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

        def digest(name):
            content = data.source.read(data.number(name))
            return hashlib.blake2b(content, digest_size=examine.DIGEST).digest()

        found = in_order(digest, data.names, 2)
        changed = [name for name, one, other in zip(data.names, found, data.hashes) if one != other.tobytes()]
        self.say("images of the data set unchanged", [f"{name} has another content now" for name in changed])

    def duplicates(self):
        """No content is in two splits."""
        data, splits = self.data, list(SPLITS)
        pairs = examine.duplicates(data.hashes, data.parts)
        wrong = [
            f"{data.names[a]} ({splits[data.parts[a]]}) is {data.names[b]} ({splits[data.parts[b]]})" for a, b in pairs
        ]
        self.say("no content in two splits", [f"{words}; make lmdb --drop-duplicates leaves it out" for words in wrong])

    def balance(self, draws):
        """Absent and present take turns for every attribute, so that every even batch is 1:1; not in natural ones."""
        data, balanced = self.data, manifest.sampling(self.data.told) == "balanced"
        shape = (-1, 2, len(data.attributes), data.solvers)
        labels, wrong = draws["label"], []
        if data.stream:
            labels = np.fromiter((datum.label for _, datum in datums(data.folder / "train")), np.int64, len(draws))
        if len(labels) % np.prod(shape[1:]):
            wrong.append(f"{len(labels)} records are no whole number of turns")
        elif balanced:
            off = np.argwhere(labels.reshape(shape) != np.array([0, 1])[:, np.newaxis, np.newaxis])
            wrong += [f"turn {t}: {data.attributes[a]} is not absent, then present" for t, _, a, _ in off]
        else:
            wrong += [f"record {i} has another label than planned" for i in np.flatnonzero(labels != draws["label"])]
        self.say("every batch 1:1 for every attribute" if balanced else "batches natural, labelled as planned", wrong)

    def draws(self, draws):
        """Draws are of training images, with their labels, cut as the paper allows. True unless images are strange."""
        data = self.data
        images = draws["image"]
        outside = np.flatnonzero((images < 0) | (images >= len(data.members("train"))))
        self.say("only training images are drawn", [f"record {i} draws image {images[i]}" for i in outside])
        labels = data.labels("train")
        if labels is None or len(outside):
            return not len(outside)
        column = data.columns(len(draws))
        differ = np.flatnonzero(labels[images, column] != draws["label"])
        names = [f"record {i}: {data.attributes[column[i]]} of {data.train_name(images[i])}" for i in differ]
        self.say("labels of training records are their images'", [f"{words} is not as said" for words in names])

        shifts = np.stack([draws["dx"], draws["dy"]]).astype(int)
        far = np.flatnonzero(abs(shifts).max(axis=0) > balance.LARGEST_SHIFT)
        wrong = [f"record {i} is moved by {shifts[0, i]}, {shifts[1, i]}" for i in far]
        smaller = (labels.sum(axis=0) * 2 <= len(labels))[column] == draws["label"]
        may = {"both": smaller | True, "none": smaller & False, "minority": smaller}[data.settings["augment"]]
        moved = shifts.any(axis=0) | (draws["mirror"] != 0)
        wrong += [f"record {i} is moved, of the larger class" for i in np.flatnonzero(moved & ~may)]
        self.say("moved within 5 %, and only the class that is augmented", wrong)
        return True

    def pixels(self, draws):
        """Stored images are the data set's, cut as planned: a sample of the stream, all of the compact form."""
        data, wrong, looked = self.data, [], 0
        for name in ("train", "val_images", "test_images") if data.stream else [f"{split}_images" for split in SPLITS]:
            members = data.members(name.partition("_")[0])
            total = len(draws) if name == "train" else len(members)
            chosen = np.linspace(0, total - 1, min(self.sample, total)).astype(int) if data.stream else range(total)
            for number, image, content in data.records(name, chosen):
                looked += 1
                draw = draws[number].item() if name == "train" else (number, 0, 0, 0, 0)
                row = members[draw[0]]
                fault = self.fault(row, image, content, *draw[2:])
                if fault:
                    wrong.append(f"{name} {number:08d} ({data.names[row]}) {fault}")
        self.say(f"stored images are the data set's, cut as planned ({looked:,} looked at)", wrong)

    def fault(self, row, image, content, dx, dy, mirror):
        """What is wrong with a stored image of row `row` of images.csv, or None."""
        data = self.data
        if image is None:
            return "does not decode"
        if not data.stream:
            digest = hashlib.blake2b(content, digest_size=examine.DIGEST).digest()
            same = digest == data.hashes[row].tobytes() or data.settings["convert"]
            return None if same else "is not the image it was made from"
        if data.source:
            expected = patch(face(data.source.image(data.number(data.names[row]))), dx, dy, mirror).astype(int)
            if image.shape != expected.shape or abs(image - expected).mean() > WORST[data.settings["encoding"]]:
                return "is not cut from it as planned"
        return None


def write_sheets(data, draws, out, columns=8):
    """Write the contact sheets of a Prepared folder to folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    column = data.columns(len(draws))
    for number, name in enumerate(data.attributes):
        rows = np.flatnonzero(column == number)
        sides = [rows[draws["label"][rows] == label][:columns] for label in (1, 0)]
        pictures = [[data.training_patch(draws, record) for record in side] for side in sides]
        write_image(out / f"{name}.png", contact_sheet.attribute(name, *pictures))
    moved = np.flatnonzero((draws["dx"] != 0) | (draws["dy"] != 0))
    if not len(moved) or (data.stream and not data.source):
        return
    image = np.bincount(draws["image"][moved]).argmax()  # the face that was cut most often
    own = moved[draws["image"][moved] == image]
    _, first = np.unique(draws[own], return_index=True)
    cuts = [(draws[record], data.training_patch(draws, record)) for record in own[np.sort(first)][:12]]
    sheet = contact_sheet.augmentation(data.train_name(image), data.whole_face(image), cuts)
    write_image(out / "augmentation.png", sheet)


def main(arguments=None):
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.check.check_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("lmdb", metavar="LMDB", help="folder that make lmdb wrote")
    add("--source", help="folder of the data set (default: where the manifest says it was)")
    add("--no-source", action="store_true", help="check what can be checked without it")
    add(
        "--sample", type=int, default=1000, help="stream: records per database whose pixels are compared (default 1000)"
    )
    add("--out", type=pathlib.Path, default=pathlib.Path("build/check"), help="for the sheets (default build/check)")
    given = parser.parse_args(arguments)
    scratch = given.out / "images.tar"
    try:
        data = Prepared(given.lmdb)
        if not given.no_source:
            told = data.told["source"]
            data.source = open_source(given.source or told["path"], **told["options"])
            data.source.convert = data.settings["convert"]
            given.out.mkdir(parents=True, exist_ok=True)
            data.source.open(given.out)
        check = Check(data, given.sample)
        draws = check.run()
        if draws is not None and not check.breaches:
            write_sheets(data, draws, given.out)
            print(f"{given.out}: contact sheets of {len(data.attributes)} attributes, augmentation.png")
    except (DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if scratch.exists():
            scratch.unlink()
    print(f"{given.lmdb}: {'all is well' if not check.breaches else f'checks failed: {check.breaches}'}")
    return 1 if check.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
