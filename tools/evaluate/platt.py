"""Platt scaling (1999) of one attribute's scores, fitted to one or to many resamples of the faces at once.

sigmoid(slope * score + offset) is the probability of "present": the line has the least cross-entropy to Platt's
smoothed targets. The decision threshold follows from the line: if its probabilities are right, no other threshold has a
better expected value of the measure. A threshold chosen by its accuracy on the validation faces themselves depends on
the few faces next to it, and is less accurate (docs/evaluation.md).
"""

import numpy as np

# Faces whose scores lie in the same interval of this width, in standard deviations of the scores, are one group in fits
# to resamples. It saves time, and moves decision thresholds by far less than other faces would.
GROUP = 1 / 32
DECAY = 1e-3  # of slope and offset: scores that are all alike get a slope of 0
FLATTEST = 1e-3  # slope for scores in units of their standard deviation


def probability(score, slope, offset):
    """The probability of "present": arrays of any shapes that go together."""
    return 1 / (1 + np.exp(-np.clip(slope * score + offset, -500, 500)))


def fit(score, label, measure, weights=None):
    """Decision threshold, slope and offset, (R, 3), of R resamples of the faces, R = 1 without weights.

    score: (N,); label: (N,) bool, both classes in every resample; measure: name in metrics.MEASURES; weights: how often
    each face counts, (R, N), None for once each
    """
    if weights is None:
        faces = np.ones((1, len(score)))
        positives = faces * label
    else:
        score, faces, positives = grouped(score, label, weights)
    # In units of their standard deviation scores make Newton's step well conditioned.
    each = faces.sum(axis=0) / faces.sum()
    centre = each @ score
    spread = np.sqrt(each @ (score - centre) ** 2)
    spread = spread if spread > 1e-6 else 1.0
    inputs = (score - centre) / spread
    line = lines(inputs, faces, positives)
    # A negative slope means that the score misorders the faces: then all of them get the same decision, and nearly the
    # same probability. The slope stays positive, because higher scores mean "present" everywhere.
    present = positives.sum(axis=1) / faces.sum(axis=1)
    flat = np.stack([np.full_like(present, FLATTEST), np.log(present / (1 - present))], axis=1)
    misordered = line[:, 0] < FLATTEST
    line = np.where(misordered[:, np.newaxis], flat, line)
    cut = best_cut(probability(inputs, line[:, :1], line[:, 1:]), faces, measure)
    threshold = (np.log(cut / (1 - cut)) - line[:, 1]) / line[:, 0]
    beyond = 1000 * np.abs(inputs).max() + 1
    threshold = np.where(misordered, np.where(present > cut, -beyond, beyond), threshold)
    slope = line[:, 0] / spread
    return np.stack([centre + spread * threshold, slope, line[:, 1] - slope * centre], axis=1)


def grouped(score, label, weights):
    """Groups of nearly equal score: their mean scores (G,), and faces and positives of each resample in them (R, G)."""
    order = np.argsort(score, kind="stable")
    score, positives, weights = score[order], weights[:, order] * label[order], weights[:, order]
    group = np.floor((score - score.mean()) / (GROUP * score.std() or 1))
    starts = np.flatnonzero(np.append(True, np.diff(group) > 0))
    mean = np.add.reduceat(score, starts) / np.diff(np.append(starts, len(score)))
    return mean, np.add.reduceat(weights, starts, axis=1), np.add.reduceat(positives, starts, axis=1)


def lines(inputs, faces, positives):
    """Slope and offset (R, 2) of the least cross-entropy, by Newton's method.

    inputs: (G,); faces, positives: how many of each resample are in each group, (R, G)
    """
    positive, negative = positives.sum(axis=1), (faces - positives).sum(axis=1)
    line = np.stack([np.ones_like(positive), np.log(positive / negative)], axis=1)
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)  # Platt's targets for "present" and "absent"
    targets = high[:, np.newaxis] * positives + low[:, np.newaxis] * (faces - positives)
    powers = np.stack([inputs**2, inputs, np.ones_like(inputs)], axis=1)
    targets = targets @ powers[:, 1:]
    step, longest = np.zeros_like(line), np.full((len(line), 1), 4.0)
    for _ in range(100):
        p = probability(inputs, line[:, :1], line[:, 1:])
        gradient = (faces * p) @ powers[:, 1:] - targets + DECAY * line
        curvature = ((faces * p * (1 - p)) @ powers)[:, [0, 1, 1, 2]].reshape(-1, 2, 2) + DECAY * np.eye(2)
        wanted = np.linalg.solve(curvature, gradient[..., np.newaxis])[..., 0]
        # Steps that turn back went too far: from there on they are at most half as long.
        longest = np.where((wanted * step).sum(axis=1, keepdims=True) < 0, longest / 2, longest)
        length = np.abs(wanted).max(axis=1, keepdims=True)
        step = wanted * longest / np.maximum(length, longest)
        line = line - step
        if length.max() < 1e-6:
            break
    return line


def best_cut(p, faces, measure):
    """The probability (R,) above which "present" gives the best expected value of a measure.

    p: probability of each group, (R, G); faces: how many are in it, (R, G)
    """
    if measure == "accuracy":
        return np.full(len(p), 0.5)
    expected = (faces * p).sum(axis=1)
    if measure == "balanced_accuracy":
        return expected / faces.sum(axis=1)
    # Half of the best expected F1 (Lipton, Elkan and Narayanaswamy 2014), which has the most probable faces "present".
    order = np.argsort(-p, axis=1, kind="stable")
    present = np.cumsum(np.take_along_axis(faces, order, axis=1), axis=1)
    right = np.cumsum(np.take_along_axis(faces * p, order, axis=1), axis=1)
    return (right / (present + expected[:, np.newaxis])).max(axis=1)
