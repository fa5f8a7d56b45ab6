"""Readers of data sets and of folders of LMDBs."""

import contextlib
import io
import os
import pathlib
import tempfile

import lmdb
import mutations
import numpy as np
from caffe.proto import caffe_pb2
from data_prep.build.prepared import Prepared
from reading import Reader, Refused, sane

from data_prep.check import check_data
from data_prep.errors import DataError
from data_prep.sources import celeba, csv_table, image_header, lfwa
from data_prep.sources.images import open_images
from data_prep.sources.opening import reopen
from data_prep.sources.source import Source
from data_prep.store import databases, manifest
from tools.errors import ToolError
from tools.evaluate import localisation

FACES = 30  # of the original in CelebA's layout


def records(rng, data, others=()):
    """A whole LMDB file, some of whose records are damaged: their messages, bytes or keys."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "data.mdb"
        path.write_bytes(data)
        with lmdb.open(folder, map_size=1 << 24, sync=False, lock=False) as environment:
            with environment.begin(write=True) as transaction:
                pairs = list(transaction.cursor())
                for key, value in rng.sample(pairs, rng.choice((1, 1, len(pairs)))):
                    other = rng.choice((key, key, key, key, b"", b"x" * 30, b"00000009", key[:-1]))
                    if other != key or rng.random() < 0.1:
                        transaction.delete(key)
                    if other:
                        transaction.put(other, datum(rng, value))
        return path.read_bytes()


def datum(rng, value):
    """A damaged message Datum."""
    if rng.random() < 0.4:
        return mutations.of_bytes(rng, value) or b"\0"
    message = caffe_pb2.Datum.FromString(value)
    mutations.of_message(rng, message)
    if rng.random() < 0.3:
        message.data = mutations.of_bytes(rng, message.data)
    return message.SerializeToString()


# Data sets --------------------------------------------------------------------------------------------------


def whole(source):
    """Everything that a Source reads, checked."""
    count = len(source.names)
    sane(count and len(set(source.names)) == count, "names are missing or not different")
    sane(source.labels.shape == (count, len(source.attributes)), f"labels are {source.labels.shape}")
    sane(source.labels.dtype == bool, f"labels are {source.labels.dtype}")
    sane(source.partition.shape == (count,) and set(source.partition.tolist()) <= {0, 1, 2}, "wrong partition")
    boxes = [box for of_image in source.boxes.values() for box in of_image.values()]
    sane(np.isfinite(np.array(boxes, float)).all(), "boxes are not finite")
    return source.names, source.attributes, source.labels, source.partition, source.boxes


def celeba_folder(path):
    return whole(celeba.read(path.parent, need_images=False))


def lfwa_folder(path):
    return whole(lfwa.read(path.parent, need_images=False))


def table(path):
    return whole(csv_table.read(path, need_images=False))


def one_image(path):
    """An image of a data set as it is stored, converted."""
    source = source_of(path.parent, path, [path.name])
    source.open()
    data, _ = source.checked(0)
    image = source.image(0)
    header = image_header.inspect(data)
    sane(image_header.unsupported_reason(header) is None, "an unsupported image was taken")
    sane(image.shape == (header.height, header.width, 3), f"{image.shape}, the header says {header}")
    return image


def packed(path):
    """All images of a zip or tar."""
    names = [f"{number:06d}.jpg" for number in range(1, FACES + 1)]
    source = source_of(path, path, names, os.path.basename)
    with tempfile.TemporaryDirectory() as scratch:
        source.open(scratch)
        images = [source.read(number) for number in range(FACES)]
        source.images.close()
    return images


def source_of(container, file, names, key=None):
    labels, partition = np.ones((len(names), 1), bool), np.zeros(len(names), np.uint8)
    source = Source(
        "csv", file, names, ["Male"], labels, partition, open_images(container, key), [file], lambda number: "row 1"
    )
    source.convert = True
    return source


# Folders of LMDBs -------------------------------------------------------------------------------------------


def database(path):
    """All records of an LMDB, by each function that reads them."""
    folder = path.parent
    databases.count(folder)
    keys = list(databases.keys(folder))
    sane(all(isinstance(key, bytes) for key in keys), "a key is no bytes")
    if "labels" in folder.name:
        labels = databases.read_labels(folder)
        sane(labels.dtype == bool and labels.shape[0] == len(keys), f"labels are {labels.shape}")
        return keys, labels
    found = list(databases.images(folder))
    sane(len(found) == len(keys) and all(image.ndim == 3 and image.size for image in found), "no images")
    return keys, found, list(databases.images(folder, range(len(keys))))


def manifest_file(path):
    read = manifest.read(path.parent)
    sane(read.attributes and read.form in manifest.FORMS, "no attributes, or no form")
    if "train" in read.splits and read.splits["train"].images:
        sane(((read.prior >= 0) & (read.prior <= 1)).all(), f"prior {read.prior}")
    image = np.zeros((218, 178, 3), np.uint8)
    sane(read.patch(image).shape == (224, 224, 3) or read.form == "stream", "no patch")
    return read.to_json()


def manifest_source(path):
    """The data set that a manifest names, opened."""
    read = manifest.read(path.parent)
    if read.source is None:
        raise Refused(f"{path}: no source")
    source = reopen(read.source.kind, read.source.path, read.source.options, path)
    return whole(source), source.frame


def prepared(path):
    """The files of a folder beside its databases."""
    data = Prepared(path.parent)
    samples = data.samples()
    boxes = localisation.read_boxes(data.folder, "test", len(data.members("test")))
    return data.names, data.hashes, data.parts, samples.tobytes(), boxes


def checked(path):
    """face-cascade check of a folder."""
    output, errors = io.StringIO(), io.StringIO()
    folder = path.parent if path.suffix != ".mdb" else path.parent.parent
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = check_data.main([str(folder)])
    if status:
        words = errors.getvalue().removesuffix("\n")
        failures = [line for line in output.getvalue().splitlines() if line.startswith("FAILED")]
        sane(status == 1 and (words.startswith("error: ") or failures), f"status {status} without a reason")
        raise Refused(words or f"{folder}: {failures[0]}")
    sane(not errors.getvalue(), errors.getvalue())
    return output.getvalue()


LABELS = ("list_attr_celeba.*", "list_eval_partition.*", "list_true_boxes.csv")
DAMAGED = (DataError, OSError, ValueError)
READERS = [
    Reader(
        "labels, CelebA", "celeba", LABELS, celeba_folder, (DataError,), mutations.of_text, leave=["img_align_celeba"]
    ),
    Reader("labels, CelebA as CSV", "celeba csv", LABELS, celeba_folder, (DataError,), mutations.of_text),
    Reader("labels, a CSV table", "table", ("*.csv",), table, (DataError,), mutations.of_text),
    Reader("labels, MATLAB 5", "lfwa", ("*.mat",), lfwa_folder, (DataError,), share=0.3),
    Reader("labels, MATLAB 7.3", "lfwa73", ("*.mat",), lfwa_folder, (DataError,), share=0.3),
    Reader("images of a data set", "images", ("*.jpg", "*.png"), one_image, (DataError,)),
    Reader("images in a zip", "packed zip", ("*.zip",), packed, (DataError,)),
    Reader("images in a tar", "packed tar", ("*.tar*",), packed, (DataError,)),
    Reader("LMDB, its pages", "databases", ("*.mdb",), database, (OSError,)),
    Reader("LMDB, its records", "databases", ("*.mdb",), database, (OSError,), records),
    Reader("manifest.json", "manifest", ("*.json",), manifest_file, (ValueError, OSError), mutations.of_json, share=2),
    Reader(
        "source of manifest.json", "manifest", ("*.json",), manifest_source, DAMAGED, mutations.of_json, names=False
    ),
    Reader("images.csv", "compact", ("images.csv",), prepared, (*DAMAGED, ToolError), mutations.of_text),
    Reader("true boxes", "compact", ("*_boxes.json",), prepared, (*DAMAGED, ToolError), mutations.of_json),
    Reader("train_plan.npy", "stream", ("*.npy",), prepared, DAMAGED),
    Reader(
        "check of a compact folder", "compact", ("*.json", "*.csv", "*data.mdb"), checked, (), share=0.3, names=False
    ),
    Reader("check of a stream folder", "stream", ("*.json", "*.npy", "*data.mdb"), checked, (), share=0.3, names=False),
]
