"""Find faces in photos and bring them into the frame the networks know: CelebA's aligned pictures.

Detector: the cascades of Haar features that OpenCV's packages bring along (Viola and Jones 2001; Lienhart 2002), so
nothing is downloaded. It finds upright, roughly frontal faces. Eyes that it finds where they can be level the face;
otherwise they are taken to stand where they do in its boxes on average.
"""

import collections
import pathlib

import cv2
import numpy as np

from data_prep.geometry import align

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FACE_CASCADE = "haarcascade_frontalface_alt2.xml"
EYE_CASCADE = "haarcascade_eye_tree_eyeglasses.xml"
# Where eyes stand in the detector's boxes, in sides of the box (median over 284 of 300 aligned CelebA faces, which it
# found; standard deviation 0.03 to 0.04 across), and how far off eyes that it finds may be.
EYES = np.array([(0.316, 0.378), (0.688, 0.378)])
TOLERANCE = 0.1
# Pixels along the longer side of the picture that is searched, and of the smallest face in it.
SEARCHED, SMALLEST = 1280, 32

# box: x1 y1 x2 y2 in pixels of the photo; to_photo: (2, 3) affine matrix from the aligned face's pixels to the photo's;
# aligned: uint8 (218, 178, 3) B G R
Face = collections.namedtuple("Face", "box to_photo aligned")


class FaceFinder:
    """Finds the faces of a photo. Raises OSError where OpenCV's cascades are missing.

    smallest: side of the smallest face to look for, in pixels of the photo brought to at most `searched` along its
    longer side; each face must be found by `neighbours` overlapping windows: more of them, fewer false ones
    """

    def __init__(self, smallest=SMALLEST, searched=SEARCHED, neighbours=5):
        self.smallest, self.searched, self.neighbours = smallest, searched, neighbours
        self.faces, self.eyes = cascade(FACE_CASCADE), cascade(EYE_CASCADE)

    def __call__(self, image):
        """Faces of an image (height, width, 3) B G R uint8, from left to right: list of Face, maybe empty."""
        scale = min(1, self.searched / max(image.shape[:2]))
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        # Without a margin a face that fills the picture is not found.
        margin = min(grey.shape) // 4
        grey = cv2.copyMakeBorder(grey, *[margin] * 4, cv2.BORDER_REPLICATE)
        smallest = (self.smallest, self.smallest)
        found = self.faces.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=self.neighbours, minSize=smallest)
        factors = np.array(image.shape[1::-1]) / size
        faces = []
        for x, y, side, _ in sorted(map(tuple, found)):
            eyes = (self.find_eyes(grey[y : y + side, x : x + side]) * side + (x, y) - margin) * factors
            low = (np.array((x, y)) - margin) * factors
            box = np.concatenate([low, low + side * factors])
            box = np.clip(box, 0, np.tile(image.shape[1::-1], 2))
            faces.append(Face(box, *align(image, eyes)))
        return faces

    def find_eyes(self, grey):
        """The two eyes (2, 2) of a face's box, in sides of it."""
        upper = cv2.resize(grey, (160, 160))[:104]
        found = self.eyes.detectMultiScale(upper, scaleFactor=1.1, minNeighbors=3, minSize=(20, 20))
        centres = np.array([(x + w / 2, y + h / 2) for x, y, w, h in found]).reshape(-1, 2) / 160
        near = [centres[np.abs(centres - eye).max(axis=1) < TOLERANCE] for eye in EYES]
        if not all(map(len, near)):
            return EYES
        return np.array([some[np.abs(some - eye).sum(axis=1).argmin()] for some, eye in zip(near, EYES)])


def cascade(name):
    """One of OpenCV's cascades. Raises OSError."""
    folders = [pathlib.Path(cv2.data.haarcascades)] if hasattr(cv2, "data") else []
    folders += sorted(REPOSITORY.glob(".venv/lib/python3*/site-packages/cv2/data"))
    for folder in folders:
        if (folder / name).exists():
            return cv2.CascadeClassifier(str(folder / name))
    raise OSError(f"{name}: not in OpenCV's package nor in .venv; make .venv/ready installs it")
