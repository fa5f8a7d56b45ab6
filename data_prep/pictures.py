"""Drawing on pictures (B G R arrays) with one palette, and writing them to files."""

import pathlib

import cv2
import numpy as np

from data_prep.files import write_bytes

# Colours that people with colour blindness can tell apart (Okabe and Ito 2008): blue, orange, bluish green, reddish
# purple, sky blue, vermilion, yellow.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
INK, PAPER = (30, 30, 30), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def bgr(colour):
    """A colour "#rrggbb" as (blue, green, red)."""
    return tuple(int(colour[place : place + 2], 16) for place in (5, 3, 1))


COLOURS = [bgr(colour) for colour in PALETTE]


def text(picture, words, x, y, size=0.45, ink=INK, thickness=1):
    """Write words with their baseline at (x, y), in place."""
    cv2.putText(picture, words, (int(x), int(y)), FONT, size, ink, thickness, cv2.LINE_AA)


def rectangle(image, box, colour, thickness=2):
    """Draw a half-open box x1 y1 x2 y2, with a dark edge that keeps it visible on any face; in place."""
    x1, y1, x2, y2 = (int(round(float(side))) for side in box)
    corners = (max(x1, 0), max(y1, 0)), (min(x2, image.shape[1]) - 1, min(y2, image.shape[0]) - 1)
    cv2.rectangle(image, *corners, INK, thickness + 2)
    cv2.rectangle(image, *corners, colour, thickness)


def padded(picture, width=0, height=0):
    """A picture with white to its right and under it, up to a width and a height."""
    right, below = max(0, width - picture.shape[1]), max(0, height - picture.shape[0])
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=PAPER)


def stacked(pictures):
    """Pictures under each other, left edges in line."""
    width = max(picture.shape[1] for picture in pictures)
    return np.vstack([padded(picture, width) for picture in pictures])


def write_image(path, picture):
    """Write a picture in the format of the file's ending, whole or not at all. Raises OSError."""
    path = pathlib.Path(path)
    done, data = cv2.imencode(path.suffix, picture)
    if not done:
        raise OSError(f"{path}: OpenCV cannot write this picture as {path.suffix}")
    write_bytes(path, data.tobytes())
