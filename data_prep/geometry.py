"""Cutting faces: any aligned face to 256 x 256, and 224 x 224 patches of that, the network's input."""

import cv2
import numpy as np

FACE_SIZE = 256
PATCH_SIZE = 224
MARGIN = (FACE_SIZE - PATCH_SIZE) // 2


def face(image, out=None):
    """An image (height, width, 3) brought to 256 x 256, in array `out` if given."""
    shrinks = image.shape[0] > FACE_SIZE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (FACE_SIZE, FACE_SIZE), dst=out, interpolation=method)


def patch(image, dx=0, dy=0, mirror=False, out=None):
    """The 224 x 224 patch of a 256 x 256 face round its centre moved by (dx, dy), mirrored on request.

    A view of the face where it is not mirrored, else in array `out` if given.
    """
    x, y = MARGIN + dx, MARGIN + dy
    cut = image[y : y + PATCH_SIZE, x : x + PATCH_SIZE]
    return cv2.flip(cut, 1, dst=out) if mirror else cut


def to_patch(box, shape):
    """A box x1 y1 x2 y2 in pixels of an image of `shape` (height, width), in pixels of its centre patch, clipped."""
    scale = FACE_SIZE / np.array([shape[1], shape[0]] * 2, dtype=float)
    return np.clip(np.asarray(box) * scale - MARGIN, 0, PATCH_SIZE)


def from_patch(box, shape):
    """The inverse of to_patch, without clipping: centre patch to image."""
    scale = np.array([shape[1], shape[0]] * 2, dtype=float) / FACE_SIZE
    return (np.asarray(box) + MARGIN) * scale
