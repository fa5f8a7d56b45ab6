"""Build a folder of LMDBs from a data set. The folder appears complete or not at all, even after a kill."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys

import numpy as np

from data_prep import geometry
from data_prep.build import estimate, examine, sheets
from data_prep.build.prepared import Prepared
from data_prep.errors import DataError
from data_prep.files import replacing, sha256, write_json
from data_prep.plan.forms import Job
from data_prep.settings import to_json
from data_prep.sources.source import SPLITS
from data_prep.store import image_list, manifest
from data_prep.store.databases import count, in_order, write_lmdb

BOXES = "test_boxes.json"


def build(source, out, attributes, settings=manifest.DEFAULTS, form="compact", workers=None):
    """Write the databases and their manifest to folder `out`; returns the Manifest.

    source: Source; attributes: names; settings: manifest.Settings, whose `dropped` is ignored and counted anew
    form: "compact" or "stream"; workers: threads, None for one per core
    Raises DataError for unusable input, OSError for a full or unwritable disk, RuntimeError while another process
    builds `out`; after the first two nothing is left behind. After KeyboardInterrupt, or a kill, the next call with the
    same arguments resumes the build.
    """
    out = pathlib.Path(out)
    workers = workers or len(os.sched_getaffinity(0))
    if out.exists():
        raise DataError(f"{out}: already exists; remove it, or give another folder with --out (make: LMDB=)")
    Job(source, form, attributes, settings)  # raises DataError for unusable labels before anything is written
    source.convert = settings.convert
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.parent / f".{out.name}.partial"
    work.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = os.open(work, os.O_RDONLY)
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{out}: another build of this folder is running; wait for it, or stop it")
        if source.images:
            stack.callback(source.images.close)
        try:
            return _build(source, out, work, attributes, settings, form, workers)
        except (DataError, OSError):
            shutil.rmtree(work, ignore_errors=True)
            raise


def _build(source, out, work, attributes, settings, form, workers):
    scratch = work / "scratch"
    scratch.mkdir(exist_ok=True)
    source.open(scratch)

    # 1. Examine all images.
    members = np.concatenate([np.flatnonzero(source.partition == part) for part in SPLITS.values()])
    parts = source.partition[members]
    hashes, size = examine.digests(source, members, workers)
    source.expect(members, hashes)
    dropped = [] if settings.keep_duplicates else members[examine.in_training(hashes, parts)]
    _report_duplicates(source, members, parts, hashes, len(dropped))

    # 2. Print the cost.
    job = Job(source, form, attributes, settings, dropped)
    costs = estimate.costs(job, workers)
    description = manifest.Manifest(
        attributes=list(attributes),
        form=form,
        source=_origin(source, members, hashes, size),
        settings=dataclasses.replace(settings, dropped=len(dropped)),
        frame=source.frame,
        synthetic=source.synthetic,
    )
    clear_unless_same(work, description)
    written = sum(file.stat().st_size for file in work.glob("*/data.mdb"))
    free = shutil.disk_usage(work).free
    print(f"{out}: {form} form, {len(attributes)} attributes; {estimate.human(free)} are free", flush=True)
    print(estimate.table(costs), flush=True)
    estimate.refuse_when_full(costs, written, free, out)

    # 3. Write.
    for database in job.databases():
        path = work / database.name
        done = count(path)
        if not done:
            shutil.rmtree(path, ignore_errors=True)
        if done < len(database.items):
            datums = in_order(database.record, database.items[done:], workers)
            write_lmdb(path, datums, len(database.items), database.name)
    if job.samples is not None:
        with replacing(work / "train_plan.npy") as file:
            np.save(file, job.samples)
    if source.boxes:
        write_json(work / BOXES, [test_boxes(source, index) for index in job.members["test"]])
    image_list.write(work, listing(source, job.members, members, hashes))
    built = dataclasses.replace(
        description,
        splits={split: split_counts(labels, attributes) for split, labels in job.labels.items()},
        train_records=len(job.members["train"] if job.samples is None else job.samples),
        checksums=manifest.checksums(work),
    )
    manifest.write(work, built)
    data = Prepared(work, source)
    sheets.write_sheets(data, data.samples(), work / sheets.FOLDER)

    # 4. Make the folder appear under its name.
    shutil.rmtree(scratch)
    (work / "settings.json").unlink()
    work.chmod(0o755)
    work.rename(out)
    return built


def _report_duplicates(source, members, parts, hashes, dropped):
    pairs = examine.duplicates(hashes, parts)
    if pairs:
        first = examine.describe(source, pairs[0], members, parts)
        what = f"{dropped} training images that are also in the validation or test split are left out"
        if not dropped:
            what = "none of them is left out of training"
        print(f"warning: {len(pairs)} images are in two splits, the first is {first}; {what}", file=sys.stderr)


def _origin(source, members, hashes, size):
    """The manifest.Source of a Source. hashes: those of the images `members`; size: their total in bytes."""
    checksums = {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in source.files}
    images = {"path": str(source.images.path), "count": len(members), "bytes": size}
    images["blake2b"] = hashlib.blake2b(hashes.tobytes(), digest_size=32).hexdigest()
    return manifest.Source(source.kind, str(source.path), source.options, checksums, images)


def clear_unless_same(work, description):
    """Empty the folder of an interrupted build unless its data and settings are the same."""
    path, text = work / "settings.json", json.dumps(to_json(description), indent=1)
    try:
        same = path.read_text() == text
    except (FileNotFoundError, UnicodeDecodeError):
        same = False
    if not same:
        for entry in work.iterdir():
            if entry.name != "scratch":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        path.write_text(text)
    elif any(work.glob("*/data.mdb")):
        print("resuming an interrupted build", flush=True)


def test_boxes(source, index):
    """True boxes of an image, dict attribute -> [x1, y1, x2, y2] in pixels of its centre patch."""
    boxes = source.boxes.get(source.names[index])
    if not boxes:
        return {}
    shape = source.image(index).shape
    return {name: geometry.to_patch(box, shape, source.frame).round(2).tolist() for name, box in boxes.items()}


def split_counts(labels, attributes):
    """The manifest.Split that counts labels (n, A) bool."""
    return manifest.Split(len(labels), dict(zip(attributes, labels.sum(axis=0).tolist())))


def listing(source, of_splits, members, hashes):
    """The ImageList of a build. of_splits: dict split -> numbers of images; hashes: those of the images `members`."""
    by_image = np.zeros((len(source.names), hashes.shape[1]), np.uint8)
    by_image[members] = hashes
    rows = np.concatenate(list(of_splits.values()))
    parts = np.repeat(list(SPLITS.values()), [len(of_splits[split]) for split in SPLITS]).astype(np.uint8)
    persons = [source.persons[row] if source.persons else "" for row in rows]
    return image_list.ImageList([source.names[row] for row in rows], persons, by_image[rows], parts)
