"""The two forms of training data: the databases they consist of, and the content of each record.

compact  each face once, in the data set's own encoding: train_images, val_images, test_images. The layer BalancedData
         samples, crops and mirrors during training.
stream   `train` stores the balanced sequence, patch after patch, for Caffe's stock Data layer; val_images and
         test_images are centre patches.
The labels of the image databases are in *_labels.
"""

import dataclasses
import threading
from typing import Any, Callable

import numpy as np

from data_prep.errors import DataError
from data_prep.geometry import FACE_SIZE, PATCH_SIZE, patch
from data_prep.plan import balance
from data_prep.sources.source import SPLITS
from data_prep.store.databases import encoded_datum, image_datum, label_datum


@dataclasses.dataclass(frozen=True)
class Database:
    """A database to write: its name, its items (an array), and the function that makes an item's serialised Datum."""

    name: str
    items: Any
    record: Callable


class Job:
    """The databases of one build.

    source: Source; form: "compact" or "stream"; attributes: names; settings: manifest.Settings
    dropped: numbers of images that are left out of training
    Attributes: members, dict split -> numbers of its images; labels, dict split -> (n, A) bool; plan, balance.Plan;
    samples, the (M,) of balance.SAMPLE of the stream, None in the compact form
    Raises DataError for labels that cannot be trained on.
    """

    def __init__(self, source, form, attributes, settings, dropped=()):
        self.source, self.form, self.attributes, self.settings = source, form, list(attributes), settings
        columns = source.columns(self.attributes)
        self.members, self.labels = {}, {}
        for split, part in SPLITS.items():
            members = np.flatnonzero(source.partition == part).astype(np.int32)
            self.members[split] = members if split != "train" else np.setdiff1d(members, dropped)
            self.labels[split] = source.labels[np.ix_(self.members[split], columns)]
            if not len(members):
                raise DataError(f"{source.files[-1]}: no image is in the {split} split")
        train = self.labels["train"]
        self.plan = balance.Plan(train, self.attributes, settings.seed, settings.augment, settings.sampling)
        self.samples = None
        if form == "stream":
            records = min(settings.records or self.plan.largest, self.plan.largest)
            if records < settings.shards:
                raise DataError(f"{records} records per class are too few for {settings.shards} solvers")
            self.samples = balance.interleave(self.plan.rounds(0, records), settings.shards)
        self._buffers = threading.local()

    def databases(self):
        """The databases to write, in order: list of Database."""
        stream = self.form == "stream"
        databases = [Database("train", self.samples, self._train_record)] if stream else []
        for split in SPLITS if not stream else ("val", "test"):
            images = self._patch_record if stream else self._face_record
            databases.append(Database(f"{split}_images", self.members[split], images))
            databases.append(Database(f"{split}_labels", self.labels[split], label_datum))
        return databases

    def _face(self, index):
        """Face `index` at 256 x 256, in this thread's buffer: valid until the thread's next call."""
        if not hasattr(self._buffers, "face"):
            self._buffers.face = np.empty((FACE_SIZE, FACE_SIZE, 3), np.uint8)
            self._buffers.mirror = np.empty((PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
        return self.source.face(index, self._buffers.face)

    def _train_record(self, sample):
        image, label, dx, dy, mirror = sample.item()
        whole = self._face(self.members["train"][image])
        cut = patch(whole, dx, dy, mirror, self._buffers.mirror)
        return image_datum(cut, self.settings.encoding, label)

    def _patch_record(self, index):
        return image_datum(patch(self._face(index)), self.settings.encoding)

    def _face_record(self, index):
        data = self.source.checked(index)[0]
        self.source.decode(data, index)  # a damaged image must fail here, not in the middle of training
        return encoded_datum(data)
