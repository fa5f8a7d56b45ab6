"""Encoded images: what their headers say, whether they are complete, and their pixels.

Pillow reads headers, and the pixels that OpenCV cannot read. Formats: FORMATS; HEIF is that of iPhones (.heic).
"""

import collections
import io
import subprocess
import sys
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps

from data_prep import start
from data_prep.errors import DataError
from data_prep.files import read_bytes

try:
    import pillow_heif

    pillow_heif.register_heif_opener()
except ImportError:  # beside BVLC Caffe
    pass
Image.init()
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "HEIF")
_OPENED = tuple(name for name in FORMATS if name in Image.OPEN)
# Damage is reported as an error of one line, so what Pillow says of it on standard error says nothing more.
warnings.filterwarnings("ignore", module="PIL")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# A file larger than this is no photo; decoded, a photo of 100 million pixels takes 300 MB.
LARGEST_FILE, LARGEST = 200_000_000, 100_000_000
# Pixels along the shorter side of an image below which it holds no face.
SMALLEST = 16
_VENV = f"{start.REPOSITORY}/.venv/bin/python"
_ORIENTATION = 0x0112  # tag of Exif


class ImageError(DataError):
    """An encoded image that cannot be used; the message says why."""


# Width and height in pixels once upright; unusual: None for a JPEG or PNG that every Caffe decodes to the same upright
# 8-bit colours, else what else it is, in a few words.
Header = collections.namedtuple("Header", "width height unusual")


def header(data):
    """The Header of an encoded image (bytes). Raises ImageError when it is empty, damaged, cut short or no image."""
    data = _readable(data)
    image = _opened(data)
    kind = "JPEG" if image.format == "MPO" else image.format  # a JPEG followed by others
    try:
        turn = image.getexif().get(_ORIENTATION, 1) if image.info.get("exif") else 1
        pixels = image.fp.tell() if kind == "JPEG" else 0
        image.verify()  # of PNG the checksums
    except Exception as error:  # of every kind for damaged files
        raise ImageError(f"damaged or cut short ({error})")
    # Compressed pixels never contain the end marker, so a file without one was cut short.
    if kind == "JPEG" and data.rfind(b"\xff\xd9", pixels) < 0:
        raise ImageError("cut short: the JPEG has no end")
    width, height = image.size if turn not in (5, 6, 7, 8) else image.size[::-1]
    return Header(width, height, _unusual(kind, image, data, turn))


def _unusual(kind, image, data, turn):
    if kind not in ("JPEG", "PNG"):
        return f"{kind}, neither JPEG nor PNG"
    if image.mode in ("1", "L", "LA", "I", "I;16", "F"):
        return "grey, not colour"
    if image.mode == "CMYK":
        return "CMYK, not RGB"
    if image.mode not in ("RGB", "P") or (image.mode == "RGB" and "transparency" in image.info):
        return "has transparency"
    if kind == "PNG" and image.mode == "RGB" and data[24] != 8:
        return f"{data[24]} bits per channel, not 8"
    return f"rotated or mirrored by its Exif orientation {turn}" if turn in range(2, 9) else None


def decode(data):
    """The upright pixels of an encoded image, uint8 (height, width, 3) B G R. Raises ImageError."""
    data = _readable(data)
    try:
        # OpenCV reads AVIF, a file of ISO boxes, but does not turn it upright.
        boxes = data[4:8] == b"ftyp"
        image = None if boxes else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            rgb = ImageOps.exif_transpose(_opened(data)).convert("RGB")
            image = np.ascontiguousarray(np.asarray(rgb)[:, :, ::-1])
    except ImageError:
        raise
    except Exception as error:  # of every kind for damaged files
        raise ImageError(f"damaged, or larger than can be decoded ({' '.join(str(error).split())[:200]})")
    return image


def check_size(width, height):
    """Raise DataError for an image too small or too large to answer for."""
    if min(width, height) < SMALLEST:
        raise DataError(f"{width} x {height} pixels, too small for a face: {SMALLEST} x {SMALLEST} are needed")
    if width * height > LARGEST:
        raise DataError(f"{width} x {height} pixels, too large: {LARGEST // 10**6} million pixels are decoded at most")


def read(path):
    """The upright pixels of an image file, uint8 (height, width, 3) B G R. Raises DataError with the reason alone."""
    try:
        data = read_bytes(path, LARGEST_FILE)
        found = header(data)
        check_size(found.width, found.height)
        return decode(data)
    except OSError as error:
        raise DataError(error.strerror or str(error))
    except ImageError as error:
        raise DataError(f"not a readable image ({error})")
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError("not the name of a file")


def _readable(data):
    """The data, of HEIF and AVIF as PNG where this Python's Pillow is too old for them. Raises ImageError."""
    if not data:
        raise ImageError("empty file")
    if data[4:8] != b"ftyp" or "HEIF" in _OPENED:
        return data
    try:
        command = start.command(_VENV, "data_prep.image_files")
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        raise ImageError("HEIF or AVIF, which only the Python in .venv reads; run `make doctor`")
    if done.returncode:
        raise ImageError("damaged or cut short")
    return done.stdout


def _opened(data):
    """A Pillow image, of which no more than the header was read. Raises ImageError."""
    try:
        return Image.open(io.BytesIO(data), formats=_OPENED)
    except Image.DecompressionBombError:
        raise ImageError("too many pixels to be a photo")
    except Exception as error:  # of every kind for damaged files
        known = f"neither {', '.join(FORMATS[:-1])} nor {FORMATS[-1]}"
        raise ImageError(known if isinstance(error, Image.UnidentifiedImageError) else f"damaged ({error})")


if __name__ == "__main__":
    sys.stdout.buffer.write(cv2.imencode(".png", decode(sys.stdin.buffer.read()))[1].tobytes())
