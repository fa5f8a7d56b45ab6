"""Faces of a video followed from frame to frame, so that numbers stay with people and answers do not flicker.

A face continues the track whose box it shares most with, by intersection over union. Of each track the logits of the
probabilities, the regions and the box are averaged over the time that has passed (exponential moving averages), and an
answer changes only when its probability is clearly beyond the limit that it has crossed.
"""

import dataclasses

import numpy as np

from data_prep.faces.face_finder import Face
from tools.evaluate import metrics
from tools.evaluate.calibration import probability
from tools.predict.photo import Answer

# Least intersection over union of a face and the track it continues.
LEAST_IOU = 0.2
# Seconds over which answers and boxes are averaged, and for which a face that is not found any more stays.
ANSWER_SECONDS, BOX_SECONDS, LOST_SECONDS = 0.5, 0.06, 0.4
# Logits beyond a limit at which an answer changes. Searched frames before a new face is shown: false faces do not last.
HYSTERESIS, CONFIRMED = 0.4, 2
# Logits further out say nothing: written probabilities have four digits.
LARGEST_LOGIT = 9.0
ORDER = ("absent", "uncertain", "present")


@dataclasses.dataclass
class Track:
    """A face that is followed: as it was found last, with its box, probabilities and regions averaged.

    time: seconds, when it was found last; seen: number of frames that it was found in
    """

    face: Face
    time: float
    seen: int = 1


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
        new = [face for place, face in enumerate(photo.faces) if place not in pairs.values()]
        self.tracks += [Track(face, photo.time) for face in new]
        for track in self.tracks:
            # The faces of the first frame are shown at once: that frame may be the only one.
            if track.face.track is None and (track.seen >= CONFIRMED or self.first):
                self.count += 1
                track.face = dataclasses.replace(track.face, track=self.count)
        self.first = False
        shown = sorted((track for track in self.tracks if track.face.track), key=lambda track: track.face.track)
        faces = [
            track.face if track.time == photo.time else dataclasses.replace(track.face, score=None) for track in shown
        ]
        return dataclasses.replace(photo, faces=faces)

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
        box = still * track.face.box + (1 - still) * found.box
        track.face = dataclasses.replace(found, box=box, attributes=answers, track=track.face.track)
        track.time, track.seen = time, track.seen + 1

    def _answer(self, name, value, before):
        """The answer for a logit, the one before unless the logit is HYSTERESIS beyond the limit between them."""
        now = self.decide(name, probability(value, 1, 0))
        if now == before:
            return before
        back = HYSTERESIS if ORDER.index(now) < ORDER.index(before) else -HYSTERESIS
        return before if self.decide(name, probability(value + back, 1, 0)) == before else now


def matched(boxes, candidates):
    """Places of boxes (lists of x1 y1 x2 y2) -> places of the candidates that share most with them, each used once."""
    pairs, taken = {}, set()
    if not len(boxes) or not len(candidates):
        return pairs
    values = np.nan_to_num(metrics.iou(np.array(boxes, float)[:, np.newaxis], np.array(candidates, float)))
    for place in np.argsort(-values, axis=None, kind="stable"):
        row, column = divmod(int(place), values.shape[1])
        if values[row, column] < LEAST_IOU:
            break
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return pairs


def logit(p):
    """The logit of a probability, bounded."""
    return float(np.clip(np.log(max(p, 1e-9)) - np.log(max(1 - p, 1e-9)), -LARGEST_LOGIT, LARGEST_LOGIT))
