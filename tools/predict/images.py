"""Images that a Python program hands over: file names, PIL images and arrays, brought to one form or refused."""

import os

import numpy as np
from PIL import ImageOps

from tools.errors import ToolError
from tools.predict import photos

ACCEPTED = "give a file name, a PIL image, or a uint8 array, colour (height, width, 3) or grey (height, width)"
CHANNELS = ("BGR", "RGB")


def as_image(value, channels="BGR"):
    """A uint8 image (height, width, 3), B G R. Raises ToolError for what cannot be used.

    value: path of an image file (str or Path; Exif orientation is applied); PIL image of any mode; uint8 array
    (height, width, 3), or (height, width) or (height, width, 1), grey; channels: order of an array's colours, "BGR" as
    cv2.imread gives them, or "RGB"
    """
    if channels not in CHANNELS:
        raise ToolError(f"channels={channels!r}: give {' or '.join(map(repr, CHANNELS))}, the order in an array")
    if isinstance(value, (str, os.PathLike)):
        photo = photos.photo(value)
        if photo.problem:
            raise ToolError(f"{photo.name}: {photo.problem}")
        return photo.image
    if hasattr(value, "mode") and hasattr(value, "convert"):
        value, channels = pixels(value), "RGB"
    if value is None:
        raise ToolError(f"no image given (None); {ACCEPTED}")
    if isinstance(value, (list, tuple)):
        raise ToolError("a list is no image; give several images to predict_batch")
    if not isinstance(value, np.ndarray):
        raise ToolError(f"{type(value).__name__} is no image; {ACCEPTED}")
    if value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 1):
        value = np.repeat(value.reshape(*value.shape[:2], 1), 3, axis=2)
    if value.ndim != 3 or value.shape[2] != 3:
        hint = "; drop its fourth channel (transparency)" if value.ndim == 3 and value.shape[2] == 4 else ""
        raise ToolError(f"an array of shape {value.shape} is no image{hint}; {ACCEPTED}")
    if value.dtype != np.uint8:
        raise ToolError(f"an array of {value.dtype} is no image, its values must be uint8, 0 to 255; {ACCEPTED}")
    check_size(value.shape[1], value.shape[0])
    return np.ascontiguousarray(value if channels == "BGR" else value[:, :, ::-1])


def pixels(image):
    """Pixels (height, width, 3), R G B, of a PIL image, upright by its Exif orientation as files are."""
    check_size(*image.size)
    if image.mode == "F" or image.mode.startswith("I"):
        raise ToolError(f"a PIL image of mode {image.mode} has no values from 0 to 255; scale it and convert it to L")
    try:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files that it decodes late
        raise ToolError(f"the PIL image cannot be read ({error})")


def check_size(width, height):
    """Raise ToolError for an image too small or too large to answer for."""
    problem = photos.size_problem(width, height)
    if problem:
        raise ToolError(f"the image has {problem}")
