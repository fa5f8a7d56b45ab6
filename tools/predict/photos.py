"""Pictures to predict on, one at a time, from files, folders, videos and cameras.

What cannot be used is a Photo with a problem, not an error. A folder may hold anything: pipes, devices, links that lead
nowhere or in circles, files that nobody may read, names that are no text. None of it is opened that could block, and
nothing is decoded whose size is not known before.
"""

import collections
import contextlib
import os
import pathlib
import stat
import threading
import time

import cv2
import numpy as np

from data_prep.faces import image_size
from data_prep.faces.image_size import ImageError

VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
# A file larger than this is no photo; decoded, a photo of 100 million pixels takes 300 MB.
LARGEST_FILE, LARGEST = 200 << 20, 100_000_000
# Pixels along the shorter side of an image below which it holds no face.
SMALLEST = 16
# Frames per second of a camera, and of a video that does not say.
CAMERA_RATE = 25.0

# name: path, or path#seconds of a video; image: uint8 (height, width, 3) B G R, or None with `problem`, a few words;
# moment: seconds from the first frame of a video, else None
Photo = collections.namedtuple("Photo", "name image problem moment", defaults=(None,))

# A file or a camera (its index as `path`), or a place in a folder with `problem`, the reason why it is not read.
Source = collections.namedtuple("Source", "path problem")


def find(sources):
    """Files among files and folders: list of Source, folders searched deeply and in order, hidden files left out.

    sources: paths, or indices of cameras. Raises FileNotFoundError for a source that is not there or a folder without
    any file.
    """
    found = []
    for source in map(os.fspath, sources):
        path = pathlib.Path(source)
        if os.path.isdir(path):
            inside = list(walk(path, {identity(path)}))
            if not inside:
                raise FileNotFoundError(f"{shown(source)}: no file in it")
            found += inside
        elif os.path.lexists(source):
            found.append(Source(path, unusable(path)))
        elif source.isdigit():
            found.append(Source(int(source), None))
        else:
            raise FileNotFoundError(f"{shown(source)}: no such file or folder")
    return found


def walk(folder, visited):
    """Sources in a folder. visited: identities of folders, grown by those that are searched."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        yield Source(folder, error.strerror)
        return
    for path in paths:
        if not os.path.isdir(path):
            yield Source(path, unusable(path))
        elif identity(path) in visited:
            yield Source(path, "a link to a folder that is searched already")
        else:
            visited.add(identity(path))
            yield from walk(path, visited)


def identity(folder):
    """What tells a folder from all others, whatever links lead to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def unusable(path):
    """Why a path that is no folder cannot be read as a photo, None where it can be tried."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link to a file that is not there" if os.path.islink(path) else "no such file"
    except OSError as error:
        return error.strerror
    except ValueError:
        return "no name of a file"
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"))
    return next((f"a {name}, not a file" for test, name in kinds if test(mode)), None)


def read(found, every=1.0, frames=0):
    """Photos of what `find` found, in order, each read when it is asked for.

    every: seconds between the frames of a video or camera that are looked at, 0: every frame; frames: of each video or
    camera at most, 0: all
    """
    for path, problem in found:
        if problem:
            yield Photo(text(path), None, problem)
        elif isinstance(path, int) or path.suffix.lower() in VIDEOS:
            yield from video(path, every, frames)
        else:
            with quiet():
                one = photo(path)
            yield one


def photo(path):
    """One image file as a Photo. Grey ones become colour, turned ones (Exif) upright, transparency is dropped."""
    name = text(path)
    try:
        problem = unusable(path)
        if problem:
            return Photo(name, None, problem)
        if os.stat(path).st_size > LARGEST_FILE:
            return Photo(name, None, f"larger than {LARGEST_FILE >> 20} MB, no photo")
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE)
        problem = size_problem(*image_size.size(data))
        if problem:
            return Photo(name, None, problem)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        return Photo(name, None, error.strerror)
    except ImageError as error:
        return Photo(name, None, f"not a readable image ({error})")
    except (cv2.error, MemoryError):
        return Photo(name, None, "larger than OpenCV decodes")
    if image is None:
        return Photo(name, None, "not a readable image (damaged, or of a kind that OpenCV does not read)")
    return Photo(name, image, None)


def size_problem(width, height):
    """Why an image of this size is not looked at, None where it is."""
    if min(width, height) < SMALLEST:
        return f"{width} x {height} pixels, too small for a face: {SMALLEST} x {SMALLEST} are needed"
    if width * height > LARGEST:
        return f"{width} x {height} pixels, too large: {LARGEST // 10**6} million pixels are decoded at most"
    return None


def video(source, every, frames):
    """Frames of a video file, or of the camera with this index, as Photos."""
    camera = isinstance(source, int)
    name = f"camera {source}" if camera else text(source)
    try:
        with quiet():
            capture = cv2.VideoCapture(source if camera else os.fsencode(source).decode())
    except UnicodeDecodeError:
        yield Photo(name, None, "OpenCV reads no video whose name is not UTF-8; rename it")
        return
    problem = size_problem(*(int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)))
    if problem and capture.isOpened() and not camera:
        capture.release()
        yield Photo(name, None, f"frames of {problem}")
        return
    rate = frame_rate(capture)
    step = max(1, round(rate * every))
    number = given = due = 0
    try:
        while not frames or given < frames:
            with quiet():
                if not capture.grab():
                    break
                if number == 0:
                    start = time.monotonic()  # a camera may take seconds to its first frame
                # A camera skips frames while the last one is answered.
                moment = time.monotonic() - start if camera else number / rate
                wanted = moment >= due if camera else number % step == 0
                good, image = capture.retrieve() if wanted else (False, None)
            if good:
                given += 1
                due = every * (moment // every + 1) if every else 0
                yield Photo(f"{name}#{moment:.2f}", image, None, moment)
            number += 1
    finally:
        capture.release()
    if not given:
        yield Photo(name, None, "no such camera, or no picture from it" if camera else "no frame in it")


def frame_rate(capture):
    """Frames per second of an open video; 25 where it does not say."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate < 1000 else CAMERA_RATE


def answered_frames(source, every, frames=0):
    """Frames per second that `video` gives of a source, and how many in all, 0 if unknown."""
    if isinstance(source, int):
        return min(CAMERA_RATE, 1 / every) if every else CAMERA_RATE, frames
    with quiet():
        capture = cv2.VideoCapture(os.fsencode(source).decode(errors="replace"))
        rate, count = frame_rate(capture), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
    step = max(1, round(rate * every))
    count = max(0, -(-int(count) // step)) if count < 1e9 else 0
    return rate / step, min(filter(None, (count, frames)), default=0)


_quiet = threading.Lock()


@contextlib.contextmanager
def quiet():
    """Keep what libraries of C print (libpng, libjpeg, FFmpeg) out of standard error, which has a line per problem."""
    with _quiet, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
        except OSError:  # the program runs without standard error
            yield
            return
        stack.callback(os.close, kept)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        os.dup2(nowhere, 2)
        stack.callback(os.dup2, kept, 2)
        yield


def text(path):
    """A path, or a camera's index, as text that every JSON and CSV reader takes: other bytes than UTF-8 as \\xff."""
    if isinstance(path, int):
        return f"camera {path}"
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shown(name):
    """A name for the terminal, in one line: line breaks, escape sequences and other controls escaped."""
    readable = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in readable)
