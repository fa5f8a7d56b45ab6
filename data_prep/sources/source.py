"""A data set of faces with attribute labels, independent of its layout: the interface to the rest of data_prep."""

import dataclasses
import hashlib
import pathlib
from typing import Any, Optional

import cv2
import numpy as np

from data_prep import geometry, image_files, spelling
from data_prep.attributes import PAPER_ATTRIBUTES, wrong_names
from data_prep.errors import DataError
from data_prep.faces.aligner import Aligner
from data_prep.sources.tables import Table
from data_prep.store.manifest import Settings

SYNTHETIC = "synthetic_faces.json"  # in the folder of rendered faces


def content_hash(data):
    """The hash that identifies equal images, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclasses.dataclass
class Source(Table):
    """A data set: a table of labels in memory, images read one by one.

    kind: "celeba", "lfwa" or "csv"; path: folder of the data set, or the CSV file
    partition: (N,) of TRAIN, VAL, TEST; images: a sources.images.Images
    files: the label files, for checksums, first that of the table
    settings: manifest.Settings
    boxes: dict name -> dict attribute -> (x1, y1, x2, y2) in pixels of an aligned image
    persons: N texts that tell who is on an image, or None where the data set does not say
    frame: left and right eye (2, 2) in pixels of the images, None for aligned pictures; size: width and height that all
    images must have for the frame to be valid, or None
    aligner: faces.aligner.Aligner where `detect` is set
    """

    kind: str
    path: pathlib.Path
    partition: np.ndarray
    images: Any
    files: list
    settings: Settings
    boxes: dict = dataclasses.field(default_factory=dict)
    persons: Optional[list] = None
    frame: Optional[tuple] = None
    size: Optional[tuple] = None
    aligner: Any = None

    @property
    def synthetic(self):
        """Whether the faces are rendered ones, which data_prep.synthetic marks by a file beside the labels."""
        return (self.files[0].parent / SYNTHETIC).exists()

    @property
    def default_attributes(self):
        """The attributes that are learned unless others are asked for: the paper's twenty, or all columns of a CSV."""
        return list(self.attributes if self.kind == "csv" else PAPER_ATTRIBUTES)

    def open(self, scratch=None):
        """Find all images. scratch: folder for what must be unpacked, None for one of its own.

        Raises DataError when an image is missing, OSError.
        """
        if self.settings.detect:
            self.aligner = Aligner(scratch and pathlib.Path(scratch) / "faces")
        missing = self.images.locate(self.names, scratch)
        if missing is not None:
            place = f"{self.files[0].parent / self.row(missing)}: {self.names[missing]} is not in {self.images.path}"
            raise DataError(f"{place}; bring it back, or remove the row")

    def columns(self, attributes):
        """The columns of the labels for these attributes. Raises DataError for an unknown or repeated name."""
        for name in attributes:
            if name not in self.attributes:
                hint = spelling.suggestion(name, self.attributes, "attributes", most=3)
                raise DataError(f"no attribute {name!r} in {self.files[0]}{hint}")
        wrong = wrong_names(attributes)
        if wrong:
            raise DataError(f"attributes: {wrong}")
        return [self.attributes.index(name) for name in attributes]

    def row(self, index):
        """The "file:row" of an image's labels."""
        return f"{self.files[0].name}:{self.rows[index]}"

    def error(self, index, fault):
        """The DataError for a fault of image `index`, which it names with the row of its labels."""
        return DataError(f"{self.images.path}: {self.names[index]} ({self.row(index)}): {fault}")

    def read(self, index):
        """The encoded bytes of image `index` as they are in the data set. Raises DataError."""
        try:
            return self.images.read(index)
        except DataError as error:
            raise self.error(index, error)

    def stored(self, index, data=None):
        """Image `index` as encoded bytes that every Caffe decodes to the same pixels.

        These are its own bytes, or a PNG: of the aligned face where faces are detected, of the upright 8-bit colours
        where another image is converted. data: its own bytes, None to read them
        Raises DataError that names image and row, for one that cannot be used; faces.aligner.NoFace where no face can
        be taken.
        """
        data = self.read(index) if data is None else data
        try:
            header = image_files.header(data)
            image_files.check_size(header.width, header.height)
        except DataError as error:
            raise self.error(index, error)
        if self.aligner:
            return self.aligner.aligned(data, lambda: self.decode(data, index))
        if header.unusual and not self.settings.convert:
            raise self.error(index, f"{header.unusual}; replace the image, or convert such images with --convert")
        size, remedy = (header.width, header.height), "give the positions of the eyes with --eyes, or --frame none"
        if self.size and size != self.size:
            what = f"{_pixels(size)}, but the frame is for {_pixels(self.size)}"
            raise self.error(index, f"{what}; {remedy} for aligned faces")
        if self.frame is not None and (np.array(self.frame) > size).any():
            raise self.error(index, f"the eyes are outside of its {_pixels(size)}; {remedy} for aligned faces")
        return cv2.imencode(".png", self.decode(data, index))[1].tobytes() if header.unusual else data

    def decode(self, data, index):
        """Encoded bytes of image `index` as (height, width, 3) uint8, B G R. Raises DataError."""
        try:
            return image_files.decode(data)
        except DataError as error:
            raise self.error(index, error)

    def image(self, index):
        """Image `index` as it is stored, decoded to (height, width, 3) uint8, B G R. Raises DataError."""
        return self.decode(self.stored(index), index)

    def face(self, index):
        """The aligned 256 x 256 face of image `index`. Raises DataError."""
        return geometry.framed(self.image(index), self.frame)


def _pixels(size):
    return f"{size[0]} x {size[1]} pixels"
