"""Colours of synthetic faces: float arrays (3,) in OpenCV's order blue, green, red."""

import cv2
import numpy as np


def rgb(red, green, blue):
    """A colour given as red, green, blue."""
    return np.array((blue, green, red), np.float64)


def mix(first, second, share):
    """The colour that lies `share` of the way from the first colour to the second."""
    return first + (second - first) * share


def deeper(colour, share):
    """The colour in shade: darker and, where it has a hue, more saturated."""
    return 255 * (np.asarray(colour) / 255) ** 1.35 * share


SKIN_TONES = np.array([rgb(238, 203, 176), rgb(226, 178, 143), rgb(201, 148, 110), rgb(158, 107, 76), rgb(104, 70, 53)])
BRIGHT = (
    *(rgb(200, 44, 52), rgb(36, 92, 168), rgb(40, 130, 84), rgb(232, 178, 48), rgb(122, 70, 148)),
    *(rgb(226, 116, 52), rgb(60, 66, 84), rgb(232, 228, 218), rgb(46, 150, 160), rgb(214, 120, 150)),
)
WHITE = rgb(252, 250, 246)


def plain(colour, height, width):
    """A picture of one colour, filled by OpenCV because NumPy is much slower."""
    return cv2.rectangle(np.empty((height, width, 3), np.uint8), (0, 0), (width, height), colour.tolist(), -1)
