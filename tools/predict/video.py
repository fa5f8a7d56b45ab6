"""An annotated video: the frames of a video with their faces numbered, beside them a card per face, and a legend.

Faces keep their numbers and their cards their places from frame to frame (tools.predict.tracking). OpenCV writes the
file, without sound.
"""

import os
import pathlib

import cv2
import numpy as np

from data_prep import files
from data_prep.pictures import text
from tools.errors import ToolError
from tools.predict import cards
from tools.predict.inputs import quiet
from tools.predict.inputs import text as text_of
from tools.predict.tracking import Tracker

# Ending of the file -> codec that every OpenCV package has: MPEG-4, Motion JPEG, VP8 (web browsers play VP8 of these).
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
# The lowest rate of a file: OpenCV opens none below 0.001, and VP8 writes no frame where a second has too few bits.
LOWEST_RATE = 0.01


class AnnotatedVideo:
    """Writes an annotated video, a context manager. Raises ToolError where it cannot be written.

    path: the file, its ending one of CODECS; rate: frames per second, raised to LOWEST_RATE; decide: see
    tracking.Tracker; style: a cards.Style

    The file is written under another name and takes its own when it is closed; one that was there stays until then.
    """

    def __init__(self, path, rate, decide, style):
        self.path, self.rate = pathlib.Path(path), max(rate, LOWEST_RATE)
        if self.path.suffix.lower() not in CODECS:
            raise self._error(f"give a file that ends in {', '.join(CODECS)}")
        self.style, self.tracker = style, Tracker(decide)
        self.part = files.partial_of(self.path.parent, self.path.stem, self.path.suffix)
        self.screen = self.writer = None
        self.frames = 0

    def _error(self, words):
        return ToolError(f"--video {text_of(self.path)}: {words}")

    def add(self, photo):
        """Write the next frame. Returns its Photo with the faces as they are followed."""
        if photo.problem:
            return photo
        photo = self.tracker.follow(photo)
        if self.writer is None:
            self._open(photo.view)
        picture = self.screen.draw(photo)
        # Frames that a camera skipped, that could not be decoded, or that a raised rate needs are filled with the next.
        due = round(photo.time * self.rate) + 1
        for _ in range(max(1, due - self.frames)):
            self.writer.write(picture)
            self.frames += 1
        return photo

    def _open(self, view):
        self.screen = Screen(self.style, view.shape)
        codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.remove_partials(self.path.parent, self.path.stem, self.path.suffix)
            with quiet():
                self.writer = cv2.VideoWriter(str(self.part), codec, self.rate, self.screen.size)
        except OSError as error:
            raise self._error(error.strerror)
        except (UnicodeError, cv2.error):
            raise self._error("OpenCV writes no file of this name; give another")
        if not self.writer.isOpened():
            raise self._error("cannot be written; is its folder writable?")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        """Close the file; what was written until an error or an interruption is kept."""
        if self.writer is None:
            return
        with quiet():
            self.writer.release()
        if self.frames and frames_in(self.part) >= self.frames:
            os.replace(self.part, self.path)
            return
        if self.part.exists():
            self.part.unlink()
        if kind is None:
            raise self._error("could not be written whole; is the disk full?")


def frames_in(path):
    """Frames of a video file, by its index; 0 where it cannot be read."""
    with quiet():
        capture = cv2.VideoCapture(str(path))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
    return count


class Screen:
    """Where everything stands in the frames of a video: the frame, and to its right the cards and the legend.

    shape: of the frames as they are drawn. Attribute size: (width, height) in pixels, even, as codecs need it.
    """

    def __init__(self, style, shape):
        self.frame, self.card = shape, cards.Card(style, cards.SMALL_FACE, columns=2)
        self.legend = cards.legend(style, self.card.shape[1])
        below = self.legend.shape[0] + cards.LINE
        height = max(shape[0], self.card.shape[0] + below)
        self.size = tuple(side + side % 2 for side in (shape[1] + self.card.shape[1], height))
        # The tracks whose cards are shown, from the top.
        self.slots = [None] * ((height - below) // self.card.shape[0])

    def draw(self, photo):
        """The picture of a Photo whose faces are followed."""
        by_track = {face.track: face for face in photo.faces}
        self._seat(photo.faces)
        frame = photo.view.copy()
        if frame.shape != self.frame:  # some videos change their size on the way
            frame = cv2.resize(frame, self.frame[1::-1], interpolation=cv2.INTER_AREA)
        cards.numbered(frame, frame.shape[0] / photo.shape[0], photo.faces, list(by_track))
        picture = np.full((*self.size[::-1], 3), 255, np.uint8)
        picture[: frame.shape[0], : frame.shape[1]] = frame
        left, height = frame.shape[1], self.card.shape[0]
        for place, track in enumerate(self.slots):
            if track in by_track:
                drawn = self.card.draw(track, by_track[track])
                picture[place * height : (place + 1) * height, left : left + drawn.shape[1]] = drawn
        top = self.size[1] - self.legend.shape[0]
        picture[top : top + self.legend.shape[0], left : left + self.legend.shape[1]] = self.legend
        more = len(set(by_track) - set(self.slots))
        if more:
            words = f"and {more} more face{'' if more == 1 else 's'}: see predictions.jsonl"
            text(picture, words, left + cards.GAP, top - 5)
        return picture

    def _seat(self, faces):
        """Give free places to the largest of the faces that have none; the others keep theirs."""
        present = {face.track for face in faces}
        self.slots = [track if track in present else None for track in self.slots]
        by_size = sorted(faces, key=lambda face: face.box[0] - face.box[2])
        waiting = [face.track for face in by_size if face.track not in self.slots]
        for place, track in enumerate(self.slots):
            if track is None and waiting:
                self.slots[place] = waiting.pop(0)
