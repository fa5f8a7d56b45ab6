"""Build a folder of LMDBs from a data set. The folder appears complete or not at all, even after a kill."""

import collections
import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys

import numpy as np

from data_prep import files, geometry
from data_prep.build import examine, sheets
from data_prep.errors import DataError
from data_prep.plan.forms import Job
from data_prep.store import image_list, manifest
from data_prep.store.databases import write_lmdb
from data_prep.store.image_list import SPLITS
from data_prep.threads import in_order

BOXES, WITHOUT_FACE = "test_boxes.json", "without_face.csv"
# Images with and without an attribute that a split needs for figures, thresholds and calibration to mean something.
FEW = 20
TRIED, PAGE = 48, 4096  # records made of each database to measure their size; bytes of an LMDB's page
SCRATCH = "scratch"  # in the folder of an unfinished build: faces that were found, and what was unpacked


def build(source, out, attributes, form="compact"):
    """Write the databases and their manifest to folder `out`; returns the Manifest.

    source: Source; attributes: names; form: "compact" or "stream"
    Raises DataError for unusable input and while another process builds `out`, OSError for a full or unwritable disk;
    nothing is left behind then. After KeyboardInterrupt, or a kill, the next call starts anew, but with the faces that
    were found.
    """
    out = pathlib.Path(out)
    if out.exists():
        raise DataError(f"{out}: already exists; remove it, or give another folder with --out (make: LMDB=)")
    Job(source, form, attributes)  # raises DataError for unusable labels before anything is written
    work = out.parent / f".{out.name}.partial"
    (work / SCRATCH).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = os.open(work, os.O_RDONLY)
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another build of this folder is running; wait for it, or stop it")
        stack.callback(source.images.close)
        try:
            for entry in [*work.iterdir(), *(work / SCRATCH).glob("images-*")]:
                if entry.name != SCRATCH:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            built = _build(source, out, work, attributes, form)
        except (DataError, OSError):
            shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work / SCRATCH)
        work.rename(out)
    return built


def _build(source, out, work, attributes, form):
    """Write all files of `out` to folder `work`; returns the Manifest."""
    # 1. Examine all images.
    source.open(work / SCRATCH)
    found = examine.examine(source)
    pairs = examine.repeated(found.hashes, source.partition)
    pairs = [pair for pair in pairs if pair[0] not in found.without_face]
    dropped = [first for first, _ in pairs if source.partition[first] == SPLITS["train"]]
    if source.settings.keep_duplicates:
        dropped = []
    job = Job(source, form, attributes, [*found.without_face, *dropped])
    report(job, found, pairs, len(dropped))

    # 2. Is there room for it?
    need, free = needed(job), shutil.disk_usage(work).free
    space = f"about {need / 1e9:,.3f} GB are needed, {free / 1e9:,.3f} GB are free"
    if need > free:
        less = "lower --records, take --form compact" if form == "stream" else "make room"
        raise DataError(f"{out}: too little disk: {space}; {less}, or give another folder")
    print(f"{out}: {form} form, {len(job.attributes)} attributes; {space}", flush=True)

    # 3. Write.
    for database in job.databases():
        datums = in_order(database.record, database.items)
        write_lmdb(work / database.name, datums, len(database.items), database.name)
    if source.boxes and not source.aligner and source.frame is None:  # then they are those of the aligned faces
        files.write_json(work / BOXES, [test_boxes(source, index) for index in job.members["test"]])
    if found.without_face:
        with files.replacing(work / WITHOUT_FACE, "w", newline="", encoding="utf-8") as file:
            rows = ((source.names[index], reason) for index, reason in found.without_face.items())
            csv.writer(file).writerows([("image", "reason"), *rows])
    rows = np.concatenate(list(job.members.values()))
    names, persons, hashes = (
        [values[row] if values else "" for row in rows] for values in (source.names, source.persons, found.hashes)
    )
    image_list.write(work, image_list.ImageList(names, persons, hashes, source.partition[rows]))
    splits = {
        split: manifest.Split(len(labels), dict(zip(job.attributes, labels.sum(axis=0).tolist())))
        for split, labels in job.labels.items()
    }
    built = manifest.Manifest(
        attributes=job.attributes,
        form=form,
        source=_origin(source, found),
        settings=dataclasses.replace(source.settings, dropped=len(dropped)),
        splits=splits,
        train_records=len(job.members["train"] if job.samples is None else job.samples),
        frame=source.frame,
        synthetic=source.synthetic,
        checksums=manifest.checksums(work),
    )
    manifest.write(work, built)
    sheets.write_sheets(job, work / sheets.FOLDER)
    return built


def needed(job):
    """Bytes on the disk that the databases of a Job take, by a sample of their records. Raises DataError."""
    total = 0
    for database in job.databases():
        count = len(database.items)
        sample = database.items[np.linspace(0, count - 1, min(TRIED, count)).astype(int)]
        sizes = [len(database.record(item)) for item in sample]
        # Large records have pages of their own.
        total += count * np.mean([size + 32 if size < PAGE // 2 else -(-size // PAGE) * PAGE for size in sizes])
    return 1.05 * total


def report(job, found, pairs, dropped):
    """Print what was left out, and which figures will rest on few images, a line for each on standard error."""
    source, names, lines = job.source, list(SPLITS), []
    if pairs:
        first = " and ".join(f"{source.names[place]} ({names[source.partition[place]]})" for place in pairs[0])
        what = f"{dropped} training images that are also in the validation or test split are left out"
        if not dropped:
            what = "none of them is left out of training"
        lines.append(f"{len(pairs)} images are in two splits, the first is {first}; {what}")
    if found.without_face:
        kinds = collections.Counter(reason.lstrip("0123456789 ") for reason in found.without_face.values())
        what = ", ".join(f"{number} with {reason}" for reason, number in kinds.items())
        lines.append(f"{len(found.without_face)} of {len(source.names)} images are left out: {what}; {WITHOUT_FACE}")
    few = [
        f"{number} {kind} {name} in {split}"
        for split, labels in job.labels.items()
        for name, present in zip(job.attributes, labels.sum(axis=0).tolist())
        for kind, number in (("with", present), ("without", len(labels) - present))
        if number < FEW
    ]
    if few:
        more = f" and {len(few) - 6} more" if len(few) > 6 else ""
        what = f"figures, thresholds and calibration need at least {FEW} images with and without each attribute"
        lines.append(f"{what} in each split; there are {', '.join(few[:6])}{more}")
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _origin(source, found):
    """The manifest.Source of a Source. found: Examined."""
    images = {"path": str(source.images.path), "count": len(source.names), "bytes": found.size}
    images["blake2b"] = hashlib.blake2b(bytes.fromhex("".join(found.hashes)), digest_size=32).hexdigest()
    path = os.path.abspath(source.path)
    return manifest.Source(source.kind, path, label_files(source), images, len(found.without_face))


def label_files(source):
    """The size and checksum of each label file of a Source: dict name -> dict. Raises OSError."""
    return {file.name: {"bytes": file.stat().st_size, "sha256": files.sha256(file)} for file in source.files}


def test_boxes(source, index):
    """True boxes of an image, dict attribute -> [x1, y1, x2, y2] in pixels of its centre patch."""
    boxes = source.boxes.get(source.names[index])
    if not boxes:
        return {}
    shape = source.image(index).shape
    return {name: geometry.to_patch(box, shape).round(2).tolist() for name, box in boxes.items()}
