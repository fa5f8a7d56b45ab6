"""Build the LMDBs that the networks read from CelebA or LFWA as downloaded.

    python -m data_prep.build.build_lmdb CELEBA_FOLDER --out data/lmdb
    python -m data_prep.build.build_lmdb CELEBA_FOLDER --out data/lmdb --form compact
    python -m data_prep.build.build_lmdb LFWA_FOLDER --out data/lfwa --attributes Eyeglasses,Male --records 2000
    python -m data_prep.build.build_lmdb CELEBA_FOLDER --dry-run          # what it would cost, in both forms

CELEBA_FOLDER holds list_attr_celeba and list_eval_partition (.txt or .csv) and img_align_celeba/ or the zip, also in
the download's Anno/, Eval/ and Img/. LFWA_FOLDER holds lfw_att_40.mat, indices_train_test.mat and lfw/ or lfw.tgz.

Written below --out, in the stream form: train (the balanced, augmented sequence), val_images with val_labels and
test_images with test_labels in lockstep, train_plan.npy (image and cut of every training record). In the compact
form: train_images, val_images, test_images (each face once, in its own encoding) and *_labels. In both: images.csv (who
is where, with content hashes), test_boxes.json where the data set tells true boxes, manifest.json.

First it says what the build will cost and refuses what the disk cannot hold; it looks at every image before it writes
anything; OUT appears when all is done. An error leaves nothing behind. After an interruption, be it a kill or a power
cut, the same command goes on where it was.
"""

import argparse
import csv
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sys

import numpy as np

from data_prep.plan import balance
from data_prep.sources import celeba, lfwa
from data_prep.build import estimate, examine
from data_prep.store import manifest
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.store.databases import ENCODINGS, count, image_datum, in_order, label_datum, write_lmdb
from data_prep.geometry import to_patch
from data_prep.plan.forms import Job, Settings
from data_prep.sources.images import DataError
from data_prep.files import sha256
from data_prep.sources.source import SPLITS

__all__ = ["build", "image_datum", "label_datum", "open_source", "write_lmdb"]


def open_source(folder, images=None, need_images=True, validation=0.1, seed=0):
    """The Source in a folder, of CelebA's or LFWA's layout; see their `read`. Raises DataError."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if (folder / lfwa.ANNOTATION).exists():
        source = lfwa.read(folder, images, need_images, validation, seed)
        source.options = {"images": images, "validation": validation, "seed": seed}
    else:
        source = celeba.read(folder, images, need_images)
        source.options = {"images": images}
    return source


def build(source, out, settings, workers=None, drop_duplicates=False):
    """Write the databases and their manifest to folder `out`; returns the manifest.

    source: Source; settings: forms.Settings; workers: threads, None for one per core
    drop_duplicates: leave out of training what is in the validation or test split too
    Raises DataError for unusable input, OSError for a full or unwritable disk: then nothing is left. After
    KeyboardInterrupt, or a kill, the next call with the same arguments goes on.
    """
    out = pathlib.Path(out)
    workers = workers or len(os.sched_getaffinity(0))
    if out.exists():
        raise DataError(f"{out}: exists; remove it, or give another folder")
    Job(source, settings)  # complains of labels before anything is touched
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.parent / f".{out.name}.partial"
    work.mkdir(exist_ok=True)
    lock = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{out}: another build of it is running")
        try:
            return _build(source, out, work, settings, workers, drop_duplicates)
        except (DataError, OSError):
            shutil.rmtree(work, ignore_errors=True)
            raise
        finally:
            if source.images:
                source.images.close()
    finally:
        os.close(lock)


def _build(source, out, work, settings, workers, drop_duplicates):
    scratch = work / "scratch"
    scratch.mkdir(exist_ok=True)
    source.open(scratch)

    # 1. Look at all images.
    members = np.concatenate([np.flatnonzero(source.partition == part) for part in SPLITS.values()])
    parts = source.partition[members]
    hashes, size = examine.digests(source, members, workers)
    pairs = examine.duplicates(hashes, parts)
    dropped = sorted({int(members[first]) for first, _ in pairs if parts[first] == 0}) if drop_duplicates else []
    if pairs:
        what = f"{len(dropped)} left out of training" if drop_duplicates else "--drop-duplicates leaves them out"
        first = examine.describe(source, pairs[0], members, parts)
        print(f"warning: {len(pairs)} images are in two splits, first {first}; {what}", file=sys.stderr)

    # 2. Say what it will cost.
    job = Job(source, settings, dropped)
    found = estimate.costs(job, workers)
    checksums = {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in source.files}
    images = {"path": str(source.images.path), "count": len(members), "bytes": size}
    images["blake2b"] = hashlib.blake2b(hashes.tobytes(), digest_size=32).hexdigest()
    told = {"form": settings.form, "attributes": list(settings.attributes)}
    told["source"] = {"kind": source.kind, "path": str(source.path), "options": source.options}
    told["source"].update(files=checksums, images=images)
    chosen = {name: value for name, value in settings._asdict().items() if name not in told}
    told["settings"] = {**chosen, "convert": source.convert, "dropped": len(dropped)}
    clear_unless_same(work, told)
    there = sum(file.stat().st_size for file in work.glob("*/data.mdb"))
    free = shutil.disk_usage(work).free
    print(
        f"{out}: {settings.form} of {len(settings.attributes)} attributes; {estimate.human(free)} are free", flush=True
    )
    print(estimate.table(found), flush=True)
    estimate.refuse_when_full(found, there, free, out)

    # 3. Write.
    for name, items, record in job.databases():
        done = count(work / name)
        if not done:
            shutil.rmtree(work / name, ignore_errors=True)
        if done < len(items):
            write_lmdb(work / name, in_order(record, items[done:], workers), len(items), name)
    if job.draws is not None:
        np.save(work / "train_plan.npy", job.draws)
    if source.boxes:
        (work / "test_boxes.json").write_text(json.dumps([test_boxes(source, i) for i in job.members["test"]]))
    by_image = np.zeros((len(source.names), hashes.shape[1]), np.uint8)
    by_image[members] = hashes
    write_images(work / "images.csv", source, job.members, by_image)
    told["train_records"] = len(job.draws if job.draws is not None else job.members["train"])
    told.update((split, counts(labels, settings.attributes)) for split, labels in job.labels.items())
    told["means"] = examine.mean_pixel(source, job.members["train"], workers)
    manifest.write(work, told)

    # 4. Let it appear.
    shutil.rmtree(scratch)
    (work / "settings.json").unlink()
    work.chmod(0o755)
    work.rename(out)
    return told


def clear_unless_same(work, told):
    """Empty the folder of an interrupted build unless it was of the same data and settings."""
    path, text = work / "settings.json", json.dumps(told, indent=1)
    try:
        same = path.read_text() == text
    except FileNotFoundError:
        same = False
    if not same:
        for entry in work.iterdir():
            if entry.name != "scratch":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        path.write_text(text)
    elif any(work.glob("*/data.mdb")):
        print("going on with an interrupted build", flush=True)


def test_boxes(source, index):
    """True boxes of an image, dict attribute -> [x1, y1, x2, y2] in pixels of its centre patch."""
    boxes = source.boxes.get(source.names[index])
    if not boxes:
        return {}
    shape = source.image(index).shape
    return {name: to_patch(box, shape).round(2).tolist() for name, box in boxes.items()}


def counts(labels, attributes):
    """Positive images per attribute, and all images."""
    return {"images": len(labels), "positive": dict(zip(attributes, labels.sum(axis=0).tolist()))}


def write_images(path, source, members, hashes):
    """Write images.csv: which image each record of the image databases is, and its content hash (row of `hashes`)."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "number", "name", "blake2b"])
        for split, indices in members.items():
            for number, index in enumerate(indices):
                writer.writerow([split, number, source.names[index], hashes[index].tobytes().hex()])


def dry_run(source, settings, workers):
    """Print what both forms would cost; writes nothing. Raises DataError."""
    tries = source.images is not None and not str(source.images.path).endswith("gz")
    if tries:
        source.open()
    for form in manifest.FORMS:
        job = Job(source, settings._replace(form=form))
        print(f"{form}: {len(settings.attributes)} attributes, {len(job.members['train']):,} training images")
        print(estimate.table(estimate.costs(job, workers, tries)))
    print("sizes and times: " + ("of some images tried" if tries else "typical of CelebA; no image was looked at"))


def parser():
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m data_prep.build.build_lmdb", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("source", metavar="FOLDER", help="folder of the data set")
    add("--out", default="data/lmdb", help="folder to write (default data/lmdb)")
    add("--form", choices=manifest.FORMS, default="stream", help="of the training data (default stream)")
    add("--attributes", default=",".join(PAPER_ATTRIBUTES), help="comma-separated; default: the paper's twenty")
    add(
        "--records",
        type=int,
        default=10000,
        help="stream: training images per attribute and class at most, 0 for all (default 10000)",
    )
    add("--seed", type=int, default=0, help="of the sampling and augmentation (default 0)")
    add("--encoding", choices=ENCODINGS, default="jpg", help="stream: of the patches (default jpg)")
    add("--augment", choices=balance.AUGMENT, default="both", help="class that is augmented (default both; see README)")
    add(
        "--sampling",
        choices=balance.SAMPLING,
        default="balanced",
        help="of training images: 1:1 per attribute, or as often as they are (default balanced)",
    )
    add("--shards", type=int, default=1, help="stream: solvers that will share it, as GPUs of one Caffe (default 1)")
    add("--images", help="name of the images' folder, zip or tar in FOLDER, where the usual ones are several")
    add("--validation", type=float, default=0.1, help="LFWA: share of training people for validation (default 0.1)")
    add("--convert", action="store_true", help="take grey, CMYK, 16-bit, transparent and turned images, converted")
    add("--drop-duplicates", action="store_true", help="leave out of training what is in validation or test too")
    add("--workers", type=int, help="threads (default: one per core)")
    add("--dry-run", action="store_true", help="say what both forms would cost and stop")
    return made


def main(arguments=None):
    """The command; returns its exit status."""
    given = parser().parse_args(arguments)
    attributes = tuple(name for name in given.attributes.split(",") if name)
    settings = Settings(
        given.form,
        attributes,
        given.records,
        given.seed,
        given.encoding,
        given.augment,
        given.shards,
        given.sampling,
    )
    try:
        for name, value, least in (
            ("records", given.records, 0),
            ("seed", given.seed, 0),
            ("shards", given.shards, 1),
            ("workers", given.workers or 1, 1),
        ):
            if value < least:
                raise DataError(f"--{name} must be at least {least}, not {value}")
        source = open_source(given.source, given.images, not given.dry_run, given.validation, given.seed)
        source.convert = given.convert
        if given.dry_run:
            dry_run(source, settings, given.workers or len(os.sched_getaffinity(0)))
            return 0
        made = build(source, given.out, settings, given.workers, given.drop_duplicates)
    except (DataError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command goes on from here, or remove {given.out}'s .partial", file=sys.stderr)
        return 130
    print(f"{given.out}: ready, {made['train_records']:,} training records")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
