"""An annotated video: the frames of a video with their faces numbered, below them a card per face, and a legend.

Faces are followed from frame to frame, so that numbers stay with people and answers do not flicker. A face
continues the track whose box it shares most with, by intersection over union. Of each track the logits of the
probabilities, the regions and the box are averaged over the time that has passed (exponential moving averages), and an
answer changes only when its probability is clearly beyond the limit that it has crossed.
"""

import dataclasses
import os
import pathlib

import cv2
import numpy as np
import scipy.optimize

from data_prep import files
from data_prep.faces.face_finder import Face
from data_prep.pictures import padded
from tools.errors import ToolError
from tools.evaluate import metrics
from tools.evaluate.calibration import probability
from tools.predict import cards
from tools.predict.inputs import quiet, text
from tools.predict.photo import Answer

# Ending of the file -> codec that every OpenCV package has: MPEG-4, Motion JPEG, VP8 (web browsers play VP8 of these).
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
# The lowest rate of a file: OpenCV opens none below 0.001, and VP8 writes no frame where a second has too few bits.
LOWEST_RATE = 0.01
ROWS = 2  # of cards
# Least intersection over union of a face and the track it continues.
LEAST_IOU = 0.2
# Seconds over which answers and boxes are averaged, and for which a face that is not found any more stays.
ANSWER_SECONDS, BOX_SECONDS, LOST_SECONDS = 0.5, 0.06, 0.4
# Logits beyond a limit at which an answer changes.
HYSTERESIS = 0.4
# Logits further out say nothing: written probabilities have four digits.
LARGEST_LOGIT = 9.0


class AnnotatedVideo:
    """Writes an annotated video, a context manager. Raises ToolError or OSError where it cannot be written.

    path: the file, its ending one of CODECS; rate: frames per second, raised to LOWEST_RATE; decide: see
    Tracker; style: a cards.Style

    The file is written under another name and takes its own when it is closed; one that was there stays until then.
    """

    def __init__(self, path, rate, decide, style):
        # MPEG-4 has no units of time below 1/65535 s, so that a rate has few decimals.
        decimals = 3 if rate < 65 else 2 if rate < 655 else 0
        self.path, self.rate = pathlib.Path(path), round(max(rate, LOWEST_RATE), decimals)
        if self.path.suffix.lower() not in CODECS:
            raise self._error(f"give a file that ends in {', '.join(CODECS)}")
        self.tracker, self.card = Tracker(decide), cards.Card(style, cards.SMALL_FACE, columns=2)
        self.part = files.partial_of(self.path.parent, self.path.stem, self.path.suffix)
        self.view = self.writer = None
        self.frames = self.places = 0

    def _error(self, words):
        return ToolError(f"--video {text(self.path)}: {words}")

    def add(self, photo):
        """Write the next frame. Returns its Photo with the faces as they are followed."""
        if photo.problem:
            return photo
        photo = self.tracker.follow(photo)
        picture = self.draw(photo)
        if self.writer is None:
            self._open(picture)
        # Frames that a camera skipped, that could not be decoded, or that a raised rate needs are filled with the next.
        due = round(photo.time * self.rate) + 1
        for _ in range(max(1, due - self.frames)):
            self.writer.write(picture)
            self.frames += 1
        return photo

    def draw(self, photo):
        """The picture of a Photo whose faces are followed: of one size, even, as codecs need it."""
        if self.view is None:
            self.view = photo.view.shape
            self.places = ROWS * max(1, max(cards.WIDEST, self.view[1]) // self.card.shape[1])
        if photo.view.shape != self.view:  # some videos change their size on the way
            resized = cv2.resize(photo.view, self.view[1::-1], interpolation=cv2.INTER_AREA)
            photo = dataclasses.replace(photo, view=resized)
        faces = [(face.track, face) for face in photo.faces]  # in the order of their numbers
        shown = [*faces[: self.places], *[None] * (self.places - len(faces))]
        picture = cards.sheet(photo, faces, shown, self.card, has_line=True)
        return padded(picture, *(side + side % 2 for side in picture.shape[1::-1]))

    def _open(self, picture):
        codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.remove_partials(self.path.parent, self.path.stem, self.path.suffix)
            with quiet():
                self.writer = cv2.VideoWriter(str(self.part), codec, self.rate, picture.shape[1::-1])
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


# Faces that are followed ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Track:
    """A face that is followed: as it was found last, with its box, probabilities and regions averaged.

    time: seconds, when it was found last
    """

    face: Face
    time: float


class Tracker:
    """Follows faces through the frames of one video.

    decide: function of an attribute's name and a probability that gives the answer, see Predictor.decide. Attribute
    count: of the faces that were shown until now.
    """

    def __init__(self, decide):
        self.decide = decide
        self.tracks, self.first, self.before, self.count = [], True, 0.0, 0

    def follow(self, photo):
        """The next frame, a Photo, with its faces as they are followed, in the order of their numbers.

        A face that was not found in this frame but stays for a while has no score.
        """
        step, self.before = photo.time - self.before, photo.time
        pairs = matched([track.face.box for track in self.tracks], [face.box for face in photo.faces])
        for place, match in pairs.items():
            self._continue(self.tracks[place], photo.time, photo.faces[match])
        # A face is missing for a searched frame at least before it goes, however far these are apart.
        lasts = max(LOST_SECONDS, 1.5 * step)
        self.tracks = [track for track in self.tracks if photo.time - track.time <= lasts]
        for place, face in enumerate(photo.faces):
            if place not in pairs.values():
                # Faces of the first frame are shown at once: it may be the only one. False faces do not last: others
                # are shown once they were found twice.
                number = self._next() if self.first else None
                self.tracks.append(Track(dataclasses.replace(face, track=number), photo.time))
        self.first = False
        shown = sorted((track for track in self.tracks if track.face.track), key=lambda track: track.face.track)
        faces = [
            track.face if track.time == photo.time else dataclasses.replace(track.face, score=None) for track in shown
        ]
        return dataclasses.replace(photo, faces=faces)

    def _next(self):
        self.count += 1
        return self.count

    def _continue(self, track, time, found):
        """Take a face as the next of a track, in place."""
        keep, still = (np.exp((track.time - time) / seconds) for seconds in (ANSWER_SECONDS, BOX_SECONDS))
        answers = {}
        for name, answer in found.attributes.items():
            before = track.face.attributes[name]
            value = keep * logit(before.probability) + (1 - keep) * logit(answer.probability)
            share = None if answer.share is None else keep * before.share + (1 - keep) * answer.share
            word = self._answer(name, value, before.answer)
            answers[name] = Answer(word, float(probability(value, 1, 0)), answer.region, share)
        box, number = still * track.face.box + (1 - still) * found.box, track.face.track or self._next()
        track.face, track.time = dataclasses.replace(found, box=box, attributes=answers, track=number), time

    def _answer(self, name, value, before):
        """The answer for a logit, the one before unless the logit is HYSTERESIS beyond the limit between them."""
        shifts = (0, -HYSTERESIS, HYSTERESIS)
        now, *near = (self.decide(name, probability(value + shift, 1, 0)) for shift in shifts)
        return before if before in near else now


def matched(boxes, candidates):
    """Places of boxes (lists of x1 y1 x2 y2) -> places of the candidates that share most with them, each used once."""
    boxes, candidates = (np.array(part, float).reshape(-1, 4) for part in (boxes, candidates))
    shared = np.nan_to_num(metrics.iou(boxes[:, np.newaxis], candidates))
    pairs = zip(*scipy.optimize.linear_sum_assignment(shared, maximize=True))
    return {int(box): int(candidate) for box, candidate in pairs if shared[box, candidate] >= LEAST_IOU}


def logit(p):
    """The logit of a probability, bounded."""
    return float(np.clip(np.log(max(p, 1e-9)) - np.log(max(1 - p, 1e-9)), -LARGEST_LOGIT, LARGEST_LOGIT))
