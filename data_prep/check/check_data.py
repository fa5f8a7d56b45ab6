"""Verify that a folder of LMDBs is complete and agrees with its data set and its manifest.

    face-cascade check data/lmdb
    face-cascade check data/lmdb --source /elsewhere/CelebA
    face-cascade check data/lmdb --no-source      # the data set is no longer here

The checks: every file is as it was built, by its checksum; labels are as the manifest counts them; every batch is 1:1
for every attribute; no face of the validation or test split is in training, by content; with the data set, that its
images are unchanged and in the same splits. Each check prints one line; the exit status is 1 if one fails.
"""

import dataclasses
import pathlib

import numpy as np

from data_prep.build.examine import repeated
from data_prep.errors import DataError
from data_prep.plan.balance import Plan
from data_prep.settings import add_options, given, setting
from data_prep.sources.opening import reopen
from data_prep.sources.source import content_hash
from data_prep.store import image_list, manifest
from data_prep.store.databases import read_labels, records
from data_prep.store.image_list import SPLITS
from data_prep.threads import in_order


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command."""

    source: str = setting(
        "",
        "The data set that LMDB was made from; needed if it was moved",
        metavar="DATA",
        shown="its place in the manifest",
    )
    no_source: bool = setting(False, "Check without the data set, whose images are then not compared", shown="compare")


def add_arguments(parser):
    """Add the arguments of `face-cascade check` to an argparse parser."""
    parser.add_argument("lmdb", metavar="LMDB", help="The folder of LMDBs to check.")
    add_options(parser, Options)


def run(arguments):
    """`face-cascade check`: the exit status. Raises DataError, OSError, ValueError."""
    options, folder = Options(**given(arguments, Options)), pathlib.Path(arguments.lmdb)
    found, images, source, failures = manifest.read(folder), image_list.read(folder), None, 0
    if found.source is None:
        raise DataError(f"{folder / manifest.NAME}: key 'source' is missing; build the LMDBs again")
    if not options.no_source:
        source = reopen(found, options.source)
        source.open()
    for what, faults in checks(folder, found, images, source):
        try:
            faults = list(faults)
        except (OSError, ValueError) as error:  # of a file that is missing or damaged
            faults = [str(error)]
        failures += bool(faults)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        print(f"FAILED  {what}: {faults[0]}{more}" if faults else f"ok      {what}", flush=True)
    print(f"{folder}: {f'checks failed: {failures}' if failures else 'all checks passed'}")
    return 1 if failures else 0


def checks(folder, found, images, source):
    """Yield (what is checked, its faults: an iterable of texts that may raise OSError) for each check of a folder.

    found: its Manifest; images: its ImageList; source: the opened Source that it was made from, or None
    """
    changed = manifest.changed(folder, found)
    yield "every file as it was built", (f"{path} is missing, changed or damaged" for path in changed)
    yield "labels as the manifest counts them", counts(folder, found)
    yield "no validation or test face is in training", leaks(images)
    if found.settings.sampling == "balanced":
        yield "every batch 1:1 for every attribute", imbalances(folder, found)
    if source is not None:
        yield "images and splits are those of the data set", differences(found, images, source)


def counts(folder, found):
    """Each split has as many positives of each attribute as the manifest says, so that no label has another's name."""
    for split in ("val", "test") if found.form == "stream" else SPLITS:
        present = read_labels(folder / f"{split}_labels", len(found.attributes)).sum(axis=0)
        counted = found.splits[split].positive if split in found.splits else {}
        for name, number in zip(found.attributes, present):
            if number != counted.get(name):
                yield f"{split} has {number} faces with {name}, the manifest says {counted.get(name)}"


def leaks(images):
    """No training image has the content of a validation or test image."""
    for first, second in repeated(images.hashes, images.parts):
        if images.parts[first] == SPLITS["train"]:
            split = list(SPLITS)[images.parts[second]]
            yield f"{images.names[first]} equals {images.names[second]} ({split}); --keep-duplicates kept it"


def imbalances(folder, found):
    """Absent and present alternate for every attribute, so that every even batch is 1:1."""
    settings, count = found.settings, len(found.attributes)
    if found.form == "stream":
        order, solvers = np.array([datum.label for _, datum in records(folder / "train")]), settings.shards
    else:
        plan = Plan(read_labels(folder / "train_labels", count), found.attributes, settings.seed, settings.augment)
        order, solvers = plan.rounds(0, plan.largest)["label"].ravel(), 1
    whole = len(order) // (2 * count * solvers)
    order = order[: whole * 2 * count * solvers].reshape(whole, 2, count, solvers)
    for number, _, attribute, _ in np.argwhere(order != np.array([0, 1])[:, np.newaxis, np.newaxis]):
        yield f"round {number}: {found.attributes[attribute]} is not absent, then present"


def differences(found, images, source):
    """The data set's images are in the same splits and have the same bytes as when the LMDBs were built."""
    numbers = {name: number for number, name in enumerate(source.names)}
    now = in_order(lambda name: name in numbers and content_hash(source.read(numbers[name])), images.names)
    for name, part, before, content in zip(images.names, images.parts, images.hashes, now):
        if name not in numbers:
            yield f"{name} is not in the data set"
        elif source.partition[numbers[name]] != part:
            yield f"{name} is in another split of the data set"
        elif content != before:
            yield f"{name} has other content now"
    missing, left_out = len(numbers.keys() - set(images.names)), found.settings.dropped + found.source.without_face
    if missing != left_out:
        yield f"{missing} images of the data set are not in images.csv, but {left_out} were left out"
