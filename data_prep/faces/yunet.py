"""A detector of your own: a YuNet ONNX file (Wu, Peng and Yu 2023), run by OpenCV's FaceDetectorYN."""

import cv2
import numpy as np

from data_prep.errors import DataError
from data_prep.faces.detections import Detections

# Side of the picture on which a file is tried when it is read.
TRIAL = 160


class YuNet:
    """Finds faces by a YuNet file. Raises DataError for a file that is none, and where OpenCV is too old for it.

    min_face_size: side of the smallest face that is given, in pixels
    """

    CERTAIN, ACCEPTED = 0.9, 0.7

    def __init__(self, path, min_face_size):
        self.min_face_size = min_face_size
        if not hasattr(cv2, "FaceDetectorYN"):
            raise DataError(
                f"--detector {path}: OpenCV {cv2.__version__} cannot run YuNet, 4.5.4 or newer is needed; use the "
                "default detector, or the engine (its OpenCV is newer)"
            )
        try:
            with open(path, "rb"):
                pass
            self.net = cv2.FaceDetectorYN.create(str(path), "", (TRIAL, TRIAL), self.ACCEPTED)
            # A file of another network is read, too, and fails only when it runs.
            self(np.zeros((TRIAL, TRIAL, 3), np.uint8))
        except OSError as error:
            raise DataError(f"--detector {path}: {error.strerror}")
        except (cv2.error, UnicodeError):
            raise DataError(f"--detector {path}: not a YuNet face detector (an ONNX file for OpenCV's FaceDetectorYN)")

    def __call__(self, image):
        """Detections in an image (height, width, 3) B G R uint8."""
        self.net.setInputSize(image.shape[1::-1])
        rows = self.net.detect(image)[1]
        rows = np.zeros((0, 15)) if rows is None else rows.astype(float)
        rows = rows[rows[:, 2:4].max(axis=1) >= self.min_face_size]
        # x y width height, five landmarks as we order them (a person's right eye is the left one as seen), score.
        boxes = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
        return Detections(boxes, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))
