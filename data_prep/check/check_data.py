"""Verify that a folder of LMDBs is complete and agrees with its data set and its manifest.

    face-cascade check data/lmdb
    face-cascade check data/lmdb --source /elsewhere/CelebA
    face-cascade check data/lmdb --no-source      # the data set is no longer here

The checks: every file is as it was built, by its checksum; every database is complete; labels are as the manifest
counts them; every batch is 1:1 for every attribute; no face of the validation or test split is in training, by name or
by content. With the data set: its images are unchanged, and every record is what it gives (of the stream form --sample
of them): the right face, cropped and labelled as planned. Each check prints one line; the exit status is 1 if one
fails.
"""

import collections
import dataclasses
import os
import pathlib

import numpy as np

from data_prep.build.builder import BOXES, test_boxes
from data_prep.build.examine import repeated
from data_prep.errors import DataError
from data_prep.files import read_json
from data_prep.plan.balance import Plan
from data_prep.plan.forms import Job
from data_prep.settings import add_options, given, setting
from data_prep.sources.opening import reopen
from data_prep.sources.source import content_hash
from data_prep.store import image_list, manifest
from data_prep.store.databases import decoded, read_labels, records
from data_prep.store.environment import open_lmdb
from data_prep.store.image_list import SPLITS
from data_prep.threads import in_order

# Largest mean difference per pixel between a stored image and the one that the data set gives: JPEG is at quality 95.
# Others are lossless, but another version of OpenCV may round differently.
JPEG_TOLERANCE, TOLERANCE = 6, 0.5


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command."""

    source: str = setting(
        "",
        "The data set that LMDB was made from; needed if it was moved",
        metavar="DATA",
        shown="its place in the manifest",
    )
    no_source: bool = setting(
        False, "Check without the data set, with which records are then not compared", shown="compare"
    )
    sample: int = setting(
        1000,
        "Stream form: the number of records per database that are compared; raise it for a thorough but slower check",
        least=1,
    )


def add_arguments(parser):
    """Add the arguments of `face-cascade check` to an argparse parser."""
    parser.add_argument("lmdb", metavar="LMDB", help="The folder of LMDBs to check.")
    add_options(parser, Options)


def run(arguments):
    """`face-cascade check`: the exit status. Raises DataError, OSError, ValueError."""
    options, folder = Options(**given(arguments, Options)), pathlib.Path(arguments.lmdb)
    found, source = manifest.read(folder), None
    if found.source is None or found.train_records is None or set(found.splits) != set(SPLITS):
        raise DataError(f"{folder / manifest.NAME}: source, splits or train_records are missing; build the LMDBs again")
    if not options.no_source:
        source = reopen(found, options.source)
        source.open()
    check = Check(folder, found, source, options.sample)
    check.run()
    print(f"{folder}: {f'checks failed: {check.failures}' if check.failures else 'all checks passed'}")
    return 1 if check.failures else 0


class Check:
    """The checks of one folder of LMDBs; `failures` counts those that failed.

    folder: the folder; source: the opened Source that it was made from, or None; sample: number of records per database
    of the stream form that are compared with it
    Raises DataError, OSError or ValueError for a folder that was not built by face-cascade data, or is damaged.
    """

    def __init__(self, folder, found, source, sample):
        self.folder, self.manifest, self.source, self.sample = folder, found, source, sample
        self.stream, self.failures = found.form == "stream", 0
        self.images = image_list.read(folder)

    def report(self, what, wrong):
        """Print the line of one check; whether it passed. what: the check; wrong: its faults (iterable of str)."""
        wrong = list(wrong)
        self.failures += bool(wrong)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        print(f"FAILED  {what}: {wrong[0]}{more}" if wrong else f"ok      {what}", flush=True)
        return not wrong

    def run(self):
        """Run all checks; those that damaged databases or another data set prevent are left out."""
        changed = manifest.changed(self.folder, self.manifest)
        self.report("every file as it was built", (f"{path} is missing, changed or damaged" for path in changed))
        if not self.report("databases complete, images and labels in the same order", self.databases()):
            return
        self.report("no name in two splits", self.names())
        self.report("labels as the manifest counts them", self.counts())
        self.report("no image of the validation or test split is in training", self.leaks())
        balanced = self.manifest.sampling == "balanced"
        self.report("every batch 1:1 for every attribute" if balanced else "batches natural", self.batches())
        if self.source is None:
            return
        job = Job(self.source, self.manifest.form, self.manifest.attributes)
        listed = set(self.images.names)
        job.leave_out([index for index, name in enumerate(self.source.names) if name not in listed])
        if not self.report("names and splits agree with the data set", self.agree(job)):
            return
        self.report("images of the data set unchanged", self.contents(job))
        for database in job.databases():
            if not database.name.endswith("_labels") or (self.folder / database.name).exists():
                self.report(f"{database.name} as the data set gives it", self.compared(database))
        if (self.folder / BOXES).exists():
            self.report("true boxes agree with the data set", self.boxes(job))

    # Without the data set ---------------------------------------------------------------------------------------

    def databases(self):
        """Every database is there, has as many images as labels, and as many as the manifest says."""
        sizes = {f"{split}_{kind}": split for split in SPLITS for kind in ("images", "labels")}
        sizes = {name: self.manifest.splits[split].images for name, split in sizes.items()}
        if self.stream:
            del sizes["train_images"], sizes["train_labels"]
            sizes["train"] = self.manifest.train_records
        for name, expected in sizes.items():
            try:
                with open_lmdb(self.folder / name) as environment:
                    found = environment.stat()["entries"]
                if found != expected:
                    yield f"{name} has {found} records, but should have {expected}"
            except OSError as error:
                yield str(error)

    def names(self):
        """No name is in two splits, and each split is as large as the manifest says."""
        times = collections.Counter(self.images.names)
        yield from (f"{name} is in images.csv more than once" for name, number in times.items() if number > 1)
        for split in SPLITS:
            members, images = len(self.images.members(split)), self.manifest.splits[split].images
            if members != images:
                yield f"{split} has {members} images in images.csv, but should have {images}"

    def labels(self, split):
        """Labels of a split's images, (n, A) bool. Raises OSError."""
        return read_labels(self.folder / f"{split}_labels", len(self.manifest.attributes))

    def counts(self):
        """Each split has as many positives of each attribute as the manifest says."""
        for split in ("val", "test") if self.stream else SPLITS:
            for name, found in zip(self.manifest.attributes, self.labels(split).sum(axis=0)):
                expected = self.manifest.splits[split].positive[name]
                if found != expected:
                    yield f"{split} has {found} faces with {name}, the manifest says {expected}"

    def leaks(self):
        """No training image has the content of a validation or test image."""
        names, parts = self.images.names, self.images.parts
        for first, second in repeated(self.images.hashes, parts):
            if parts[first] == SPLITS["train"]:
                split = list(SPLITS)[parts[second]]
                yield f"{names[first]} equals {names[second]} ({split}); --keep-duplicates kept it"

    def batches(self):
        """Absent and present alternate for every attribute, so that every even batch is 1:1, unless it is natural."""
        settings, attributes = self.manifest.settings, self.manifest.attributes
        if self.stream:
            found = [datum.label for _, datum in records(self.folder / "train")]
            shape = (-1, 2, len(attributes), settings.shards)
        else:
            labels = self.labels("train")
            plan = Plan(labels, attributes, settings.seed, settings.augment, settings.sampling)
            found, shape = plan.rounds(0, plan.largest)["label"], (-1, 2, len(attributes), 1)
        if np.size(found) % np.prod(shape[1:]):
            yield f"{np.size(found)} records are not a whole number of rounds"
        elif settings.sampling == "balanced":
            off = np.argwhere(np.reshape(found, shape) != np.array([0, 1])[:, np.newaxis, np.newaxis])
            yield from (f"round {t}: {attributes[a]} is not absent, then present" for t, _, a, _ in off)

    # With the data set ------------------------------------------------------------------------------------------

    def agree(self, job):
        """Names and splits agree with the data set, in order."""
        left_out = self.manifest.settings.dropped + self.manifest.source.without_face
        missing = len(self.source.names) - sum(map(len, job.members.values()))
        if missing != left_out:
            yield f"{missing} images of the data set are not in images.csv, but {left_out} were left out"
        for split, members in job.members.items():
            rows = self.images.members(split)
            pairs = zip((self.images.names[row] for row in rows), (self.source.names[index] for index in members))
            yield from (f"{name} in {split}, the data set has {other}" for name, other in pairs if name != other)

    def contents(self, job):
        """Images of the data set have the same bytes as when the LMDBs were built."""
        numbers = np.concatenate(list(job.members.values()))
        before = np.concatenate([self.images.hashes[self.images.members(split)] for split in SPLITS])
        now = in_order(lambda index: content_hash(self.source.read(index)), numbers, len(os.sched_getaffinity(0)))
        for index, found, expected in zip(numbers, now, before):
            if found != expected.tobytes():
                yield f"{self.source.names[index]} has other content now"

    def compared(self, database):
        """Records are those that the data set gives: all of the compact form and of labels, a sample of the stream."""
        labels, total = database.name.endswith("_labels"), len(database.items)
        sampled = self.stream and not labels
        numbers = np.linspace(0, total - 1, min(self.sample, total)).astype(int) if sampled else np.arange(total)
        wanted = in_order(database.record, database.items[numbers], len(os.sched_getaffinity(0)))
        tolerance = JPEG_TOLERANCE if sampled and self.manifest.settings.encoding == "jpg" else TOLERANCE
        for (where, found), value in zip(records(self.folder / database.name, numbers), wanted):
            expected = type(found).FromString(value)
            if found == expected:
                continue
            same = found.label == expected.label and not labels
            if not same or not _alike(found, expected, tolerance):
                yield f"{where} differs"

    def boxes(self, job):
        """True boxes of the test split agree with the data set. Raises ValueError, OSError."""
        found, members = read_json(self.folder / BOXES, list), job.members["test"]
        if len(found) != len(members):
            yield f"there are boxes of {len(found)} images, but should be of {len(members)}"
        for index, boxes in zip(members, found):
            if boxes != test_boxes(self.source, index):
                yield f"those of {self.source.names[index]} differ"


def _alike(found, expected, tolerance):
    """Whether two Datums hold the same image, within a mean difference per pixel."""
    try:
        one, other = decoded(found).astype(int), decoded(expected)
    except ValueError:
        return False
    return one.shape == other.shape and abs(one - other).mean() <= tolerance
