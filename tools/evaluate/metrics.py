"""Measures of decisions, scores and regions, computed on arrays.

Each measure of decisions is a function of the four counts of a confusion matrix. It therefore applies to a split and to
its bootstrap resamples (Efron 1979), whose counts are one matrix product.
"""

import collections

import numpy as np

# Entries of the confusion matrix: true and false positives, false and true negatives, each (..., A).
Counts = collections.namedtuple("Counts", "tp fp fn tn")


def count(decisions, labels, weights=None):
    """Counts of decisions (N, A) bool against labels (N, A) bool.

    weights: how often each face counts, (N,), or (R, N) for R resamples; None for once each
    decisions: also (R, N, A), those of each resample
    """
    weights = np.ones(len(labels), np.float32) if weights is None else weights

    def total(cell):
        cell = cell.astype(np.float32)
        return weights @ cell if cell.ndim == 2 else (weights[:, np.newaxis] @ cell)[:, 0]

    present, tp, positive = total(decisions), total(decisions & labels), total(labels)
    faces = weights.sum(axis=-1, keepdims=True)
    return Counts(tp, present - tp, positive - tp, faces - present - positive + tp)


def share(part, whole):
    """part / whole, NaN if the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, np.divide(part, whole), np.nan)


def accuracy_of(c):
    """Share of correct decisions."""
    return share(c.tp + c.tn, sum(c))


def balanced_accuracy_of(c):
    """Mean of the shares of correct decisions among positives and among negatives; NaN if a class is missing."""
    return (share(c.tp, c.tp + c.fn) + share(c.tn, c.tn + c.fp)) / 2


def f1_of(c):
    """Harmonic mean of precision and recall of "present"; NaN if there are no positives and no positive decisions."""
    return share(2 * c.tp, 2 * c.tp + c.fp + c.fn)


# Measure of a decision -> its function of Counts.
MEASURES = {"accuracy": accuracy_of, "balanced_accuracy": balanced_accuracy_of, "f1": f1_of}


def accuracy(decisions, labels):
    """Share of correct decisions per attribute: (N, A) bool each -> (A,)."""
    return accuracy_of(count(decisions, labels))


def balanced_accuracy(decisions, labels):
    """See balanced_accuracy_of: (N, A) bool each -> (A,)."""
    return balanced_accuracy_of(count(decisions, labels))


def f1(decisions, labels):
    """See f1_of: (N, A) bool each -> (A,)."""
    return f1_of(count(decisions, labels))


def average_precision(scores, labels, weights=None):
    """Area under the precision-recall curve, a sum of steps at the distinct scores: (N, A) each -> (..., A).

    weights: as in `count`. NaN for an attribute that is never present.
    """
    weights = np.ones(len(labels), np.float32) if weights is None else weights
    columns = []
    for score, label in zip(scores.T, labels.T):
        order = np.argsort(-score, kind="stable")
        ends = np.append(np.diff(score[order]) != 0, True)  # equal scores form one step
        weight = weights[..., order]
        above = np.cumsum(weight, axis=-1)[..., ends]
        found = np.cumsum(weight * label[order], axis=-1)[..., ends]
        steps = np.diff(found, axis=-1, prepend=0)
        total = (steps * found / np.maximum(above, 1)).sum(axis=-1)
        columns.append(share(total, found[..., -1]))
    return np.stack(columns, axis=-1)


def curve(score, label):
    """True and false positives over falling thresholds: score (N,), label (N,) bool -> two arrays (T + 1,), from 0 on.

    Equal scores are one step, so T is the number of distinct scores. Points of ROC and precision-recall curves.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.diff(score[order]) != 0, True)
    tp = np.cumsum(label[order])[ends]
    fp = np.cumsum(~label[order])[ends]
    return np.append(0, tp), np.append(0, fp)


def resamples(faces, number, seed=0, size=50):
    """Yield bootstrap resamples of a split: counts of each face, arrays (up to `size`, N), `number` rows in total."""
    rng = np.random.RandomState(seed)
    for start in range(0, number, size):
        rows = min(size, number - start)
        drawn = rng.randint(faces, size=(rows, faces)) + faces * np.arange(rows)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=rows * faces).reshape(rows, faces).astype(np.float32)


def interval(values, confidence=0.95):
    """Ends of the central interval that holds the share `confidence` of resampled values (R, ...): two arrays (...)."""
    tail = (1 - confidence) / 2
    finite = np.where(np.isfinite(values).any(axis=0), values, 0)
    ends = np.nanquantile(finite, [tail, 1 - tail], axis=0)
    return tuple(np.where(np.isfinite(values).any(axis=0), end, np.nan) for end in ends)


def majority(labels):
    """Majority baseline: the accuracy of always deciding for the more frequent class, (A,)."""
    share = labels.mean(axis=0)
    return np.maximum(share, 1 - share)


def prior_shift(prior):
    """The term (A,) to add to a logit trained on balanced batches when the share of positives is `prior` (A,)."""
    return np.log(prior / (1 - prior))


def area(boxes):
    """Areas of boxes (..., 4) x1 y1 x2 y2; 0 for empty or reversed ones."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def intersection(one, other):
    """Areas of the intersections of boxes (..., 4)."""
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:], other[..., 2:])
    return area(np.concatenate([low, high], axis=-1))


def iou(found, true):
    """Intersection over union of boxes (..., 4)."""
    shared = intersection(found, true)
    return shared / (area(found) + area(true) - shared)


def coverage(found, true):
    """Box coverage: the share of the true box that the found box covers (recall of the true box)."""
    return intersection(found, true) / area(true)


def pointing_game(found, true):
    """Whether the centre of the found box is in the true box, (...) bool; the mean is the pointing-game accuracy."""
    centre = (found[..., :2] + found[..., 2:]) / 2
    return ((centre >= true[..., :2]) & (centre < true[..., 2:])).all(axis=-1)
