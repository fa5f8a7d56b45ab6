"""A data set of faces with attribute labels, independent of its layout: the interface to the rest of data_prep."""

import hashlib
import pathlib

import cv2
import numpy as np

from data_prep import geometry, spelling
from data_prep.attributes import CELEBA_ATTRIBUTES, NAMES, is_name
from data_prep.errors import DataError
from data_prep.sources import image_header
from data_prep.store.image_list import DIGEST, SPLITS

SYNTHETIC = "synthetic_faces.json"  # in the folder of rendered faces
TRAIN, VAL, TEST = SPLITS.values()


def content_hash(data):
    """The hash (16 bytes) that identifies equal images."""
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


class Source:
    """A data set: labels in memory, images read one by one.

    kind: "celeba", "lfwa" or "csv"; path: folder of the data set, or the CSV file
    names: N names of images; attributes: names of the columns; labels (N, columns) bool; partition (N,) of TRAIN,
    VAL, TEST
    images: an object of data_prep.sources.images, or None if they are missing (sufficient for a dry run only)
    files: the label files, for checksums; row: function index -> "file:row" of an image's labels
    persons: N texts that tell who is on an image, or None where the data set does not say
    synthetic: whether the faces are rendered ones, which data_prep.synthetic marks by a file beside the labels
    boxes: dict name -> dict attribute -> (x1, y1, x2, y2) in pixels of the image, or empty
    default_frame: left and right eye (2, 2) in pixels of the images, None for aligned pictures
    size: width and height that all images must have for the default frame to be valid, or None
    Set by open_source: options, with which it can be opened again; frame, the default one or the one asked for.
    Set by the builder: convert, whether images other than plain 8-bit colour are converted instead of rejected.
    """

    def __init__(self, kind, path, names, attributes, labels, partition, images, files, row, boxes=None, persons=None):
        self.kind, self.path = kind, pathlib.Path(path)
        self.names, self.attributes, self.labels, self.partition = names, attributes, labels, partition
        self.images, self.files, self.row = images, files, row
        self.boxes, self.persons = boxes or {}, persons
        self.synthetic = (files[0].parent / SYNTHETIC).exists()
        self.default_attributes = attributes
        self.frame = self.size = None
        self.convert = False
        self.options = {}
        self._hashes = None

    def open(self, scratch=None):
        """Find all images. scratch: folder into which a compressed tar is unpacked.

        Raises DataError when an image is missing, OSError.
        """
        self.images.prepare(scratch)
        missing = self.images.locate(self.names)
        if missing is not None:
            raise DataError(f"{self.row(missing)}: {self.names[missing]} is not in {self.images.path}")

    def expect(self, members, hashes):
        """Make later reads fail if an image's content has changed.

        members: numbers of images; hashes: their content hashes (len(members), 16) uint8
        """
        self._hashes = np.zeros((len(self.names), DIGEST), np.uint8)
        self._hashes[members] = hashes

    def columns(self, attributes):
        """The columns of the labels for these attributes. Raises DataError for an unknown or repeated name."""
        for name in attributes:
            if name not in self.attributes:
                hint = spelling.suggestion(name, self.attributes, "attributes", most=3)
                raise DataError(f"no attribute {name!r} in {self.files[0]}{hint}")
        if not attributes or len(set(attributes)) != len(attributes):
            raise DataError("attributes must be at least one, without repetitions")
        return [self.attributes.index(name) for name in attributes]

    def where(self, index):
        """The location of image `index` and of its labels, for error messages."""
        return f"{self.images.path}: {self.names[index]} ({self.row(index)})"

    def read(self, index):
        """The encoded bytes of image `index` as they are in the data set. Raises DataError."""
        try:
            data = self.images.read(index)
        except DataError as error:
            raise DataError(f"{self.where(index)}: {error}")
        if self._hashes is not None and content_hash(data) != self._hashes[index].tobytes():
            raise DataError(f"{self.where(index)}: changed while it was being prepared; run the command again")
        return data

    def checked(self, index):
        """Image `index` as encoded bytes that every Caffe decodes to the same pixels, and its original bytes.

        They differ only if `convert` is set and the image is grey, CMYK, 16-bit, transparent or rotated: the former
        are then an upright 8-bit colour PNG. Raises DataError that names image and row.
        """
        data = self.read(index)
        try:
            header = image_header.inspect(data)
            reason = image_header.unsupported_reason(header)
        except image_header.ImageError as error:
            raise DataError(f"{self.where(index)}: {error}")
        if reason and not self.convert:
            raise DataError(f"{self.where(index)}: {reason}; replace the image, or convert such images with --convert")
        self._check_frame(header, index)
        if reason:
            return cv2.imencode(".png", self.decode(data, index))[1].tobytes(), data
        return data, data

    def _check_frame(self, header, index):
        """Raises DataError if the frame cannot be valid for an image."""
        if self.frame is None:
            return
        size = (header.width, header.height) if header.orientation < 5 else (header.height, header.width)
        remedy = "give the positions of the eyes with --eyes, or --frame none for aligned faces"
        if self.size and size != self.size:
            what = f"{_pixels(size)}, but the frame is for {_pixels(self.size)}"
            raise DataError(f"{self.where(index)}: {what}; {remedy}")
        if (np.array(self.frame) > size).any():
            raise DataError(f"{self.where(index)}: the eyes are outside of its {_pixels(size)}; {remedy}")

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
        """Image `index`, as `checked` returns it, decoded to (height, width, 3) uint8, B G R. Raises DataError."""
        return self.decode(self.checked(index)[0] if self.convert else self.read(index), index)

    def face(self, index, out=None):
        """The aligned 256 x 256 face of image `index`, in array `out` if given. Raises DataError."""
        return geometry.framed(self.image(index), self.frame, out)


def _pixels(size):
    return f"{size[0]} x {size[1]} pixels"


def canonical(names, where, spellings=CELEBA_ATTRIBUTES):
    """Normalised attribute names: outer blanks removed, inner ones replaced by underscores, case as in `spellings`.

    Raises DataError for a repeated name, or one that cannot name an attribute.
    """
    known = {name.lower(): name for name in spellings}
    spelt = ["_".join(str(name).replace("_", " ").split()) for name in names]
    spelt = [known.get(name.lower(), name) for name in spelt]
    for index, name in enumerate(spelt):
        if name in spelt[:index]:
            raise DataError(f"{where}: attribute {name!r} is named twice")
        if not is_name(name):
            raise DataError(f"{where}: {name[:60]!r} cannot name an attribute; {NAMES}")
    return spelt


def one_spelling(zero, minus, where):
    """Raises DataError if labels use both 0 and -1: one of the two must then mean something other than absent."""
    if zero and minus:
        raise DataError(f"{where}: labels use both -1 and 0 for absent; use only one of them")
