"""The two forms of training data: the databases they consist of, and the content of each record.

compact  each face once, in the data set's own encoding: train_images, val_images, test_images. The layer BalancedData
         samples, crops and mirrors during training.
stream   `train` stores the balanced sequence, patch after patch, for Caffe's stock Data layer; val_images and
         test_images are centre patches.
The labels of the image databases are in *_labels.
"""

import collections
import functools

import numpy as np

from data_prep.errors import DataError
from data_prep.geometry import patch
from data_prep.plan import balance
from data_prep.store.databases import encoded_datum, image_datum, label_datum
from data_prep.store.image_list import SPLITS

# A database to write: its name, its items (an array), and the function that makes an item's serialised Datum.
Database = collections.namedtuple("Database", "name items record")


class Job:
    """The databases of one build.

    source: Source; form: "compact" or "stream"; attributes: names; without: numbers of images to leave out
    Attributes: members, dict split -> numbers of its images; labels, dict split -> (n, A) bool; plan, balance.Plan;
    samples, the (M,) of balance.SAMPLE of the stream, None in the compact form
    Raises DataError for labels that cannot be trained on.
    """

    def __init__(self, source, form, attributes, without=()):
        self.source, self.form, self.attributes, self.settings = source, form, list(attributes), source.settings
        columns, self.members, self.labels = source.columns(self.attributes), {}, {}
        for split, part in SPLITS.items():
            members = np.setdiff1d(np.flatnonzero(source.partition == part), without).astype(np.int32)
            if not len(members):
                raise DataError(f"{source.files[-1]}: no image is in the {split} split, which needs some")
            self.members[split], self.labels[split] = members, source.labels[np.ix_(members, columns)]
        settings = self.settings
        self.plan = balance.Plan(
            self.labels["train"], self.attributes, settings.seed, settings.augment, settings.sampling
        )
        self.rounds = min(settings.records or self.plan.largest, self.plan.largest)
        if form == "stream" and self.rounds < settings.shards:
            raise DataError(f"{self.rounds} records per class are too few for {settings.shards} solvers")

    @functools.cached_property
    def samples(self):
        if self.form == "compact":
            return None
        return balance.interleave(self.plan.rounds(0, self.rounds), self.settings.shards)

    def databases(self):
        """The databases to write, in order: list of Database."""
        stream = self.form == "stream"
        databases = [Database("train", self.samples, self._train_record)] if stream else []
        for split in SPLITS if not stream else ("val", "test"):
            images = self._patch_record if stream else self._face_record
            databases.append(Database(f"{split}_images", self.members[split], images))
            databases.append(Database(f"{split}_labels", self.labels[split], label_datum))
        return databases

    def train_patch(self, sample):
        """The patch of a sample (of balance.SAMPLE), as the network gets it. Raises DataError."""
        image, _, dx, dy, mirror = sample.item()
        return patch(self.source.face(self.members["train"][image]), dx, dy, mirror)

    def _train_record(self, sample):
        return image_datum(self.train_patch(sample), self.settings.encoding, sample["label"].item())

    def _patch_record(self, index):
        return image_datum(patch(self.source.face(index)), self.settings.encoding)

    def _face_record(self, index):
        data = self.source.stored(index)
        self.source.decode(data, index)  # a damaged image must fail here, not in the middle of training
        return encoded_datum(data)
