"""From scores to decisions and probabilities, by what the validation split shows; kept beside the weights.

Batches in training are balanced and faces are not, so a score above 0 is no good decision by itself. calibration.json
holds, for each file of weights in its folder: the training priors, and per score and attribute the threshold that
serves best on validation and the line that makes a score the logit of a probability (Platt 1999).
"""

import json
import pathlib

import numpy as np

from data_prep.files import sha256
from tools.evaluate import metrics

NAME = "calibration.json"
# Faces of either class below which validation says too little: the training prior decides instead.
LEAST = 5


def decide(scores, prior, threshold):
    """The three decisions of one score: dict rule -> (N, A) bool.

    scores: (N, A) logits of balanced training; prior: share of positives in training, (A,); threshold: (A,)
    """
    return {"p>.5": scores > 0, "prior": scores + metrics.prior_shift(prior) > 0, "tuned": scores > threshold}


def tune(scores, labels, prior, measure="accuracy"):
    """Thresholds (A,) that serve a measure best: scores (N, A), labels (N, A) bool, of the validation split.

    measure: name in metrics.MEASURES. A threshold lies midway between the scores it separates.
    """
    thresholds = -metrics.prior_shift(prior)
    for index in np.flatnonzero(enough(labels)):
        order = np.argsort(scores[:, index], kind="stable")
        score, label = scores[order, index].astype(np.float64), labels[order, index]
        # Cut k calls the scores from place k on present.
        cuts = np.flatnonzero(np.append(True, np.append(np.diff(score) > 0, True)))
        below = np.append(0, np.cumsum(label))[cuts]
        fn, tn = below, cuts - below
        tp, fp = label.sum() - fn, (~label).sum() - tn
        best = cuts[np.nanargmax(metrics.MEASURES[measure](metrics.Counts(tp, fp, fn, tn)))]
        edges = np.concatenate([[score[0] - 1], score, [score[-1] + 1]])
        thresholds[index] = (edges[best] + edges[best + 1]) / 2
    return thresholds


def enough(labels):
    """Attributes (A,) bool of which validation has enough faces with and without."""
    return np.minimum(labels.sum(axis=0), (~labels).sum(axis=0)) >= LEAST


def fit(scores, labels, prior):
    """Slope and offset (A,), so that sigmoid(slope * score + offset) is the probability of "present" (Platt 1999).

    Newton's method on the cross-entropy to targets drawn in from 0 and 1 as Platt has it. Where validation has too
    few faces of a class: slope 1, and the training prior's shift.
    """
    slope, offset = np.ones(scores.shape[1]), metrics.prior_shift(prior)
    for index in np.flatnonzero(enough(labels)):
        score, label = scores[:, index].astype(np.float64), labels[:, index]
        positive, negative = label.sum(), (~label).sum()
        target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
        # In units of the scores' spread the step is well scaled; a little weight decay bounds it on separable scores.
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
        if line[0] < 0:  # the score says the opposite of what it should: it says nothing
            line = np.array([0, np.log(positive / negative)])
        slope[index], offset[index] = line[0] / spread, line[1] - line[0] * centre / spread
    return slope, offset


def probability(scores, slope, offset):
    """Calibrated probabilities of scores (N, A)."""
    return 1 / (1 + np.exp(-np.clip(slope * scores + offset, -500, 500)))


def make(scores, labels, prior, measure):
    """What calibration.json keeps of each score: dict score -> {"threshold", "slope", "offset"}, lists (A,)."""
    kept = {}
    for name, values in scores.items():
        slope, offset = fit(values, labels, prior)
        threshold = tune(values, labels, prior, measure)
        kept[name] = {"threshold": threshold.tolist(), "slope": slope.tolist(), "offset": offset.tolist()}
    return kept


def write(weights, attributes, prior, scores, **told):
    """Enter what `make` made into calibration.json beside the weights. Raises OSError."""
    path = pathlib.Path(weights).with_name(NAME)
    entries = _read(path)
    known = {"sha256": sha256(weights), "attributes": list(attributes), "prior": np.asarray(prior).tolist()}
    entries[pathlib.Path(weights).name] = {**known, **told, "scores": scores}
    partial = path.with_name(f"{NAME}.partial")
    partial.write_text(json.dumps(entries, indent=1) + "\n")
    partial.replace(path)


def entry(weights):
    """What calibration.json beside a file of weights says of it, a dict; None where nothing that still holds."""
    found = _read(pathlib.Path(weights).with_name(NAME)).get(pathlib.Path(weights).name)
    return found if found and found["sha256"] == sha256(weights) else None


def read(weights, attributes):
    """`entry`, where it is for these attributes; else None."""
    found = entry(weights)
    return found if found and found["attributes"] == list(attributes) else None


def _read(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise OSError(f"{path}: damaged; remove it and run make evaluate again")
