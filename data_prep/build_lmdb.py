"""Build the LMDBs that the networks read from a data set in CelebA's layout.

    python -m data_prep.build_lmdb CELEBA_FOLDER --out data/lmdb
    python -m data_prep.build_lmdb faces --out build/lmdb --attributes Eyeglasses,Male --records 2000

CELEBA_FOLDER holds list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba/ (or the zip).
Written below --out: train (a balanced, augmented stream), val_images with val_labels and test_images with
test_labels in lockstep, test_boxes.json where the data set tells true boxes, and manifest.json. The folder
appears when all is done; an interrupted build leaves nothing.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from tqdm import tqdm

from data_prep import balance, celeba
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.celeba import DataError
from data_prep.faces import PATCH_SIZE, face, patch, to_patch

ENCODINGS = ("jpg", "png", "raw")
# For the estimate of disk only, on the large side; raw is exact.
BYTES_PER_PATCH = {"jpg": 45_000, "png": 110_000, "raw": 3 * PATCH_SIZE**2}
SPLITS = {"val": celeba.VAL, "test": celeba.TEST}
CHUNK = 256


def image_datum(image, encoding, label=None):
    """A serialised Datum of an image (height, width, 3): encoded, or raw in Caffe's channel order."""
    datum = caffe_pb2.Datum()
    if encoding == "raw":
        datum.height, datum.width, datum.channels = image.shape
        datum.data = image.transpose(2, 0, 1).tobytes()
    else:
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if encoding == "jpg" else []
        datum.data = cv2.imencode(f".{encoding}", image, quality)[1].tobytes()
        datum.encoded = True
    if label is not None:
        datum.label = label
    return datum.SerializeToString()


def label_datum(labels):
    """A serialised Datum of an image's labels (A,), 0 or 1, one a channel."""
    data = np.asarray(labels, dtype=np.uint8).tobytes()
    return caffe_pb2.Datum(channels=len(labels), height=1, width=1, data=data).SerializeToString()


def write_lmdb(path, values, total, title):
    """Write serialised records under zero-padded numbers; progress bar. Raises OSError on a full disk."""
    try:
        # A map grows by doubling: its size is a bound of the address space, not of the disk.
        with lmdb.open(str(path), map_size=1 << 28, meminit=True) as environment:
            records = enumerate(tqdm(values, total=total, desc=title, unit="image", disable=None))
            while chunk := list(itertools.islice(records, CHUNK)):
                while not write_chunk(environment, chunk):
                    environment.set_mapsize(2 * environment.info()["map_size"])
    except lmdb.Error as error:
        raise OSError(f"{path}: {error}")


def write_chunk(environment, chunk):
    """Write (number, value) pairs in one transaction; False when the map is full."""
    try:
        with environment.begin(write=True) as transaction:
            for number, value in chunk:
                transaction.put(f"{number:08d}".encode(), value, append=True)
    except lmdb.MapFullError:
        return False
    return True


def in_order(function, items, pool):
    """Results of `function` in the order of `items`, computed by the pool's threads, few held at a time."""
    items = iter(items)
    while chunk := list(itertools.islice(items, CHUNK)):
        yield from pool.map(function, chunk)


def test_boxes(faces, index):
    """True boxes of an image, dict attribute -> [x1, y1, x2, y2] in pixels of its centre patch."""
    shape = faces.image(index).shape
    boxes = faces.boxes.get(faces.names[index], {})
    return {name: to_patch(box, shape).round(2).tolist() for name, box in boxes.items()}


def counts(labels, attributes):
    """Positive images per attribute, and all images."""
    return {"images": len(labels), "positive": dict(zip(attributes, labels.sum(axis=0).tolist()))}


def build(faces, out, attributes, records, seed=0, encoding="jpg", augment="minority"):
    """Write the LMDBs and their manifest to folder `out`, all or nothing.

    faces: celeba.Faces; attributes: names, in the order of the network's groups; records: training images
    per attribute and class at most; encoding: "jpg", "png" or "raw"; augment: see balance.plan
    Raises DataError for unusable input, OSError for a full or unwritable disk.
    """
    out = pathlib.Path(out)
    if out.exists():
        raise DataError(f"{out}: exists; remove it, or give another folder")
    for name in attributes:
        if name not in faces.attributes:
            raise DataError(f"unknown attribute {name!r}; known are {', '.join(faces.attributes)}")
    labels = faces.labels[:, [faces.attributes.index(name) for name in attributes]]
    members = {"train": np.flatnonzero(faces.partition == celeba.TRAIN)}
    members.update((name, np.flatnonzero(faces.partition == part)) for name, part in SPLITS.items())
    for name, images in members.items():
        if not len(images):
            raise DataError(f"{faces.folder}/list_eval_partition.txt: no image is in the {name} split")
    train_labels = labels[members["train"]]
    draws = list(balance.plan(train_labels, attributes, records, seed, augment))
    total = len(draws) + sum(len(members[name]) for name in SPLITS)
    estimate = int(total * BYTES_PER_PATCH[encoding] * 1.1)
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    print(f"{out}: {len(draws):,} training records, about {estimate / 1e9:.1f} GB; {free / 1e9:.1f} GB are free")
    if estimate > free:
        raise OSError(f"{out}: too little disk; lower --records, or give another folder")

    def train_record(draw):
        image = face(faces.image(members["train"][draw.image]))
        return image_datum(patch(image, draw.dx, draw.dy, draw.mirror), encoding, draw.label)

    def test_record(index):
        return image_datum(patch(face(faces.image(index))), encoding)

    work = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            write_lmdb(work / "train", in_order(train_record, draws, pool), len(draws), "train")
            for name in SPLITS:
                images = members[name]
                write_lmdb(work / f"{name}_images", in_order(test_record, images, pool), len(images), name)
                write_lmdb(work / f"{name}_labels", map(label_datum, labels[images]), len(images), f"{name} labels")
        if faces.boxes:
            true = [test_boxes(faces, index) for index in members["test"]]
            (work / "test_boxes.json").write_text(json.dumps(true))
        manifest = {
            "attributes": list(attributes),
            "source": str(faces.folder),
            "seed": seed,
            "encoding": encoding,
            "augment": augment,
            "train_records": len(draws),
            **{name: counts(labels[images], attributes) for name, images in members.items()},
        }
        (work / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        work.chmod(0o755)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("celeba", help="folder of the data set")
    add("--out", default="data/lmdb", help="folder to write (default data/lmdb)")
    add("--attributes", default=",".join(PAPER_ATTRIBUTES), help="comma-separated; default: the paper's twenty")
    add("--records", type=int, default=10000, help="training images per attribute and class at most (default 10000)")
    add("--seed", type=int, default=0, help="of the sampling and augmentation (default 0)")
    add("--encoding", choices=ENCODINGS, default="jpg", help="of the images in the LMDBs (default jpg)")
    add("--augment", choices=balance.AUGMENT, default="minority", help="class that is augmented (default minority)")
    arguments = parser.parse_args()
    if arguments.records < 1:
        parser.error("--records must be at least 1")
    attributes = [name for name in arguments.attributes.split(",") if name]
    try:
        faces = celeba.Faces(arguments.celeba)
        build(
            faces,
            arguments.out,
            attributes,
            arguments.records,
            arguments.seed,
            arguments.encoding,
            arguments.augment,
        )
    except (DataError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"interrupted; nothing half-written is left at {arguments.out}")
    print(f"{arguments.out}: ready")


if __name__ == "__main__":
    main()
