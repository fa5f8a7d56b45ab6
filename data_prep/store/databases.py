"""LMDBs of Caffe's Datum messages."""

import contextlib
import itertools

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError
from tqdm import tqdm

from data_prep.errors import one_line
from data_prep.image_files import ImageError, decode
from data_prep.store.environment import key, open_lmdb

JPEG_QUALITY = 95  # the default of OpenCV, and so of Caffe's convert_imageset
COMMIT = 256  # records in one transaction
MAP = 1 << 40  # bytes of address space that an LMDB may grow to, as in Caffe's convert_imageset


def image_datum(image, encoding, label=None):
    """A serialised Datum of an image (height, width, 3) B G R, encoded as "jpg" or "png"."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if encoding == "jpg" else []
    return encoded_datum(cv2.imencode(f".{encoding}", image, quality)[1].tobytes(), label)


def encoded_datum(data, label=None):
    """A serialised Datum of the bytes of an encoded image."""
    return caffe_pb2.Datum(data=data, encoded=True, label=label).SerializeToString()


def label_datum(labels):
    """A serialised Datum of an image's labels (A,), 0 or 1, one per channel."""
    data = np.asarray(labels, dtype=np.uint8).tobytes()
    return caffe_pb2.Datum(channels=len(labels), height=1, width=1, data=data).SerializeToString()


def records(path, numbers=None):
    """(where, Datum) of the records of an LMDB, in key order or of the given numbers; where: the record, for errors.

    Raises OSError that names the record, for a missing or damaged one.
    """
    with open_lmdb(path) as environment:
        try:
            with environment.begin() as transaction:
                keys = [] if numbers is None else [key(int(number)) for number in numbers]
                found = transaction.cursor() if numbers is None else zip(keys, map(transaction.get, keys))
                for name, value in found:
                    where = f"{path}: record {one_line(name.decode(errors='replace'))}"
                    if value is None:
                        raise OSError(f"{where} is missing")
                    try:
                        yield where, caffe_pb2.Datum.FromString(value)
                    except DecodeError:
                        raise OSError(f"{where} is not a Datum; build the database again")
        except lmdb.Error as error:
            raise OSError(f"{path}: damaged LMDB ({error}); build it again")


def images(path, numbers=None):
    """The images of an LMDB, uint8 (height, width, 3) B G R, in key order or of the given numbers. Raises OSError."""
    with contextlib.closing(records(path, numbers)) as datums:
        for where, datum in datums:
            try:
                yield decode(datum.data)
            except ImageError:
                raise OSError(f"{where} is not a readable image")


def read_labels(path, attributes):
    """All labels of a labels LMDB, (N, A) bool.

    attributes: the number A of labels per image
    Raises OSError that names the record, for labels other than 0 and 1 or a wrong number of labels, or none at all.
    """
    rows = []
    for where, datum in records(path):
        row = datum.data
        if len(row) != attributes or row.strip(b"\0\1"):
            right = len(row) == attributes
            what = "labels other than 0 and 1" if right else f"{len(row)} labels, but should have {attributes}"
            raise OSError(f"{where} has {what}; build the database again")
        rows.append(np.frombuffer(row, dtype=np.uint8))
    if not rows:
        raise OSError(f"{path}: no labels in it; build the database again")
    return np.array(rows) == 1


def write_lmdb(path, values, total, title):
    """Write serialised records to a new LMDB under zero-padded numbers; shows progress.

    values: iterable of the records; total: their number; title: of the progress bar. Equal records give equal bytes.
    Raises OSError on a full disk.
    """
    numbered = enumerate(tqdm(values, total=total, desc=title, unit="image", disable=None))
    try:
        # meminit: what is not used of a page is zero.
        with lmdb.open(str(path), map_size=MAP, meminit=True) as environment:
            while chunk := list(itertools.islice(numbered, COMMIT)):
                with environment.begin(write=True) as transaction:
                    for number, value in chunk:
                        transaction.put(key(number), value, append=True)
                del chunk  # so that only one chunk is in memory
    except lmdb.Error as error:  # such as a full disk
        raise OSError(f"{path / 'data.mdb'}: {error}")
