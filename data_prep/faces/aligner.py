"""The face of each photo of a data set, aligned as face-cascade predict aligns it; and whether pictures are aligned."""

import hashlib
import pathlib
import tempfile
import threading

import cv2
import numpy as np

from data_prep import files, geometry
from data_prep.errors import DataError
from data_prep.faces import mtcnn
from data_prep.faces.face_finder import LANDMARKS, Face, FaceFinder

# A photo's largest face is its subject unless another one is more than this share as large (distance of the eyes).
OTHER = 2 / 3
# Eyes are misplaced where one is farther from its place than this share of their distance. Measured: in CelebA's
# pictures the median is 0.06, 1 to 2 % are beyond 0.2; in LFW's photos taken as aligned the median is 0.32, all are.
MISPLACED = 0.2
# The part of an aligned picture that MTCNN's last network takes for the face (median of 100 CelebA faces, as a square).
FACE = np.array([(29.0, 66.0, 143.0, 180.0)])
# Its lowest score without a warning. With this limit, and MISPLACED for the eyes, 1 % of 400 CelebA faces at 64 x 64
# and no rendered face get one; of these faces moved by 10 of 178 pixels 99 %, and all LFW photos not cut to the face.
LOWEST_SCORE = 0.5
WARNING = "not framed like the training data: its eyes are not where they should be; find faces (no --aligned)"


class NoFace(DataError):
    """A photo has no face, or several that could be meant; the message says which."""


class Aligner:
    """Finds and aligns the face of a photo, once: what was found is kept in a folder.

    folder: where to keep it; None for one of its own, which is removed with this object
    """

    def __init__(self, folder=None):
        self._own = None if folder else tempfile.TemporaryDirectory()
        self._folder = pathlib.Path(folder or self._own.name)
        self._folder.mkdir(exist_ok=True)
        self._finders, self._writing = threading.local(), threading.Lock()

    def aligned(self, data, decode):
        """The aligned face of a photo as PNG (bytes), 178 x 218 pixels. Raises NoFace, OSError.

        data: the encoded photo; decode: function that gives its pixels (height, width, 3), B G R
        """
        path = self._folder / hashlib.sha256(data).hexdigest()
        if not path.exists():
            found = self._found(decode())
            with self._writing:  # equal photos may be looked at side by side
                files.write_bytes(path, found, among_many=True)
        found = path.read_bytes()
        if not found.startswith(b"\x89PNG"):
            raise NoFace(found.decode())
        return found

    def _found(self, photo):
        """The aligned face as PNG, or why there is none, as text."""
        if not hasattr(self._finders, "own"):  # a network of OpenCV serves one thread
            self._finders.own = FaceFinder()
        faces = sorted(self._finders.own(photo), key=lambda face: -_size(face))
        if not faces:
            return b"no face found"
        if len(faces) > 1 and _size(faces[1]) > OTHER * _size(faces[0]):
            return f"{len(faces)} faces of similar size".encode()
        return cv2.imencode(".png", faces[0].aligned)[1].tobytes()


def _size(face):
    return np.hypot(*face.to_photo[:, 0])


class Framing:
    """Makes a Face of an image (B G R uint8) that is framed like the training data. Raises DataError.

    frame: where the eyes of such images are, (2, 2) pixels; None: CelebA's aligned pictures at any size
    """

    def __init__(self, frame=None):
        self.frame = frame
        self.network = mtcnn.Mtcnn(mtcnn.CELL, thresholds=(*mtcnn.THRESHOLDS[:2], 0))

    def __call__(self, image):
        height, width = image.shape[:2]
        if self.frame is None:
            to_photo = np.array([(width / geometry.ALIGNED_WIDTH, 0, 0), (0, height / geometry.ALIGNED_HEIGHT, 0)])
            aligned, box = image, np.array([0.0, 0.0, width, height])
        else:
            if np.any(np.array(self.frame) >= (width, height)):
                eyes = " and ".join(f"({x:g}, {y:g})" for x, y in self.frame)
                raise DataError(
                    f"{width} x {height} pixels, but eyes of the training data are at {eyes}; find faces (no --aligned)"
                )
            to_photo, aligned = geometry.align(image, np.array(self.frame))
            box = geometry.moved_box((0, 0, geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT), to_photo, image.shape)
        return Face(box, to_photo, aligned, warning=None if self.fits(aligned) else WARNING)

    def fits(self, aligned):
        """Whether the eyes of a picture stand where those of an aligned face do, by a single small network."""
        picture = cv2.resize(aligned, (geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT), interpolation=cv2.INTER_AREA)
        found = self.network.output(np.ascontiguousarray(picture[:, :, ::-1].transpose(1, 0, 2)), FACE)
        if not len(found.scores) or found.scores[0] < LOWEST_SCORE:
            return False
        distances = np.linalg.norm(found.landmarks[0][:2] - 0.5 - LANDMARKS[:2], axis=1)
        return distances.max() <= MISPLACED * (LANDMARKS[1] - LANDMARKS[0])[0]
