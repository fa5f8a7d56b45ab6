"""The two forms of training data, as the databases they consist of and what each record is.

stream   `train` is the balanced sequence written down, patch after patch, for Caffe's stock Data layer; val_images and
         test_images are centre patches.
compact  each face once, in the data set's own encoding: train_images, val_images, test_images. The layer BalancedData
         draws, cuts and mirrors on the fly.
Labels lie beside the images in *_labels.
"""

import collections
import threading

import numpy as np

from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.geometry import FACE_SIZE, PATCH_SIZE, face, patch
from data_prep.plan import balance
from data_prep.sources.images import DataError
from data_prep.sources.source import SPLITS
from data_prep.store.databases import encoded_datum, image_datum, label_datum

# form: "stream" or "compact"; records: of the stream, turns of the plan at most, 0 for as many as the largest class
# has images; encoding, shards (for how many solvers): of the stream; seed, augment, sampling: see balance.Plan
Settings = collections.namedtuple(
    "Settings", "form attributes records seed encoding augment shards sampling", defaults=("balanced",)
)

# A database: its name, the items it is made of, and the function that makes an item's record (serialised Datum).
Database = collections.namedtuple("Database", "name items record")


class Job:
    """What is to be written for a source and settings.

    members: dict split -> numbers of its images; labels: dict split -> (n, A) bool
    plan: balance.Plan; draws: of the stream, (M,) of balance.DRAW, None in compact form
    Raises DataError where the labels do not allow it.
    """

    def __init__(self, source, settings, dropped=()):
        self.source, self.settings = source, settings
        columns = [source.attributes.index(name) for name in checked_attributes(source, settings.attributes)]
        self.members, self.labels = {}, {}
        for split, part in SPLITS.items():
            members = np.flatnonzero(source.partition == part).astype(np.int32)
            self.members[split] = members if split != "train" else np.setdiff1d(members, dropped)
            self.labels[split] = source.labels[np.ix_(self.members[split], columns)]
            if not len(members):
                raise DataError(f"{source.files[1]}: no image is in the {split} split")
        train = self.labels["train"]
        self.plan = balance.Plan(train, settings.attributes, settings.seed, settings.augment, settings.sampling)
        self.draws = None
        if settings.form == "stream":
            records = min(settings.records or self.plan.largest, self.plan.largest)
            if records < settings.shards:
                raise DataError(f"{records} records per class are too few for {settings.shards} solvers")
            self.draws = balance.interleave(self.plan.turns(0, records), settings.shards)
        self._buffers = threading.local()

    def databases(self):
        """The databases to write, in order."""
        stream = self.settings.form == "stream"
        found = [Database("train", self.draws, self._train_record)] if stream else []
        for split in SPLITS if not stream else ("val", "test"):
            images = self._patch_record if stream else self._face_record
            found.append(Database(f"{split}_images", self.members[split], images))
            found.append(Database(f"{split}_labels", self.labels[split], label_datum))
        return found

    def _face(self, index):
        """Face `index` brought to size, in this thread's own buffer: valid until its next face."""
        if not hasattr(self._buffers, "face"):
            self._buffers.face = np.empty((FACE_SIZE, FACE_SIZE, 3), np.uint8)
            self._buffers.mirror = np.empty((PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
        return face(self.source.image(index), self._buffers.face)

    def _train_record(self, draw):
        image, label, dx, dy, mirror = draw.item()
        whole = self._face(self.members["train"][image])
        cut = patch(whole, dx, dy, mirror, self._buffers.mirror)
        return image_datum(cut, self.settings.encoding, label)

    def _patch_record(self, index):
        return image_datum(patch(self._face(index)), self.settings.encoding)

    def _face_record(self, index):
        data = self.source.checked(index)[0]
        self.source.decode(data, index)  # better a complaint now than in the middle of training
        return encoded_datum(data)


def checked_attributes(source, attributes):
    """The attributes asked for. Raises DataError for one that is unknown, or named twice, or none at all."""
    for name in attributes:
        if name not in source.attributes:
            where = source.files[0]
            if name in CELEBA_ATTRIBUTES:
                raise DataError(f"{where}: no column {name} in it; there are {', '.join(source.attributes)}")
            raise DataError(f"unknown attribute {name!r}; known are {', '.join(source.attributes)}")
    if not attributes or len(set(attributes)) != len(attributes):
        raise DataError("no attribute, or one named twice")
    return attributes
