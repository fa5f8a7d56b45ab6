"""The face of each photo of a data set, aligned as face-cascade predict aligns it; and whether faces are aligned."""

import hashlib
import pathlib
import tempfile
import threading

import cv2
import numpy as np

from data_prep import files, geometry
from data_prep.errors import DataError
from data_prep.faces.face_finder import FaceFinder

# A photo's largest face is its subject unless another one is more than this share as large (distance of the eyes).
OTHER = 2 / 3
# Eyes are misplaced where one is farther from its place than this share of their distance. Measured: in CelebA's
# pictures the median is 0.06, 1 to 2 % are beyond 0.2; in LFW's photos taken as aligned the median is 0.32, all are.
MISPLACED = 0.2


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
        self._finders = threading.local()

    def aligned(self, data, decode):
        """The aligned face of a photo as PNG (bytes), 178 x 218 pixels. Raises NoFace, OSError.

        data: the encoded photo; decode: function that gives its pixels (height, width, 3), B G R
        """
        path = self._folder / hashlib.sha256(data).hexdigest()
        if not path.exists():
            files.write_bytes(path, self._found(decode()), among_many=True)
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


def misplaced(images, frame=None):
    """For each of some images whether its face is misplaced: list of True, False, or None where no face is found.

    images: iterable of (height, width, 3) B G R; frame: where the eyes should be, (2, 2) in pixels; None: at the places
    that CelebA's aligned pictures have them, whatever the size
    """
    finder, found = FaceFinder(), []
    for image in images:
        scale = np.array(image.shape[1::-1]) / (geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT)
        places = geometry.ALIGNED_EYES * scale if frame is None else np.array(frame)
        faces = finder.search(image)
        if not len(faces.scores):
            found.append(None)
            continue
        eyes = faces.landmarks[np.argmax(faces.boxes[:, 2] - faces.boxes[:, 0]), :2] - 0.5
        distance = np.hypot(*(places[1] - places[0]))
        found.append(bool(np.hypot(*(eyes - places).T).max() > MISPLACED * distance))
    return found
