"""Pictures to predict on, one at a time: files, folders, videos, cameras; what cannot be used is told, not raised."""

import collections
import pathlib

import cv2
import numpy as np

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
# A file larger than this is no photo; decoded, a photo of 100 million pixels takes 300 MB.
LARGEST_FILE, LARGEST = 200 << 20, 100_000_000

# name: path, or path#seconds of a video; image: uint8 (height, width, 3) B G R, or None with `problem`, one sentence
Photo = collections.namedtuple("Photo", "name image problem")


def find(sources):
    """Files among files and folders, folders searched deeply, hidden files left out: a list of paths, cameras as ints.

    Raises FileNotFoundError for a source that is not there or a folder without any file.
    """
    found = []
    for source in map(str, sources):
        path = pathlib.Path(source)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not files:
                raise FileNotFoundError(f"{path}: no file in it")
            found += files
        elif path.exists():
            found.append(path)
        elif source.isdigit():
            found.append(int(source))
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return found


def read(found, every=1.0, frames=0):
    """Photos of what `find` found, in order, each read when it is asked for.

    every: seconds between the frames of a video that are looked at; frames: of each video or camera at most, 0: all
    """
    for path in found:
        if isinstance(path, int) or path.suffix.lower() in VIDEOS:
            yield from video(path, every, frames)
        else:
            yield photo(path)


def photo(path):
    """One image file as a Photo. Grey ones become colour, turned ones (Exif) upright."""
    try:
        if path.stat().st_size == 0:
            return Photo(str(path), None, "empty file")
        if path.stat().st_size > LARGEST_FILE:
            return Photo(str(path), None, f"larger than {LARGEST_FILE >> 20} MB, no photo")
        data = np.fromfile(str(path), dtype=np.uint8)
    except OSError as error:
        return Photo(str(path), None, error.strerror)
    try:
        # An eighth of a JPEG is decoded at an eighth of the memory: enough to learn its size.
        small = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_8)
        if small is not None and small.shape[0] * small.shape[1] * 64 > LARGEST:
            return Photo(str(path), None, f"more than {LARGEST // 10**6} million pixels")
        image = None if small is None else cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):
        return Photo(str(path), None, "larger than OpenCV decodes")
    if image is None:
        what = "damaged, or cut short" if path.suffix.lower() in SUFFIXES else "no image"
        return Photo(str(path), None, f"not a readable image ({what})")
    return Photo(str(path), image, None)


def video(source, every, frames):
    """Frames of a video file, or of the camera with this index, as Photos."""
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    name = f"camera {source}" if isinstance(source, int) else str(source)
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    step = 1 if isinstance(source, int) else max(1, round(rate * every))
    number = given = 0
    try:
        while not frames or given < frames:
            if not capture.grab():
                break
            if number % step == 0:
                good, image = capture.retrieve()
                if good:
                    given += 1
                    yield Photo(f"{name}#{number / rate:.2f}", image, None)
            number += 1
    finally:
        capture.release()
    if not given:
        yield Photo(
            name, None, "no such camera, or no picture from it" if isinstance(source, int) else "no frame in it"
        )
