"""Geometry: sizes of faces and patches, the aligned frame and its eyes, box transforms.

The frames, from a photo to the network:
  photo    any size; its face is aligned by the eyes, which are given with the data set or detected in the photo
  aligned  178 x 218 pixels, CelebA's frame: the eyes are at ALIGNED_EYES
  face     the aligned picture stretched to 256 x 256
  patch    224 x 224 pixels of the face, the network's input: its centre, or in training shifted and mirrored
"""

import cv2
import numpy as np

ALIGNED_WIDTH, ALIGNED_HEIGHT = 178, 218
# Left and right eye (as seen) of an aligned picture, (x, y) in its pixels: CelebA's mean landmarks.
ALIGNED_EYES = np.array([(69.0, 111.0), (108.0, 111.0)])
# An LFW photo: its side in pixels, and the positions of its eyes. The mean of 300 deep-funneled photos is darkest at
# (104, 111) and (145, 110). Aligned to CelebA's frame it is darkest at (70, 110) and (108, 110), and CelebA's own mean
# at (68, 110) and (108, 110).
LFW_SIZE = 250
LFW_EYES = np.array([(103.0, 112.0), (146.0, 112.0)])
FACE_SIZE = 256
PATCH_SIZE = 224
MARGIN = (FACE_SIZE - PATCH_SIZE) // 2
# The networks turn pixels 0 ... 255 into (x - PIXEL_MEAN) / PIXEL_SCALE; 112 is the mean of CelebA over all channels.
PIXEL_MEAN, PIXEL_SCALE = 112, 64


def face(image):
    """An aligned image (height, width, 3) resized to 256 x 256."""
    method = cv2.INTER_AREA if image.shape[0] > FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(image, (FACE_SIZE, FACE_SIZE), interpolation=method)


def patch(image, dx=0, dy=0, mirror=False):
    """The 224 x 224 patch of a 256 x 256 face, shifted from its centre by (dx, dy) pixels, mirrored on request.

    Returns a view of the face unless it is mirrored.
    """
    x, y = MARGIN + dx, MARGIN + dy
    cut = image[y : y + PATCH_SIZE, x : x + PATCH_SIZE]
    return cv2.flip(cut, 1) if mirror else cut


def framed(image, frame=None):
    """The 256 x 256 face of a stored image (height, width, 3).

    frame: left and right eye (2, 2) in pixels of the image, which are moved to ALIGNED_EYES; None for an image that is
    already aligned
    """
    return face(image if frame is None else align(image, frame)[1])


def resized(image, longest, enlarging=cv2.INTER_LINEAR):
    """An image brought to a number of pixels along its longer side. enlarging: OpenCV's method where it grows."""
    scale = longest / max(image.shape[:2])
    if scale == 1:
        return image
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else enlarging)


def to_patch(box, shape):
    """A box x1 y1 x2 y2 in an aligned image of `shape` (height, width), in pixels of its centre patch, clipped."""
    scale = FACE_SIZE / np.array([shape[1], shape[0]] * 2, dtype=float)
    return np.clip(np.asarray(box) * scale - MARGIN, 0, PATCH_SIZE)


def from_patch(box, shape):
    """The inverse of to_patch, without clipping: centre patch to image."""
    return (np.asarray(box) + MARGIN) * np.array([shape[1], shape[0]] * 2, dtype=float) / FACE_SIZE


def similarity(source, target):
    """Least-squares similarity transform (2, 3) (rotation, scale, shift) from points (n, 2) to other points.

    For two points it is exact. If all points of `source` are equal, it is a shift to the mean target with scale 0.
    """
    a, b = (np.asarray(points, dtype=float) @ (1, 1j) for points in (source, target))
    a, middle = a - a.mean(), a.mean()
    turn = np.vdot(a, b) / max(np.vdot(a, a).real, 1e-12)
    shift = b.mean() - turn * middle
    return np.array([(turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)])


def moved(points, matrix):
    """Points (n, 2) transformed by an affine matrix (2, 3)."""
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def corners(box):
    """The four corners (4, 2) of a box x1 y1 x2 y2."""
    x1, y1, x2, y2 = box
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=float)


def bounding(box, matrix):
    """The upright box that bounds a box x1 y1 x2 y2 transformed by a matrix (2, 3)."""
    points = moved(corners(box), matrix)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def moved_box(box, matrix, shape):
    """As `bounding`, clipped to an image of `shape`."""
    return np.clip(bounding(box, matrix), 0, np.tile(shape[1::-1], 2))


def align(image, eyes):
    """Align a face: rotate, scale and shift the photo so that the eyes (2, 2) come to ALIGNED_EYES.

    Outside of the photo its edge pixels are repeated. Returns the affine matrix (2, 3) from the aligned frame to the
    photo, and the picture (218, 178, 3).
    """
    to_photo = similarity(ALIGNED_EYES, eyes)
    # Averaging first avoids aliasing when a large face is reduced.
    scale = np.hypot(*to_photo[:, 0])
    low, high = bounding((0, 0, ALIGNED_WIDTH, ALIGNED_HEIGHT), to_photo).reshape(2, 2)
    low, high = np.floor(low).astype(int) - 2, np.ceil(high).astype(int) + 2
    low, high = np.clip(low, 0, np.array(image.shape[1::-1]) - 1), np.clip(high, 1, image.shape[1::-1])
    part = image[low[1] : high[1], low[0] : high[0]]
    shrink = min(1.0, 1.5 / scale)
    size = tuple(max(1, round(side * shrink)) for side in part.shape[1::-1])
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA) if shrink < 1 else part
    factors = np.array(part.shape[1::-1]) / (high - low)
    matrix = np.column_stack([to_photo[:, :2], to_photo[:, 2] - low + 0.5]) * factors[:, np.newaxis]
    matrix[:, 2] -= 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (ALIGNED_WIDTH, ALIGNED_HEIGHT)
    return to_photo, cv2.warpAffine(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
