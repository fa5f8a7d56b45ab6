"""Drawing on pictures (B G R arrays) in one palette, and writing them to files."""

import functools
import pathlib

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep import start
from data_prep.files import write_bytes

# Source Sans Pro, from the package font-source-sans-pro.
FONT_PACKAGE, FONTS = "font_source_sans_pro", {False: "SourceSansPro-Regular.ttf", True: "SourceSansPro-Semibold.ttf"}

# Colours that people with colour blindness can tell apart (Okabe and Ito 2008): blue, orange, bluish green, reddish
# purple, sky blue, vermilion, yellow.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
INK, PAPER = (30, 30, 30), (255, 255, 255)


def bgr(colour):
    """A colour "#rrggbb" as (blue, green, red)."""
    return tuple(int(colour[place : place + 2], 16) for place in (5, 3, 1))


COLOURS = [bgr(colour) for colour in PALETTE]


@functools.lru_cache(maxsize=64)
def font(size, bold=False):
    """The font of all pictures at a size in pixels. Raises FileNotFoundError."""
    path = start.in_venv(FONT_PACKAGE, "files", FONTS[bold])
    if path is None:
        raise FileNotFoundError("the font's package font-source-sans-pro is not in .venv; run: make .venv/ready")
    return ImageFont.truetype(path, size)


def printable(words):
    """Words as they can be drawn in one line."""
    return "".join(c if c.isprintable() or c == "\u00a0" else "?" for c in words)


def text_width(words, size=15, bold=False):
    """Width of words in pixels, rounded up."""
    return int(np.ceil(font(size, bold).getlength(printable(words))))


def text(picture, words, x, y, size=15, ink=INK, bold=False):
    """Write words with their baseline at (x, y), in place; what does not fit on the picture is cut off.

    size: of the font, in pixels; capitals are two thirds as high
    """
    top = max(int(y) - 2 * size, 0)
    ground = picture[top : max(int(y) + size, 0)]
    if ground.size:
        drawn, place = Image.fromarray(ground), (int(x), int(y) - top)
        ImageDraw.Draw(drawn).text(place, printable(words), fill=tuple(ink), font=font(size, bold), anchor="ls")
        ground[...] = drawn


def shortened(words, width, size=15):
    """Words that fit into a width in pixels: as they are, or their beginning and an ellipsis."""
    words = printable(words)
    if text_width(words, size) <= width:
        return words
    while words and text_width(words + "\u2026", size) > width:
        words = words[:-1]
    return words.rstrip() + "\u2026"


def wrapped(words, width):
    """Words in lines that fit into a width in pixels, as far as they can be broken between words."""
    lines = []
    for word in words.split(" "):
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def rectangle(image, box, colour, thickness=2):
    """Draw a half-open box x1 y1 x2 y2, in place, with a dark edge that keeps it visible on any face."""
    x1, y1, x2, y2 = (int(round(float(side))) for side in box)
    corners = (max(x1, 0), max(y1, 0)), (min(x2, image.shape[1]) - 1, min(y2, image.shape[0]) - 1)
    cv2.rectangle(image, *corners, INK, thickness + 2)
    cv2.rectangle(image, *corners, colour, thickness)


def padded(picture, width=0, height=0):
    """A picture extended with white on the right and at the bottom, to at least a width and a height."""
    right, below = max(0, width - picture.shape[1]), max(0, height - picture.shape[0])
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=PAPER)


def write_image(path, picture, among_many=False):
    """Write a picture in the format of the file's extension, completely or not at all. Raises OSError.

    among_many: see data_prep.files.replacing
    """
    path = pathlib.Path(path)
    done, data = cv2.imencode(path.suffix, picture)
    if not done:
        raise OSError(f"{path}: OpenCV cannot write this picture as {path.suffix}")
    write_bytes(path, data.tobytes(), among_many)
