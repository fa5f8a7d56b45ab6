"""A data set of faces with attribute labels, whatever its layout: what the rest of data preparation sees of it."""

import hashlib
import pathlib

import cv2
import numpy as np

from data_prep import geometry
from data_prep.attributes import CELEBA_ATTRIBUTES, is_name, suggestion
from data_prep.sources import image_header
from data_prep.sources.images import DataError

TRAIN, VAL, TEST = range(3)
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}
DIGEST = 16  # bytes of a content hash


def content_hash(data):
    """The hash (16 bytes) by which equal images are recognised."""
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


class Source:
    """Labels in memory, images read one by one.

    kind: "celeba", "lfwa" or "csv"; path: folder of the data set, or the CSV file
    names: N names of images; attributes: names of the columns; labels (N, columns) bool; partition (N,) of TRAIN,
    VAL, TEST
    images: a class of data_prep.sources.images, or None where they are missing (good for a dry run only)
    files: the label files, for checksums; row: function index -> "file:row" of an image's labels
    boxes: dict name -> dict attribute -> (x1, y1, x2, y2) in pixels of the image, or empty
    default_frame: left and right eye (2, 2) in pixels of the images, None for aligned pictures
    size: width and height that all images have if the default frame is to be right for them, or None
    Set by open_source: options, to open it so again; frame, the default one unless another was asked for.
    Set by the builder: convert, whether images that are no plain 8-bit colour ones are taken, converted.
    Raises DataError when an image is missing.
    """

    def __init__(self, kind, path, names, attributes, labels, partition, images, files, row, boxes=None):
        self.kind, self.path = kind, pathlib.Path(path)
        self.names, self.attributes, self.labels, self.partition = names, attributes, labels, partition
        self.images, self.files, self.row = images, files, row
        self.boxes = boxes or {}
        self.default_attributes = attributes
        self.frame = self.size = None
        self.convert = False
        self.options = {}
        self._hashes = None

    def open(self, scratch=None):
        """Find all images. scratch: folder for a compressed tar's contents. Raises DataError, OSError."""
        self.images.prepare(scratch)
        missing = self.images.locate(self.names)
        if missing is not None:
            raise DataError(f"{self.row(missing)}: {self.names[missing]} is not in {self.images.path}")

    def expect(self, members, hashes):
        """From now on refuse images whose content is not what it was.

        members: numbers of images; hashes: their content hashes (len(members), 16) uint8
        """
        self._hashes = np.zeros((len(self.names), DIGEST), np.uint8)
        self._hashes[members] = hashes

    def columns(self, attributes):
        """The labels' columns that hold these attributes. Raises DataError for an unknown one or one named twice."""
        for name in attributes:
            if name not in self.attributes:
                hint = suggestion(name, self.attributes)
                raise DataError(f"no attribute {name!r} in {self.files[0]}; {hint}")
        if not attributes or len(set(attributes)) != len(attributes):
            raise DataError("no attribute, or one named twice")
        return [self.attributes.index(name) for name in attributes]

    def where(self, index):
        """Where image `index` and its labels are, for errors."""
        return f"{self.images.path}: {self.names[index]} ({self.row(index)})"

    def read(self, index):
        """The encoded bytes of image `index` as they are in the data set. Raises DataError."""
        try:
            data = self.images.read(index)
        except DataError as error:
            raise DataError(f"{self.where(index)}: {error}")
        if self._hashes is not None and content_hash(data) != self._hashes[index].tobytes():
            raise DataError(f"{self.where(index)}: changed while it was being prepared; start again")
        return data

    def checked(self, index):
        """Encoded bytes of image `index` that any Caffe decodes alike, and the source's own.

        They differ only where `convert` is set and the image is grey, CMYK, 16-bit, transparent or turned: then
        the first is a PNG of it as 8-bit colour, upright. Raises DataError naming image and row.
        """
        data = self.read(index)
        try:
            header = image_header.inspect(data)
            reason = image_header.unsupported_reason(header)
        except image_header.ImageError as error:
            raise DataError(f"{self.where(index)}: {error}")
        if reason and not self.convert:
            raise DataError(f"{self.where(index)}: {reason}; mend it, or take such images converted with --convert")
        self._check_frame(header, index)
        if reason:
            return cv2.imencode(".png", self.decode(data, index))[1].tobytes(), data
        return data, data

    def _check_frame(self, header, index):
        """Raises DataError where the frame cannot be right for an image."""
        if self.frame is None:
            return
        size = (header.width, header.height) if header.orientation < 5 else (header.height, header.width)
        remedy = "say where the eyes are with --eyes, or --frame none for aligned faces"
        if self.size and size != self.size:
            what = f"{_pixels(size)}, but the frame is of {_pixels(self.size)}"
            raise DataError(f"{self.where(index)}: {what}; {remedy}")
        if (np.array(self.frame) > size).any():
            raise DataError(f"{self.where(index)}: the eyes lie outside of its {_pixels(size)}; {remedy}")

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

    def face(self, index, out=None):
        """The 256 x 256 face of image `index`, in array `out` if given: as `image`, with the frame applied."""
        return geometry.framed(self.image(index), self.frame, out)


def _pixels(size):
    return f"{size[0]} x {size[1]} pixels"


def canonical(names, where, spellings=CELEBA_ATTRIBUTES):
    """Names of attributes: blanks trimmed or underscores; those among `spellings` in their case.

    Raises DataError for a name that comes twice, or that cannot be one.
    """
    known = {name.lower(): name for name in spellings}
    spelt = ["_".join(str(name).replace("_", " ").split()) for name in names]
    spelt = [known.get(name.lower(), name) for name in spelt]
    for index, name in enumerate(spelt):
        if name in spelt[:index]:
            raise DataError(f"{where}: attribute {name!r} is named twice")
        if not is_name(name):
            raise DataError(f"{where}: {name[:60]!r} cannot name an attribute; take letters, digits, _ . + -")
    return spelt


def one_spelling(zero, minus, where):
    """Raises DataError where labels use both 0 and -1: one of them would mean something else than absent."""
    if zero and minus:
        raise DataError(f"{where}: labels use -1 and 0; absent must be one of them")
