"""Measures of decisions, scores and regions, computed on arrays.

Each measure of decisions is a function of the four counts of a confusion matrix, and so applies to a split and to its
bootstrap resamples (Efron 1979). Counts and average precision of resamples are read off the cumulative numbers of faces
and of positives over falling scores, so that 1,000 resamples of 20,000 faces take seconds.
"""

import collections
import concurrent.futures
import statistics

import numpy as np

# Entries of the confusion matrix: true and false positives, false and true negatives, each (..., A).
Counts = collections.namedtuple("Counts", "tp fp fn tn")


def count(decisions, labels, weights=None):
    """Counts of decisions (N, A) bool against labels (N, A) bool.

    weights: how often each face counts, (N,), or (R, N) for R resamples; None for once each
    """
    weights = np.ones(len(labels), np.float32) if weights is None else weights
    present, tp, positive = (weights @ cell.astype(np.float32) for cell in (decisions, decisions & labels, labels))
    return _counts(tp, present, positive, weights.sum(axis=-1, keepdims=True))


def _counts(tp, present, positive, faces):
    """The Counts from true positives, and numbers of positive decisions, of positives and of all faces."""
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
    columns = zip(scores.T, labels.T)
    return np.stack([_precision(*_cumulated(*column, weights)[1:]) for column in columns], axis=-1)


def at_thresholds(scores, labels, thresholds, weights):
    """Average precision (R, A) of R resamples, and the Counts, of arrays (R, A), of the decisions `score > threshold`.

    scores: (N, A); labels: (N, A) bool; thresholds: dict decision -> (A,), or (R, A) if each resample has its own
    weights: (R, N), as in `count`. Returns the array, and a dict decision -> Counts.
    """
    each = {name: np.broadcast_to(values, (len(weights), scores.shape[1])) for name, values in thresholds.items()}

    def one(place):
        steps, above, found = _cumulated(scores[:, place], labels[:, place], weights)
        cells = []
        for values in each.values():
            index = np.searchsorted(-steps, -values[:, place])[:, np.newaxis]  # how many of the scores exceed it
            present, tp = (
                np.where(index > 0, np.take_along_axis(part, np.maximum(index - 1, 0), axis=1), 0)[:, 0]
                for part in (above, found)
            )
            cells.append(_counts(tp, present, found[:, -1], above[:, -1]))
        return _precision(above, found), cells

    with concurrent.futures.ThreadPoolExecutor() as pool:
        precisions, cells = zip(*pool.map(one, range(scores.shape[1])))
    counts = (Counts(*np.stack(of_decision).transpose(1, 2, 0)) for of_decision in zip(*cells))
    return np.stack(precisions, axis=-1), dict(zip(each, counts))


def _cumulated(score, label, weights):
    """The T distinct scores, falling, and how many faces and how many positives have at least each: (..., T) each.

    score: (N,); label: (N,) bool; weights: (N,) or (R, N)
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores form one step
    weight = weights[..., order]
    above, found = (np.cumsum(part, axis=-1) for part in (weight, weight * label[order]))
    if len(ends) < len(score):
        above, found = above[..., ends], found[..., ends]
    return score[order][ends], above, found


def _precision(above, found):
    """Average precision from the cumulative numbers of faces and of positives, (..., T) each."""
    steps = np.diff(found, axis=-1, prepend=0)
    return share((steps * found / np.maximum(above, 1)).sum(axis=-1), found[..., -1])


def curve(score, label):
    """True and false positives over falling thresholds: score (N,), label (N,) bool -> two arrays (T + 1,), from 0 on.

    Equal scores are one step, so T is the number of distinct scores. Points of ROC and precision-recall curves.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.diff(score[order]) != 0, True)
    tp = np.cumsum(label[order])[ends]
    fp = np.cumsum(~label[order])[ends]
    return np.append(0, tp), np.append(0, fp)


def resamples(groups, number, seed=0, size=50):
    """Yield bootstrap resamples of a split: counts of each face, arrays (up to `size`, N), `number` rows in total.

    groups: (N,), the number of each face's person, who are resampled with all their faces; where persons are not known,
    each face is a group of its own
    """
    rng, persons = np.random.RandomState(seed), int(groups.max()) + 1
    for start in range(0, number, size):
        rows = min(size, number - start)
        drawn = rng.randint(persons, size=(rows, persons)) + persons * np.arange(rows)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=rows * persons).reshape(rows, persons)
        yield counts[:, groups].astype(np.float32)


def interval(value, resampled, confidence=0.95):
    """Ends of the bias-corrected interval of a measure (Efron 1981): two arrays (...).

    value: as measured, (...); resampled: on resamples of the faces, (R, ...). Where the values of resamples lie to one
    side of the measured one, as with thresholds that are chosen anew for each, plain percentiles would be off by twice
    that.
    """
    value, normal = np.asarray(value, float), statistics.NormalDist()
    ends = np.full((2, *value.shape), np.nan)
    for place in np.ndindex(value.shape):
        finite = resampled[(slice(None), *place)]
        finite = np.sort(finite[np.isfinite(finite)])
        if not len(finite) or not np.isfinite(value[place]):
            continue
        below = (np.searchsorted(finite, value[place]) + np.searchsorted(finite, value[place], "right")) / 2
        bias = normal.inv_cdf(min(max(below / len(finite), 0.03), 0.97))  # so that the interval holds the value
        tail = normal.inv_cdf((1 + confidence) / 2)
        shares = [normal.cdf(2 * bias - tail), normal.cdf(2 * bias + tail)]
        low, high = np.quantile(finite, shares)
        ends[(slice(None), *place)] = min(low, value[place]), max(high, value[place])
    return tuple(ends)


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
