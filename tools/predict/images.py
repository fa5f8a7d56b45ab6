"""Images of any kind, brought to one form: uint8 (height, width, 3), B G R, upright. Others are refused.

Nothing is opened that could block, and nothing is decoded whose size is not known before.
"""

import os

import numpy as np
from PIL import Image, ImageOps

from data_prep import files, image_files
from data_prep.errors import DataError

# A file larger than this is no photo; decoded, a photo of 100 million pixels takes 300 MB.
LARGEST_FILE, LARGEST = 200 << 20, 100_000_000
# Pixels along the shorter side of an image below which it holds no face.
SMALLEST = 16
ACCEPTED = "give a file name, a PIL image, or a uint8 array, colour (height, width, 3) or grey (height, width)"
CHANNELS = ("BGR", "RGB")


def check_size(width, height):
    """Raise DataError for an image too small or too large to answer for."""
    if min(width, height) < SMALLEST:
        raise DataError(f"{width} x {height} pixels, too small for a face: {SMALLEST} x {SMALLEST} are needed")
    if width * height > LARGEST:
        raise DataError(f"{width} x {height} pixels, too large: {LARGEST // 10**6} million pixels are decoded at most")


def read(path):
    """The image in a file, turned upright (Exif), without transparency. Raises DataError with the reason alone."""
    try:
        data = files.read_bytes(path, LARGEST_FILE)
        header = image_files.header(data)
        check_size(header.width, header.height)
        return image_files.decode(data)
    except OSError as error:
        raise DataError(error.strerror or str(error))
    except image_files.ImageError as error:
        raise DataError(f"not a readable image ({error})")
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError("not the name of a file")


def as_image(value, channels="BGR"):
    """The image that a Python program hands over. Raises DataError for what cannot be used.

    value: path of an image file (str or Path); PIL image of any mode; uint8 array (height, width, 3), or (height,
    width) or (height, width, 1), grey; channels: order of an array's colours, "BGR" as cv2.imread gives them, or "RGB"
    """
    if channels not in CHANNELS:
        raise DataError(f"channels={channels!r}: give {' or '.join(map(repr, CHANNELS))}, the order in an array")
    if isinstance(value, (str, os.PathLike)):
        try:
            return read(value)
        except DataError as error:
            raise DataError(f"{text(value)}: {error}")
    if isinstance(value, (list, tuple)):
        raise DataError("a list is no image; give several images to predict_batch")
    if isinstance(value, np.ndarray):
        flat = value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value
        if value.dtype != np.uint8 or not (flat.ndim == 2 or flat.shape[2:] == (3,)):
            hint = "; drop its fourth channel (transparency)" if value.shape[2:] == (4,) else ""
            raise DataError(f"an array of {value.dtype} and shape {value.shape} is no image{hint}; {ACCEPTED}")
        check_size(*value.shape[1::-1])
        value = Image.fromarray(np.ascontiguousarray(flat if channels == "RGB" or flat.ndim == 2 else flat[..., ::-1]))
    if not isinstance(value, Image.Image):
        raise DataError(f"{type(value).__name__} is no image; {ACCEPTED}")
    return np.ascontiguousarray(pixels(value)[:, :, ::-1])


def pixels(image):
    """Pixels (height, width, 3), R G B, of a PIL image, upright by its Exif orientation as files are."""
    check_size(*image.size)
    if image.mode == "F" or image.mode.startswith("I"):
        raise DataError(f"a PIL image of mode {image.mode} has no values from 0 to 255; scale it and convert it to L")
    try:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files that it decodes late
        raise DataError(f"the PIL image cannot be read ({error})")


def text(path):
    """A path, or a camera's index, as text that every JSON and CSV reader takes: other bytes than UTF-8 as \\xff."""
    return f"camera {path}" if isinstance(path, int) else os.fsencode(path).decode("utf-8", "backslashreplace")
