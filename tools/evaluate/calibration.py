"""Thresholds and calibrated probabilities, fitted on the validation split and stored beside the weights.

Training batches are balanced and faces are not, so a score above 0 is not the best decision. calibration.json holds,
for each file of weights in its folder: the training priors, and per score and attribute the threshold that is best on
the validation split, and slope and offset from the score to the logit of a probability (Platt 1999). A calibration is
valid for the weights, data and settings that it was fitted with, and is reused only if all of them are the same.
"""

import dataclasses
import pathlib

import numpy as np

from data_prep import files
from data_prep.files import sha256
from tools.errors import ToolError
from tools.evaluate import json_records, metrics

NAME = "calibration.json"
# With fewer validation faces of either class a fit is too uncertain, and the training prior is used instead.
LEAST = 5
PRIOR_CORRECTED, TUNED = "prior-corrected", "tuned"
DECISIONS = ("p > 0.5", PRIOR_CORRECTED, TUNED)


@dataclasses.dataclass
class ScoreCalibration:
    """The calibration of one score, lists (A,) with an entry per attribute.

    threshold: scores above it mean "present"; slope, offset: sigmoid(slope * score + offset) is the probability
    """

    threshold: list[float]
    slope: list[float]
    offset: list[float]


@dataclasses.dataclass
class Calibration:
    """The calibration of a file of weights, and the inputs it was fitted with.

    weights: checksum of the file; data: checksum of the LMDB folder's manifest; prior: shares of positives in training
    (A,), 0.5 if the scores need no correction; faces: number of validation faces used, 0 for all
    tuned_for: name in metrics.MEASURES; scores: dict blob of the deploy net -> ScoreCalibration
    """

    weights: str
    data: str
    attributes: list[str]
    prior: list[float]
    faces: int
    tuned_for: str
    scores: dict[str, ScoreCalibration]

    def made_with(self):
        """The inputs that this calibration depends on."""
        return self.weights, self.data, self.attributes, self.prior, self.faces, self.tuned_for


def decide(scores, prior, threshold):
    """The decisions of one score under each of DECISIONS: dict name -> (N, A) bool.

    scores: (N, A) logits of balanced training; prior: share of positives in training, (A,); threshold: (A,)
    """
    corrected = scores + metrics.prior_shift(prior) > 0
    return dict(zip(DECISIONS, (scores > 0, corrected, scores > threshold)))


def tune(scores, labels, prior, measure="accuracy"):
    """Thresholds (A,) that give the best value of a measure on the validation split.

    scores: (N, A); labels: (N, A) bool; prior: (A,), decides for attributes with too few faces of a class
    measure: name in metrics.MEASURES. A threshold is midway between the scores that it separates.
    """
    thresholds = -metrics.prior_shift(prior)
    for index in np.flatnonzero(enough(labels)):
        order = np.argsort(scores[:, index], kind="stable")
        score, label = scores[order, index].astype(np.float64), labels[order, index]
        # Cut k decides "present" for the sorted scores from index k on.
        cuts = np.flatnonzero(np.append(True, np.append(np.diff(score) > 0, True)))
        below = np.append(0, np.cumsum(label))[cuts]
        fn, tn = below, cuts - below
        tp, fp = label.sum() - fn, (~label).sum() - tn
        best = cuts[np.nanargmax(metrics.MEASURES[measure](metrics.Counts(tp, fp, fn, tn)))]
        edges = np.concatenate([[score[0] - 1], score, [score[-1] + 1]])
        thresholds[index] = (edges[best] + edges[best + 1]) / 2
    return thresholds


def enough(labels):
    """Whether validation labels (N, A) have enough faces of both classes, (A,) bool."""
    return np.minimum(labels.sum(axis=0), (~labels).sum(axis=0)) >= LEAST


def fit(scores, labels, prior):
    """Slope and offset (A,), so that sigmoid(slope * score + offset) is the probability of "present" (Platt 1999).

    Newton's method minimises the cross-entropy to Platt's smoothed targets. An attribute with too few validation faces
    of a class gets slope 1 and the shift of the training prior.
    """
    slope, offset = np.ones(scores.shape[1]), metrics.prior_shift(prior)
    for index in np.flatnonzero(enough(labels)):
        score, label = scores[:, index].astype(np.float64), labels[:, index]
        positive, negative = label.sum(), (~label).sum()
        target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
        # Scores in units of their spread make Newton's step well conditioned; a little weight decay keeps the slope
        # finite if the scores separate the classes.
        centre, spread = score.mean(), max(score.std(), 1e-6)
        inputs = np.stack([(score - centre) / spread, np.ones_like(score)], axis=1)
        line = np.array([1.0, np.log(positive / negative)])
        for _ in range(50):
            p = 1 / (1 + np.exp(-np.clip(inputs @ line, -500, 500)))
            gradient = inputs.T @ (p - target) + 1e-3 * line
            curvature = (inputs * (p * (1 - p))[:, np.newaxis]).T @ inputs + 1e-3 * np.eye(2)
            step = np.linalg.solve(curvature, gradient)
            line -= step * min(1, 4 / np.abs(step).max())
            if np.abs(step).max() < 1e-9:
                break
        if line[0] < 0:  # a negative slope means that the score misorders the faces: it is ignored
            line = np.array([0, np.log(positive / negative)])
        slope[index], offset[index] = line[0] / spread, line[1] - line[0] * centre / spread
    return slope, offset


def probability(scores, slope, offset):
    """Calibrated probabilities (N, A) of scores (N, A)."""
    return 1 / (1 + np.exp(-np.clip(slope * scores + offset, -500, 500)))


def make(scores, labels, prior, measure):
    """Fit a ScoreCalibration to each score of the validation split: dict blob -> ScoreCalibration.

    scores: dict blob -> (N, A); labels: (N, A) bool; prior: (A,); measure: name in metrics.MEASURES
    """
    made = {}
    for name, values in scores.items():
        slope, offset = fit(values, labels, prior)
        threshold = tune(values, labels, prior, measure)
        made[name] = ScoreCalibration(threshold.tolist(), slope.tolist(), offset.tolist())
    return made


def write(weights, calibration):
    """Store a Calibration in calibration.json beside a file of weights. Raises ToolError, OSError."""
    path = pathlib.Path(weights).with_name(NAME)
    files.write_json(path, {**_entries(path), pathlib.Path(weights).name: json_records.dump(calibration)})


def read(weights, attributes=None):
    """The Calibration of a file of weights, None if there is none that fits.

    attributes: the names that it must be for, in order; None for any. Raises ToolError for a damaged file, OSError.
    """
    path, name = pathlib.Path(weights).with_name(NAME), pathlib.Path(weights).name
    entries = _entries(path)
    if name not in entries:
        return None
    try:
        entry = json_records.parse(Calibration, entries[name], f"{path}: {name}")
        check(entry.scores, entry.attributes, f"{path}: {name}")
        if len(entry.prior) != len(entry.attributes):
            raise ValueError(f"{path}: {name}: damaged, key 'prior' must have {len(entry.attributes)} entries")
        wrong = next((word for word in entry.attributes if not word.strip() or not word.isprintable()), None)
        if wrong is not None:
            raise ValueError(f"{path}: {name}: damaged, key 'attributes' holds {wrong[:60]!r}, which is not a name")
        if not all(0 <= share <= 1 for share in entry.prior):
            raise ValueError(f"{path}: {name}: damaged, key 'prior' must hold shares in [0, 1]")
    except ValueError as error:
        raise ToolError(f"{error}; remove the file and evaluate again")
    fits = entry.weights == sha256(weights) and attributes in (None, entry.attributes)
    return entry if fits else None


def check(scores, attributes, where):
    """Raise ValueError unless all lists of a dict of ScoreCalibration have an entry per attribute."""
    for name, score in scores.items():
        for field in dataclasses.fields(score):
            if len(getattr(score, field.name)) != len(attributes):
                raise ValueError(f"{where}: {name}: damaged, key {field.name!r} must have {len(attributes)} entries")


def _entries(path):
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ToolError(f"{error}; remove the file and evaluate again")
