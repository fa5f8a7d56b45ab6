"""The photos of files, folders, videos and cameras, one at a time. What cannot be used is a Photo with a problem.

A folder may hold anything: pipes, devices, links that lead nowhere or in circles, files that nobody may read, names
that are no text. None of it is opened that could block.
"""

import contextlib
import os
import pathlib
import threading
import time

import cv2

from data_prep import files, image_files
from data_prep.errors import DataError
from tools.predict.photo import Photo

VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
# Endings of the files in a folder that are taken for pictures.
PICTURES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
PICTURES |= {".pbm", ".pgm", ".ppm", ".pnm", ".heic", ".heif", ".avif"}
# The end of the names of the overlays that `face-cascade predict` writes.
OVERLAY = ".answers.png"
# Frames per second of a camera, and of a video that does not say.
USUAL_RATE = 25.0


def find(sources):
    """Files among files and folders: a list of paths and of cameras (their index), and the number of files skipped.

    sources: paths, or indices of cameras. Of folders, searched deeply and in order, the files with the ending of a
    picture or video are taken; hidden files are left out. Raises DataError for a source that is not there or a folder
    without such a file.
    """
    found, skipped = [], 0
    for source in map(os.fspath, sources):
        if os.path.isdir(source):
            inside, not_taken = walk(pathlib.Path(source))
            if not inside:
                raise DataError(f"{text(source)}: no picture or video in it")
            found, skipped = found + inside, skipped + not_taken
        elif os.path.lexists(source):
            found.append(pathlib.Path(source))
        elif source.isascii() and source.isdigit():
            found.append(int(source))
        else:
            raise DataError(f"{text(source)}: no such file or folder")
    return found, skipped


def walk(folder):
    """The pictures and videos below a folder, a list of paths, and the number of other files; overlays are such.

    A folder that several links lead to is searched once; one that cannot be read is in the list itself.
    """
    found, skipped, searched = [], 0, {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=lambda e, to=found: to.append(e.filename)):
        names = [name for name in sorted(names) if not name.startswith(".")]
        kept = [name for name in names if os.path.splitext(name)[1].lower() in PICTURES | VIDEOS]
        kept = [name for name in kept if not name.endswith(OVERLAY)]
        found += [pathlib.Path(place, name) for name in kept]
        skipped += len(names) - len(kept)
        inside = {os.path.realpath(os.path.join(place, name)): name for name in sorted(folders, reverse=True)}
        folders[:] = sorted(n for real, n in inside.items() if real not in searched and not n.startswith("."))
        searched.update(inside)
    return found, skipped


def is_video(path):
    """Whether a path, or a camera's index, gives frames."""
    return isinstance(path, int) or pathlib.Path(path).suffix.lower() in VIDEOS


def read(found, every=1.0, frames=0):
    """Photos of what `find` found, in order, each read when it is asked for.

    every: seconds between the frames of a video or camera that are looked at, 0: every frame; frames: of each video or
    camera at most, 0: all
    """
    for path in found:
        if is_video(path):
            yield from Video(path, every, frames)
            continue
        try:
            with quiet():
                photo = Photo(text(path), image_files.read(path))
        except DataError as error:
            photo = Photo(text(path), problem=str(error))
        yield photo


class Video:
    """Frames of a video file, or of the camera with this index, as Photos to iterate over.

    every, frames: see `read`. One that cannot be read, or not safely, gives a Photo with the problem. Attributes rate:
    frames per second that it gives; total: how many in all, 0 if unknown.
    """

    def __init__(self, source, every=1.0, frames=0):
        self.source, self.every, self.most, self.camera = source, every, frames, isinstance(source, int)
        self.capture, self.problem, self.own_rate, count = None, None, USUAL_RATE, 0
        try:
            if not self.camera:
                files.opened(source).close()
            with quiet():
                self.capture = cv2.VideoCapture(source if self.camera else os.fsencode(source).decode())
            if self.capture.isOpened() and not self.camera:
                sides = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
                image_files.check_size(*(int(self.capture.get(side)) for side in sides))
                count, rate = self.capture.get(cv2.CAP_PROP_FRAME_COUNT), self.capture.get(cv2.CAP_PROP_FPS)
                self.own_rate = rate if 0 < rate < 1000 else USUAL_RATE
        except UnicodeDecodeError:
            self.problem = "OpenCV reads no video whose name is not UTF-8; rename it"
        except (DataError, OSError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
        self.step = max(1, round(self.own_rate * every))
        self.rate = min(self.own_rate, 1 / every) if self.camera and every else self.own_rate / self.step
        count = max(0, -(-int(count) // self.step)) if count < 1e9 else 0
        self.total = min(filter(None, (count, frames)), default=0)

    def __iter__(self):
        given, due, moment, start = 0, 0, -1, None
        # A frame of a video that is half a frame early is the nearest one.
        interval, early = (self.every, 0) if self.camera else (self.step / self.own_rate, 0.5 / self.own_rate)
        while not self.problem and (not self.most or given < self.most):
            with quiet():
                if not self.capture.grab():
                    break
                now = time.monotonic() if self.camera else self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                start = now if start is None else start  # a camera may take seconds to its first frame
                # A camera skips frames while the last one is answered. Some videos do not say when a frame is shown.
                moment = now - start if now - start > moment else moment + 1 / self.own_rate
                good, image = self.capture.retrieve() if moment >= due - early else (False, None)
            if good:
                given += 1
                due = interval * ((moment + early) // interval + 1) if self.every else 0
                yield Photo(text(self.source), image, time=moment)
        if not given:
            nothing = "no such camera, or no picture from it" if self.camera else "no frame in it"
            yield Photo(text(self.source), problem=self.problem or nothing)


def text(path):
    """A path, or a camera's index, as text that every JSON and CSV reader takes: other bytes than UTF-8 as \\xff."""
    return f"camera {path}" if isinstance(path, int) else os.fsencode(path).decode("utf-8", "backslashreplace")


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
