"""From a picture of an aligned face to the network's patch, in ONNX operators: what data_prep.geometry does by OpenCV.

A picture is brought to 256 x 256 pixels by two matrix products, one for its columns and one for its rows, of which only
the 224 x 224 pixels of the centre patch are computed. The matrices depend on the picture's size, so the graph makes
them. OpenCV's rules (`face` in data_prep.geometry; resize.cpp of OpenCV 4) are repeated with their rounding, since the
networks learned from its numbers.
"""

import numpy as np

from data_prep.geometry import FACE_SIZE, MARGIN, PATCH_SIZE

# OpenCV computes linear weights in steps of 1 / STEPS, and drops the remainders of two divisions on the way.
STEPS, FIRST_DIVISOR, SECOND_DIVISOR = 2048, 16, 65536


def patch(image):
    """The patches of pictures, and the pictures' width and height: tools.export.values.Value each.

    image: Value, uint8 (N, H, W, 3), R G B. Patches are float (N, 3, 224, 224), B G R, whole numbers 0 to 255.
    """
    node = image.graph.node
    pixels = node("Transpose", [image], image.example.transpose(0, 3, 1, 2), perm=[0, 3, 1, 2]).cast(np.float32)
    pixels = node("Gather", [pixels, np.array([2, 1, 0])], pixels.example[:, ::-1], axis=1)
    size = node("Shape", [image], np.array(image.shape)).cast(np.float32)
    width, height = (node("Gather", [size, axis], size.example[axis]) for axis in (2, 1))
    # INTER_AREA is asked for where the height shrinks; OpenCV averages only where the width does not grow.
    tall = height > FACE_SIZE
    averaged = tall & (width >= FACE_SIZE)
    columns, _ = _weights(width, tall, averaged)
    rows, upper = _weights(height, tall, averaged)

    across = np.matmul(pixels, node("Transpose", [columns], columns.example.T, perm=[1, 0]))
    across = np.where(averaged, across, np.floor(across * (STEPS / FIRST_DIVISOR)))
    # Each of a row's two products is cut to quarters of a level.
    parts = [np.matmul(part, across) for part in (upper, rows - upper)]
    quarters = [np.floor(part * (STEPS / SECOND_DIVISOR)) for part in parts]
    linear = np.floor((quarters[0] + quarters[1] + 2) * 0.25)
    # Halves are rounded to even, but of a picture twice as large to the next higher level: 0.1 decides for halves only.
    double = (width == 2 * FACE_SIZE) & (height == 2 * FACE_SIZE)
    average = np.rint(parts[0] + parts[1] + double.cast(np.float32) * 0.1)
    return np.where(averaged, average, linear), width, height


def _weights(length, tall, averaged):
    """What each of the patch's rows takes of each of a picture's, (224, length), and of these only the upper one.

    length: the picture's rows (or columns); tall, averaged: see `patch`; scalars all
    """
    cells = length.graph.node("Range", [0.0, length, 1.0], np.arange(length.example, dtype=np.float32))
    step = length * (1 / FACE_SIZE)
    last = length - 1
    number = np.arange(MARGIN, MARGIN + PATCH_SIZE).reshape(-1, 1)
    low, high = number * step, (number + 1) * step

    # A picture that grows: the two pixels round the middle of the new one.
    middle = (number + 0.5) * step - 0.5
    # INTER_AREA where only the height shrinks: the two pixels from the new one's beginning on.
    first = np.floor(low)
    beyond = np.maximum((high - (first + 1)) / step, 0)
    beyond = beyond - np.floor(beyond)
    start, beyond = np.where(tall, first, 0), np.where(tall, beyond, middle)
    place = np.minimum(np.maximum(start + np.rint(beyond * STEPS) * (1 / STEPS), 0), last)
    near = np.maximum(1 - abs(place - cells), 0)
    # INTER_AREA: the share of each pixel in the new one.
    share = np.maximum(np.minimum(high, cells + 1) - np.maximum(low, cells), 0) / step

    weights = np.where(averaged, share, near)
    is_upper = cells <= np.where(averaged, last, place)
    return weights, np.where(is_upper, weights, 0)
