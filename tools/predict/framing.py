"""Pictures that are faces already, framed like the training data: their place in the frame, and whether it is so."""

import cv2
import numpy as np

from data_prep import geometry
from data_prep.errors import DataError
from data_prep.faces import mtcnn
from data_prep.faces.aligner import MISPLACED
from data_prep.faces.face_finder import LANDMARKS, Face
from data_prep.geometry import ALIGNED_HEIGHT, ALIGNED_WIDTH

# The part of an aligned picture that MTCNN's last network takes for the face (median of 100 CelebA faces, as a square).
FACE = np.array([(29.0, 66.0, 143.0, 180.0)])
# Its lowest score without a warning. With this limit, and MISPLACED for the eyes, 1 % of 400 CelebA faces at 64 x 64
# and no rendered face get one; of these faces moved by 10 of 178 pixels 99 %, and all LFW photos not cut to the face.
LOWEST_SCORE = 0.5
WARNING = "not framed like the training data: its eyes are not where they should be; find faces (no --aligned)"


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
            to_photo = np.array([(width / ALIGNED_WIDTH, 0, 0), (0, height / ALIGNED_HEIGHT, 0)])
            aligned, box = image, np.array([0.0, 0.0, width, height])
        else:
            if np.any(np.array(self.frame) >= (width, height)):
                eyes = " and ".join(f"({x:g}, {y:g})" for x, y in self.frame)
                raise DataError(
                    f"{width} x {height} pixels, but eyes of the training data are at {eyes}; find faces (no --aligned)"
                )
            to_photo, aligned = geometry.align(image, np.array(self.frame))
            box = geometry.moved_box((0, 0, ALIGNED_WIDTH, ALIGNED_HEIGHT), to_photo, image.shape)
        return Face(box, to_photo, aligned, warning=None if self.fits(aligned) else WARNING)

    def fits(self, aligned):
        """Whether the eyes of a picture stand where those of an aligned face do, by a single small network."""
        picture = cv2.resize(aligned, (ALIGNED_WIDTH, ALIGNED_HEIGHT), interpolation=cv2.INTER_AREA)
        found = self.network.output(np.ascontiguousarray(picture[:, :, ::-1].transpose(1, 0, 2)), FACE)
        if not len(found.scores) or found.scores[0] < LOWEST_SCORE:
            return False
        distances = np.linalg.norm(found.landmarks[0][:2] - 0.5 - LANDMARKS[:2], axis=1)
        return distances.max() <= MISPLACED * (LANDMARKS[1] - LANDMARKS[0])[0]
