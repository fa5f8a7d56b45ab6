"""Measures of decisions, scores and regions, computed on arrays, for a split and for its bootstrap resamples.

Each measure of decisions is a function of the four counts of a confusion matrix. Counts and average precision are read
off the cumulative numbers of faces and of positives over falling scores, so that 1,000 resamples (Efron 1979) of 20,000
faces take seconds.
"""

import collections
import concurrent.futures
import warnings

import numpy as np

# Entries of the confusion matrix: true and false positives, false and true negatives, each (..., A).
Counts = collections.namedtuple("Counts", "tp fp fn tn")
PRECISION = "average_precision"
AT_ONCE = 50  # resamples that are computed together


# Decisions and scores ---------------------------------------------------------------------------------------


def count(decisions, labels):
    """Counts (A,) of decisions (N, A) bool against labels (N, A) bool."""
    return _counts((decisions & labels).sum(axis=0), decisions.sum(axis=0), labels.sum(axis=0), len(labels))


def _counts(tp, present, positive, faces):
    """The Counts from true positives, and numbers of positive decisions, of positives and of all faces."""
    return Counts(tp, present - tp, positive - tp, faces - present - positive + tp)


def share(part, whole):
    """part / whole, NaN if the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, np.divide(part, whole), np.nan)


def accuracy(c):
    """Share of correct decisions."""
    return share(c.tp + c.tn, sum(c))


def balanced_accuracy(c):
    """Mean of the shares of correct decisions among positives and among negatives; NaN if a class is missing."""
    return (share(c.tp, c.tp + c.fn) + share(c.tn, c.tn + c.fp)) / 2


def f1(c):
    """Harmonic mean of precision and recall of "present"; NaN if there are no positives and no positive decisions."""
    return share(2 * c.tp, 2 * c.tp + c.fp + c.fn)


# Measure of a decision -> its function of Counts.
MEASURES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "f1": f1}


def measures(scores, labels, thresholds, weights):
    """All measures of scores (N, A) on resamples of the faces: dict (decision, measure) -> (R, A).

    labels: (N, A) bool; thresholds: dict decision -> (A,), or (R, A) if each resample has its own, of the decisions
    `score > threshold`; weights: (R, N), how often each face counts. Average precision, the area under the
    precision-recall curve as a sum of steps at the distinct scores, needs no decision: its key is (None, PRECISION). It
    is NaN without a positive.
    """
    own = {name: np.broadcast_to(values, (len(weights), scores.shape[1])) for name, values in thresholds.items()}

    def of_attribute(place):
        values, above, positive = cumulated(scores[:, place], labels[:, place], weights)
        areas = np.diff(positive) * positive[:, 1:] / np.maximum(above[:, 1:], 1)
        precision = share(areas.sum(axis=-1), positive[:, -1])
        found = {(None, PRECISION): precision}
        for decision, cuts in own.items():
            number = np.searchsorted(-values, -cuts[:, place])[:, np.newaxis]  # of distinct scores above the threshold
            present, tp = (np.take_along_axis(part, number, axis=1)[:, 0] for part in (above, positive))
            counts = _counts(tp, present, positive[:, -1], above[:, -1])
            found.update(((decision, name), measure(counts)) for name, measure in MEASURES.items())
        return found

    with concurrent.futures.ThreadPoolExecutor() as pool:
        columns = list(pool.map(of_attribute, range(scores.shape[1])))
    return {key: np.stack([column[key] for column in columns], axis=-1) for key in columns[0]}


def cumulated(score, label, weights):
    """The T distinct scores, falling, and how many faces and positives have at least each: (R, T + 1), from 0 on.

    score: (N,); label: (N,) bool; weights: (R, N)
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores form one step
    weight = weights[:, order]
    above, positive = (np.cumsum(part, axis=-1)[:, ends] for part in (weight, weight * label[order]))
    return score[order][ends], *(np.pad(part, ((0, 0), (1, 0))) for part in (above, positive))


def curve(score, label):
    """True and false positives over falling thresholds: score (N,), label (N,) bool -> two arrays (T + 1,), from 0 on.

    Equal scores are one step, so T is the number of distinct scores. Points of ROC and precision-recall curves.
    """
    _, above, positive = cumulated(score, label, np.ones((1, len(score))))
    return positive[0], (above - positive)[0]


def majority(labels):
    """Majority baseline: the accuracy of always deciding for the more frequent class, (A,)."""
    present = labels.mean(axis=0)
    return np.maximum(present, 1 - present)


def prior_shift(prior):
    """The term (A,) to add to a logit trained on balanced batches when the share of positives is `prior` (A,)."""
    return np.log(prior / (1 - prior))


# Resamples --------------------------------------------------------------------------------------------------


def resamples(groups, number, seed=0):
    """Yield bootstrap resamples of a split: counts of each face, arrays (up to AT_ONCE, N), `number` rows in total.

    groups: (N,), the number of each face's person, from 0 without gaps. As many persons as there are are drawn, each
    with all its faces; where persons are not known, each face is a group of its own.
    """
    rng, persons = np.random.RandomState(seed), int(groups.max()) + 1
    for start in range(0, number, AT_ONCE):
        rows = min(AT_ONCE, number - start)
        chosen = rng.randint(persons, size=(rows, persons)) + persons * np.arange(rows)[:, np.newaxis]
        counts = np.bincount(chosen.ravel(), minlength=rows * persons).reshape(rows, persons)
        yield counts[:, groups].astype(np.float32)


def interval(value, resampled, least=-1):
    """Ends of the 95 % interval of a measure, two arrays (...).

    value: as measured, (...); resampled: on resamples, (R, ...)

    They are percentiles of the resamples, moved so that the mean of these lies at the measured value. Thresholds that
    are tuned on resampled faces are a little worse than those tuned on the faces themselves, and average precision a
    little better: plain percentiles would miss the true value at one side too often, and the bias-corrected ones of
    Efron (1981), which move twice as far, at the other (docs/evaluation.md).

    least: of the measure, 0, or of a difference, -1; NaN where the measure is not defined
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of measures that are not defined in any resample
        ends = np.nanquantile(resampled, [0.025, 0.975], axis=0)
        low, high = np.clip(ends + value - np.nanmean(resampled, axis=0), least, 1)
    return np.minimum(low, value), np.maximum(high, value)


# Regions ----------------------------------------------------------------------------------------------------


def area(boxes):
    """Areas of boxes (..., 4) x1 y1 x2 y2; 0 for empty or reversed ones."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def intersection(found, true):
    """Areas of the intersections of boxes (..., 4)."""
    low = np.maximum(found[..., :2], true[..., :2])
    high = np.minimum(found[..., 2:], true[..., 2:])
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
