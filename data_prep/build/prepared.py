"""Reading back a folder of LMDBs that `build` wrote."""

import pathlib

import numpy as np

from data_prep.errors import DataError
from data_prep.geometry import framed, patch
from data_prep.plan import balance
from data_prep.sources.source import SPLITS
from data_prep.store import image_list, manifest
from data_prep.store.databases import chosen, decoded, read_labels


class Prepared:
    """The content of a folder of LMDBs.

    folder: the folder; source: the opened Source that it was made from, or None
    Attributes: manifest (Manifest), attributes, settings, stream (bool); from images.csv: names, hashes (N, 16),
    parts (N,)
    Raises DataError, OSError or ValueError when it is no such folder, or damaged.
    """

    def __init__(self, folder, source=None):
        self.folder, self.source = pathlib.Path(folder), source
        self.manifest = manifest.read(folder)
        if self.manifest.source is None or self.manifest.train_records is None:
            raise DataError(f"{self.folder / manifest.NAME}: key 'source' or 'train_records' is missing; make it again")
        for split in SPLITS:
            if split not in self.manifest.splits:
                raise DataError(f"{self.folder / manifest.NAME}: key {split!r} is missing; make it again")
        self.attributes, self.settings = self.manifest.attributes, self.manifest.settings
        self.stream = self.manifest.form == "stream"
        self.solvers = self.settings.shards if self.stream else 1
        self.images = image_list.read(self.folder)
        self.names, self.hashes, self.parts = self.images.names, self.images.hashes, self.images.parts
        self._labels = {}

    def members(self, split):
        """Rows of images.csv that belong to a split."""
        return self.images.members(split)

    def number(self, name):
        """The number of an image in the data set, by its name; None if the data set has no image of that name."""
        if not hasattr(self, "_numbers"):
            self._numbers = {name: index for index, name in enumerate(self.source.names)}
        return self._numbers.get(name)

    def source_labels(self, split):
        """Labels of a split's images in the data set, (n, A) bool."""
        columns = self.source.columns(self.attributes)
        return self.source.labels[np.ix_([self.number(self.names[row]) for row in self.members(split)], columns)]

    def labels(self, split):
        """Labels of a split's images, (n, A) bool: from the database, else from the data set, None without either."""
        if split not in self._labels:
            path = self.folder / f"{split}_labels"
            if path.exists():
                self._labels[split] = read_labels(path, len(self.attributes))
            else:
                self._labels[split] = self.source_labels(split) if self.source else None
        return self._labels[split]

    def samples(self):
        """The training samples, (M,) of balance.SAMPLE: the whole stream, or one epoch of the compact form.

        Raises DataError, OSError.
        """
        if self.stream:
            return self._stored_samples()
        settings = self.settings
        plan = balance.Plan(self.labels("train"), self.attributes, settings.seed, settings.augment, settings.sampling)
        return plan.rounds(0, plan.largest).reshape(-1)

    def _stored_samples(self):
        path = self.folder / "train_plan.npy"
        try:
            samples = np.load(path, allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # NumPy's reader raises errors of every kind for damaged files
            raise DataError(f"{path}: damaged ({error})")
        records = self.manifest.train_records
        if getattr(samples, "dtype", None) != balance.SAMPLE or samples.shape != (records,):
            raise DataError(f"{path}: damaged, must hold {records:,} samples")
        return samples

    def columns(self, records):
        """The number of the attribute that each of the first `records` training records belongs to."""
        return np.arange(records) // self.solvers % len(self.attributes)

    def train_name(self, image):
        """Name of training image number `image`."""
        return self.names[self.members("train")[image]]

    def whole_faces(self, images):
        """Training faces with these numbers at 256 x 256, or None if neither databases nor data set hold them."""
        if not self.stream:
            return [framed(image, self.manifest.frame) for _, image, _ in self.records("train_images", images)]
        numbers = [self.number(self.train_name(image)) for image in images] if self.source else []
        return [self.source.face(number) for number in numbers] if self.source else None

    def training_patches(self, samples, records):
        """The patches of training records, as the network gets them."""
        if self.stream:
            return [image for _, image, _ in self.records("train", records)]
        faces = self.whole_faces(samples["image"][records])
        cuts = (sample.item()[2:] for sample in samples[records])
        return [patch(face, dx, dy, mirror) for face, (dx, dy, mirror) in zip(faces, cuts)]

    def records(self, name, numbers):
        """(number, image or None if it does not decode, bytes) of records of a database. Raises OSError."""
        for number, datum in chosen(self.folder / name, numbers):
            try:
                image = decoded(datum)
            except ValueError:
                image = None
            yield number, image, datum.data
