"""The cascades of Haar features that OpenCV's packages bring along (Viola and Jones 2001; Lienhart 2002).

They find upright, roughly frontal faces, and no landmarks but the eyes: those that a second cascade finds where they
can be, else those that stand where eyes do in the detector's boxes on average.
"""

import pathlib

import cv2
import numpy as np

from tools.errors import ToolError
from tools.predict.detections import Detections

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FACE_CASCADE = "haarcascade_frontalface_alt2.xml"
EYE_CASCADE = "haarcascade_eye_tree_eyeglasses.xml"
# Where eyes stand in the detector's boxes, in sides of the box (median over 284 of 300 aligned CelebA faces, which it
# found; standard deviation 0.03 to 0.04 across), and how far off eyes that it finds may be.
EYES = np.array([(0.316, 0.378), (0.688, 0.378)])
TOLERANCE = 0.1
# Overlapping windows that must agree on a face: more of them, fewer false ones.
NEIGHBOURS = 5


class Haar:
    """Finds upright faces. Raises ToolError where OpenCV's cascades are missing.

    min_face_size: side of the smallest face to find, in pixels
    """

    # Whatever it finds is taken as it is: turned photos are not searched, they would add false faces.
    CERTAIN = ACCEPTED = 0.0

    def __init__(self, min_face_size):
        self.min_face_size = min_face_size
        self.faces, self.eyes = cascade(FACE_CASCADE), cascade(EYE_CASCADE)

    def __call__(self, image):
        """Detections in an image (height, width, 3) B G R uint8, with two landmarks, the eyes.

        A score is n / (n + NEIGHBOURS) for a face that n windows agree on.
        """
        # Without a margin a face that fills the picture is not found.
        margin = min(image.shape[:2]) // 4
        grey = cv2.copyMakeBorder(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), *[margin] * 4, cv2.BORDER_REPLICATE)
        smallest = (self.min_face_size, self.min_face_size)
        found, windows = self.faces.detectMultiScale2(grey, scaleFactor=1.1, minNeighbors=NEIGHBOURS, minSize=smallest)
        boxes = np.array(found, float).reshape(-1, 4)
        windows = np.array(windows, float).ravel()
        eyes = [self.find_eyes(grey[y : y + side, x : x + side]) * side + (x, y) for x, y, side, _ in boxes.astype(int)]
        boxes[:, 2:] += boxes[:, :2]
        scores = windows / (windows + NEIGHBOURS)
        return Detections(boxes - margin, scores, np.array(eyes).reshape(-1, 2, 2) - margin)

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
    """One of OpenCV's cascades. Raises ToolError."""
    folders = [pathlib.Path(cv2.data.haarcascades)] if hasattr(cv2, "data") else []
    folders += sorted(REPOSITORY.glob(".venv/lib/python3*/site-packages/cv2/data"))
    for folder in folders:
        if (folder / name).exists():
            return cv2.CascadeClassifier(str(folder / name))
    raise ToolError(f"{name} is neither in OpenCV's package nor in .venv; run: make .venv/ready")
