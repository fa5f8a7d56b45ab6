"""Find faces in photos and bring them into the frame the networks know: CelebA's aligned pictures.

MTCNN (data_prep.faces.mtcnn) gives boxes, scores and landmarks; the similarity transform that brings the landmarks
closest to CelebA's mean landmarks aligns each face. A photo without a certain face is searched again, turned by 90, 180
and 45 degrees and with a margin for faces that fill it. Nothing is downloaded.
"""

import dataclasses
import typing

import cv2
import numpy as np

from data_prep import geometry
from data_prep.faces.mtcnn import Detections, Mtcnn, chosen, joined, suppress

# Pixels along the longer side of the picture that is searched; smaller photos are enlarged, at most ENLARGED times, to
# SMALL. The smallest face, in pixels of that picture.
DETECTION_SIZE, SMALL, ENLARGED, MIN_FACE_SIZE = 1280, 320, 4, 20
# Score at which a face is certainly one and upright: 59 of 60 LFW faces reach it; upside down or turned by 90 degrees
# none does (docs/benchmarks.md). Lowest score that is a face.
CERTAIN, ACCEPTED = 0.995, 0.95
# Searches of a photo without a certain face: pixels along its longer side, degrees, one group after the other; where it
# is not turned, the margin round it, in shares of its shorter side.
RETRY_SIZE, RETRIES, MARGIN = 400, ((0, 90, -90, 180), (45, -45)), 0.25
# Eyes, nose and mouth corners of an aligned picture, in its pixels: CelebA's mean landmarks. The median of those that
# Mtcnn finds on 500 of its pictures lies within a pixel of each.
LANDMARKS = np.vstack([geometry.ALIGNED_EYES, [(88, 135), (71, 152), (105, 152)]])
# Limits of what is answered without a warning. Pixels between the eyes: CelebA at 64 x 64 has 14. Sharpness, see below:
# of 300 LFW photos none is under the limit, of the same blurred by a Gaussian of 3 pixels (eyes 43 apart) 65 % are.
# Turn: shift of the nose from between the eyes, in distances of the eyes; 0.5 is a head turned by about 45 degrees.
MIN_EYE_DISTANCE, MIN_SHARPNESS, MAX_TURN = 12, 0.04, 0.5
# The part of an aligned picture that is face, whatever the hair; grey of the ground round a turned photo.
INNER, GROUND = np.s_[60:180, 35:145], 127


@dataclasses.dataclass
class Face:
    """A face in a photo, and the answers for it.

    box: x1 y1 x2 y2 in pixels of the photo; to_photo: (2, 3) affine matrix from the aligned face's pixels to the
    photo's; aligned: uint8 (218, 178, 3) B G R; score: the detector's, in [0, 1], None where none was asked; rotation:
    of the head in the photo's plane, degrees clockwise; warning: why answers may be wrong, or None
    attributes: dict name -> tools.predict.photo.Answer; track: number of the face in a video where faces are followed
    """

    box: np.ndarray
    to_photo: np.ndarray
    aligned: np.ndarray
    score: typing.Optional[float] = None
    rotation: float = 0.0
    warning: typing.Optional[str] = None
    attributes: dict = dataclasses.field(default_factory=dict)
    track: typing.Optional[int] = None

    def to_dict(self):
        """Everything but its picture as JSON values."""
        return {
            "box": rounded(self.box),
            "score": None if self.score is None else round(self.score, 4),
            "rotation": round(self.rotation, 1) + 0.0,  # never -0.0
            "warning": self.warning,
            "track": self.track,
            "attributes": {name: answer.to_dict() for name, answer in self.attributes.items()},
        }


class FaceFinder:
    """Finds the faces of a photo. Raises DataError where the detector is not installed.

    min_face_size: side of the smallest face to find, in pixels of the photo brought to at most detection_size pixels
    along its longer side
    """

    def __init__(self, min_face_size=MIN_FACE_SIZE, detection_size=DETECTION_SIZE):
        self.detector, self.detection_size = Mtcnn(min_face_size), detection_size

    def __call__(self, image):
        """Faces of an image (height, width, 3) B G R uint8, from left to right: list of Face, maybe empty."""
        found = self.search(image)
        return [
            aligned_face(image, box, landmarks, float(score))
            for box, score, landmarks in sorted(zip(*found), key=lambda row: row[0][0])
        ]

    def search(self, image):
        """Detections in pixels of an image, no two of one face."""
        longest = max(image.shape[:2])
        picture = geometry.resized(image, min(self.detection_size, max(longest, min(SMALL, ENLARGED * longest))))
        found = scaled(self.detector(picture), picture, image)
        picture = geometry.resized(picture, min(RETRY_SIZE, max(picture.shape[:2])))
        for angles in RETRIES:
            if len(found.scores) and found.scores.max() >= CERTAIN:
                break
            turned = [scaled(self.look(picture, angle), picture, image) for angle in angles]
            found = joined([found, *turned])
        found = chosen(found, found.scores >= ACCEPTED)
        return chosen(found, suppress(found.boxes, found.scores, 0.5, of_smaller=True))

    def look(self, picture, angle):
        """Detections in a picture from a search of it turned by an angle in degrees, or with a margin if that is 0."""
        turn = np.deg2rad(angle)
        linear = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
        size = np.array(picture.shape[1::-1])
        margin = 0 if angle else 2 * MARGIN * size.min()
        ground = np.ceil(np.abs(linear) @ size + margin - 1e-6).astype(int)
        matrix = np.column_stack([linear, ground / 2 - linear @ (size / 2)])
        pixels = np.column_stack([linear, matrix[:, 2] + linear @ (0.5, 0.5) - 0.5])  # of centres instead of corners
        drawn = cv2.warpAffine(picture, pixels, tuple(map(int, ground)), borderValue=(GROUND,) * 3)
        boxes, scores, landmarks = self.detector(drawn)
        centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        centres = (centres - matrix[:, 2]) @ linear  # the inverse of a rotation is its transpose
        halves = halves[:, ::-1] if angle % 180 == 90 else halves
        landmarks = (landmarks - matrix[:, 2]) @ linear
        return Detections(np.hstack([centres - halves, centres + halves]), scores, landmarks)


def scaled(found, picture, image):
    """Detections in a picture, in pixels of the image it was made of by resizing."""
    factors = np.array(image.shape[1::-1]) / picture.shape[1::-1]
    return Detections(found.boxes * np.tile(factors, 2), found.scores, found.landmarks * factors)


def aligned_face(image, box, landmarks, score):
    """The Face of a detection: box (4,), landmarks (5, 2), in pixels of an image."""
    # Detectors count from the corner of the first pixel, aligned pictures from its centre.
    to_photo = geometry.similarity(LANDMARKS, landmarks - 0.5)
    to_photo, aligned = geometry.align(image, geometry.moved(geometry.ALIGNED_EYES, to_photo))
    box = np.clip(box, 0, np.tile(image.shape[1::-1], 2))
    rotation = float(np.rad2deg(np.arctan2(*to_photo[::-1, 0])))
    return Face(box, to_photo, aligned, score, rotation, warning(aligned, to_photo, landmarks))


def warning(aligned, to_photo, landmarks):
    """Why answers for a face may be wrong, in a few words; None where nothing speaks against them."""
    reasons = []
    distance = np.hypot(*to_photo[:, 0]) * (LANDMARKS[1] - LANDMARKS[0])[0]
    if distance < MIN_EYE_DISTANCE:
        reasons.append(f"too small: its eyes are {distance:.0f} pixels apart, {MIN_EYE_DISTANCE} are needed")
    elif sharpness(aligned) < MIN_SHARPNESS:
        reasons.append("blurred")
    left, right, nose = landmarks[:3]
    across = right - left
    if abs((nose - (left + right) / 2) @ across) > MAX_TURN * (across @ across):
        reasons.append("turned to the side")
    return "; ".join(reasons) or None


def sharpness(aligned):
    """Variance of the Laplacian of a face at half its size, in variances of the face itself."""
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY)[INNER].astype(np.float32)
    grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(grey.var(), 1))


def rounded(box):
    """A box as JSON values, with a digit after the point."""
    return [round(float(side), 1) + 0.0 for side in box]
