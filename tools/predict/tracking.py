"""Faces of a video followed from frame to frame, so that numbers stay with people and answers do not flicker.

A face continues the track whose box it shares most with, by intersection over union. Of each track the logits of the
probabilities, the regions and the box are averaged over the time that has passed (exponential moving averages), and an
answer changes only when its probability is clearly beyond the limit that it has crossed.
"""

import dataclasses
import typing

import numpy as np

from tools.evaluate import metrics

# Least intersection over union of a face and the track it continues.
LEAST_IOU = 0.2
# Seconds over which answers and boxes are averaged, and for which a face that is not found any more stays.
ANSWER_SECONDS, BOX_SECONDS, HELD_SECONDS = 0.5, 0.06, 0.4
# Logits beyond a limit at which an answer changes. Searched frames before a new face is shown: false faces do not last.
HYSTERESIS, CONFIRMED = 0.4, 2
# Probabilities are rounded to four digits: logits further out say nothing.
LARGEST_LOGIT = 9.0
ORDER = ("absent", "uncertain", "present")


@dataclasses.dataclass
class Track:
    """A face that is followed.

    face: as it was found last; aligned: its picture then; box: (4,), averaged; logits, answers, shares: dicts by
    attribute, averaged, see predictor.Prediction; moment: seconds, when it was found last; seen: frames it was found
    in; number: from 1, None until it is shown
    """

    face: typing.Any
    aligned: np.ndarray
    box: np.ndarray
    logits: dict
    answers: dict
    shares: dict
    moment: float
    seen: int = 1
    number: typing.Optional[int] = None


class Tracker:
    """Follows faces through the frames of one video.

    decide: function of an attribute's name and a probability that gives the answer, see Predictor.decide. Attribute
    count: of the faces that were shown until now.
    """

    def __init__(self, decide):
        self.decide = decide
        self.tracks, self.first, self.before, self.count = [], True, 0.0, 0

    def follow(self, prediction):
        """The Prediction of the next frame with its faces as they are followed, in the order of their numbers.

        A face that was not found in this frame but stays for a while has no score.
        """
        moment, step = prediction.photo.moment, prediction.photo.moment - self.before
        found = list(zip(prediction.faces, prediction.aligned, prediction.shares))
        pairs = matched([track.box for track in self.tracks], [face.box for face, *_ in found])
        for place, match in pairs.items():
            self._continue(self.tracks[place], moment, *found[match])
        # A face is missing for a searched frame at least before it goes, however far these are apart.
        self.tracks = [track for track in self.tracks if moment - track.moment <= max(HELD_SECONDS, 1.5 * step)]
        self.tracks += [begun(moment, *one) for place, one in enumerate(found) if place not in pairs.values()]
        for track in self.tracks:
            # The faces of the first frame are shown at once: that frame may be the only one.
            if track.number is None and (track.seen >= CONFIRMED or self.first):
                self.count += 1
                track.number = self.count
        self.first, self.before = False, moment
        shown = sorted((track for track in self.tracks if track.number), key=lambda track: track.number)
        return prediction._replace(
            faces=[self._face(track, track.moment == moment) for track in shown],
            aligned=[track.aligned for track in shown],
            shares=[dict(track.shares) for track in shown],
        )

    def _continue(self, track, moment, face, aligned, shares):
        """Take a face as the next of a track, in place."""
        keep, still = (np.exp((track.moment - moment) / seconds) for seconds in (ANSWER_SECONDS, BOX_SECONDS))
        for name, answer in face.attributes.items():
            track.logits[name] = keep * track.logits[name] + (1 - keep) * logit(answer.probability)
            track.answers[name] = self._answer(name, track.logits[name], track.answers[name])
            if name in shares:
                track.shares[name] = keep * track.shares[name] + (1 - keep) * shares[name]
        track.box = still * track.box + (1 - still) * np.array(face.box)
        track.face, track.aligned, track.moment, track.seen = face, aligned, moment, track.seen + 1

    def _answer(self, name, value, before):
        """The answer for a logit, the one before unless the logit is HYSTERESIS beyond the limit between them."""
        now = self.decide(name, probability(value))
        if now == before:
            return before
        back = HYSTERESIS if ORDER.index(now) < ORDER.index(before) else -HYSTERESIS
        return before if self.decide(name, probability(value + back)) == before else now

    def _face(self, track, found):
        """A track as a Face; found: whether in this frame."""
        answers = {
            name: dataclasses.replace(
                answer, answer=track.answers[name], probability=round(float(probability(track.logits[name])), 4)
            )
            for name, answer in track.face.attributes.items()
        }
        score = track.face.score if found else None
        box = tuple(round(float(side), 1) for side in track.box)
        return dataclasses.replace(track.face, box=box, score=score, attributes=answers, track=track.number)


def begun(moment, face, aligned, shares):
    """The Track that begins with a face."""
    logits = {name: logit(answer.probability) for name, answer in face.attributes.items()}
    answers = {name: answer.answer for name, answer in face.attributes.items()}
    return Track(face, aligned, np.array(face.box, float), logits, answers, dict(shares), moment)


def matched(boxes, others):
    """Places of boxes (lists of x1 y1 x2 y2) -> places of the others that share most with them, each used once."""
    pairs, taken = {}, set()
    if not len(boxes) or not len(others):
        return pairs
    values = np.nan_to_num(metrics.iou(np.array(boxes, float)[:, np.newaxis], np.array(others, float)))
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


def probability(value):
    """The probability of a logit."""
    return 1 / (1 + np.exp(-value))
