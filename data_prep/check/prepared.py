"""A folder that make lmdb wrote, read back."""

import csv
import pathlib

import numpy as np
from caffe.proto import caffe_pb2

from data_prep.build import examine
from data_prep.geometry import face, patch
from data_prep.plan import balance
from data_prep.sources.images import DataError
from data_prep.sources.source import SPLITS
from data_prep.store import manifest
from data_prep.store.databases import decoded, key, open_lmdb, read_labels


class Prepared:
    """What a folder of LMDBs holds.

    folder: of the LMDBs; source: the Source it was made from, opened, or None
    Attributes: told (the manifest), attributes, settings, stream (bool); of images.csv: names, hashes (N, 16),
    parts (N,)
    Raises DataError, OSError, ValueError when it is none.
    """

    def __init__(self, folder, source=None):
        self.folder, self.source = pathlib.Path(folder), source
        self.told = manifest.read(folder)
        if "source" not in self.told or "form" not in self.told:
            raise DataError(f"{folder}: its manifest tells neither form nor source; it is of an older make lmdb")
        self.attributes, self.settings = self.told["attributes"], self.told["settings"]
        self.stream = self.told["form"] == "stream"
        self.solvers = self.settings["shards"] if self.stream else 1
        self.names, self.hashes, self.parts = read_images(self.folder / "images.csv")
        self._labels = {}

    def members(self, split):
        """Rows of images.csv that belong to a split."""
        return np.flatnonzero(self.parts == SPLITS[split])

    def number(self, name):
        """Number of an image in the data set, by name; None where it has none of that name."""
        if not hasattr(self, "_numbers"):
            self._numbers = {name: index for index, name in enumerate(self.source.names)}
        return self._numbers.get(name)

    def source_labels(self, split):
        """Labels of a split's images as the data set has them, (n, A) bool."""
        columns = [self.source.attributes.index(name) for name in self.attributes]
        return self.source.labels[np.ix_([self.number(self.names[row]) for row in self.members(split)], columns)]

    def labels(self, split):
        """Labels of a split's images, (n, A) bool: the database's, else the data set's, or None without both."""
        if split not in self._labels:
            path = self.folder / f"{split}_labels"
            if path.exists():
                self._labels[split] = read_labels(path)
            else:
                self._labels[split] = self.source_labels(split) if self.source else None
        return self._labels[split]

    def draws(self):
        """What training is given, (M,) of balance.DRAW: all of the stream, an epoch of the compact form."""
        if self.stream:
            return np.load(self.folder / "train_plan.npy")
        settings = self.settings
        sampling = manifest.sampling(self.told)
        plan = balance.Plan(self.labels("train"), self.attributes, settings["seed"], settings["augment"], sampling)
        return plan.turns(0, plan.largest).reshape(-1)

    def columns(self, records):
        """The attribute's number of each of so many records."""
        return np.arange(records) // self.solvers % len(self.attributes)

    def train_name(self, image):
        """Name of training image number `image`."""
        return self.names[self.members("train")[image]]

    def whole_face(self, image):
        """Training face number `image` at 256 x 256, or None where neither databases nor data set have it."""
        if not self.stream:
            return face(next(self.records("train_images", [image]))[1])
        return face(self.source.image(self.number(self.train_name(image)))) if self.source else None

    def training_patch(self, draws, record):
        """A training record's patch as a network gets it."""
        if self.stream:
            return next(self.records("train", [record]))[1]
        image, _, dx, dy, mirror = draws[record].item()
        return patch(self.whole_face(image), dx, dy, mirror)

    def records(self, name, numbers):
        """(number, image or None, bytes) of records of a database, in the order of `numbers`."""
        with open_lmdb(self.folder / name) as environment, environment.begin() as transaction:
            for number in numbers:
                datum = caffe_pb2.Datum.FromString(transaction.get(key(int(number))))
                yield int(number), decoded(datum), datum.data


def read_images(path):
    """Read images.csv: names (list), hashes (N, 16) uint8, splits (N,). Raises OSError, DataError."""
    names, hashes, parts = [], bytearray(), bytearray()
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                names.append(row["name"])
                hashes += bytes.fromhex(row["blake2b"])
                parts.append(SPLITS[row["split"]])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error!r})")
    return names, np.frombuffer(hashes, np.uint8).reshape(-1, examine.DIGEST), np.frombuffer(parts, np.uint8)
