"""A data set of faces with attribute labels, whatever its layout: what the rest of data preparation sees of it."""

import pathlib

import cv2
import numpy as np

from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.sources import image_header
from data_prep.sources.images import DataError

TRAIN, VAL, TEST = range(3)
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}


class Source:
    """Labels in memory, images read one by one.

    kind: "celeba" or "lfwa"; path: folder of the data set
    names: N names of images; attributes: names of the columns; labels (N, columns) bool; partition (N,) of TRAIN,
    VAL, TEST
    images: a class of data_prep.sources.images, or None where they are missing (good for a dry run only)
    files: the label files, for checksums; row: function index -> "file:row" of an image's labels
    boxes: dict name -> dict attribute -> (x1, y1, x2, y2) in pixels of the image, or empty
    convert: take images that are no plain 8-bit colour ones, converted
    options: how it was opened, to open it so again
    Raises DataError when an image is missing.
    """

    def __init__(self, kind, path, names, attributes, labels, partition, images, files, row, boxes=None):
        self.kind, self.path = kind, pathlib.Path(path)
        self.names, self.attributes, self.labels, self.partition = names, attributes, labels, partition
        self.images, self.files, self.row = images, files, row
        self.boxes = boxes or {}
        self.convert = False
        self.options = {}

    def open(self, scratch=None):
        """Find all images. scratch: folder for a compressed tar's contents. Raises DataError, OSError."""
        self.images.prepare(scratch)
        missing = self.images.locate(self.names)
        if missing is not None:
            raise DataError(f"{self.row(missing)}: {self.names[missing]} is not in {self.images.path}")

    def where(self, index):
        """Where image `index` and its labels are, for errors."""
        return f"{self.images.path}: {self.names[index]} ({self.row(index)})"

    def read(self, index):
        """The encoded bytes of image `index` as they are in the data set. Raises DataError."""
        try:
            return self.images.read(index)
        except DataError as error:
            raise DataError(f"{self.where(index)}: {error}")

    def checked(self, index):
        """Encoded bytes of image `index` that any Caffe decodes alike, and the source's own.

        They differ only where `convert` is set and the image is grey, CMYK, 16-bit, transparent or turned: then
        the first is a PNG of it as 8-bit colour, upright. Raises DataError naming image and row.
        """
        data = self.read(index)
        try:
            odd = image_header.oddity(image_header.inspect(data))
        except image_header.ImageError as error:
            raise DataError(f"{self.where(index)}: {error}")
        if odd and not self.convert:
            raise DataError(f"{self.where(index)}: {odd}; mend it, or take such images converted with --convert")
        if odd:
            return cv2.imencode(".png", self.decode(data, index))[1].tobytes(), data
        return data, data

    def decode(self, data, index):
        """Encoded bytes of image `index` as (height, width, 3) uint8, B G R. Raises DataError."""
        try:
            image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            image = None
        if image is None:
            raise DataError(f"{self.where(index)}: not a readable image")
        return image

    def image(self, index):
        """Image `index`, of those found usable by `checked`, as (height, width, 3) uint8, B G R. Raises DataError."""
        return self.decode(self.checked(index)[0] if self.convert else self.read(index), index)


def canonical(names, where):
    """Names of attributes as CelebA writes them: blanks trimmed or underscores, case as there.

    Raises DataError for a name that comes twice.
    """
    known = {name.lower(): name for name in CELEBA_ATTRIBUTES}
    spelt = ["_".join(str(name).replace("_", " ").split()) for name in names]
    spelt = [known.get(name.lower(), name) for name in spelt]
    twice = [name for index, name in enumerate(spelt) if name in spelt[:index] or not name]
    if twice:
        raise DataError(f"{where}: attribute {twice[0]!r} is named twice" if twice[0] else f"{where}: an empty name")
    return spelt


def one_spelling(zero, minus, where):
    """Raises DataError where labels use both 0 and -1: one of them would mean something else than absent."""
    if zero and minus:
        raise DataError(f"{where}: labels use -1 and 0; absent must be one of them")
