"""How right decisions and regions are; arrays in, numbers out."""

import numpy as np


def accuracy(decisions, labels):
    """Share of right decisions per attribute: (N, A) bool each -> (A,)."""
    return (decisions == labels).mean(axis=0)


def balanced_accuracy(decisions, labels):
    """Mean of the shares of right decisions among positives and among negatives, (A,); NaN without both."""
    with np.errstate(invalid="ignore"):
        present = (decisions & labels).sum(axis=0) / labels.sum(axis=0)
        absent = (~decisions & ~labels).sum(axis=0) / (~labels).sum(axis=0)
    return (present + absent) / 2


def majority(labels):
    """Accuracy of always giving the commoner answer, (A,)."""
    share = labels.mean(axis=0)
    return np.maximum(share, 1 - share)


def prior_shift(prior):
    """What to add to a logit trained on balanced batches where positives have share `prior`, (A,)."""
    return np.log(prior / (1 - prior))


def area(boxes):
    """Areas of boxes (..., 4) x1 y1 x2 y2; 0 for empty or reversed ones."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def intersection(one, other):
    """Areas that boxes (..., 4) share."""
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:], other[..., 2:])
    return area(np.concatenate([low, high], axis=-1))


def overlap(found, true):
    """Intersection over union of boxes (..., 4)."""
    shared = intersection(found, true)
    return shared / (area(found) + area(true) - shared)


def coverage(found, true):
    """Share of the true box that the found one covers."""
    return intersection(found, true) / area(true)
