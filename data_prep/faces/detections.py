"""What a face detector gives, whichever it is, and how detections that overlap are thinned out."""

import collections

import numpy as np

# boxes: (n, 4) x1 y1 x2 y2; scores: (n,) in [0, 1]; landmarks: (n, 5, 2): left and right eye as seen, nose, left and
# right mouth corner. All in pixels of the searched image, whose first pixel covers [0, 1).
Detections = collections.namedtuple("Detections", "boxes scores landmarks")


def chosen(detections, places):
    """The detections at these places."""
    return Detections(*(values[places] for values in detections))


def joined(several):
    """Several Detections of one detector as one."""
    return Detections(*map(np.concatenate, zip(*several)))


def suppress(boxes, scores, limit, of_smaller=False):
    """Indices of the boxes that no better one overlaps, the best first (non-maximum suppression).

    boxes: (n, 4); scores: (n,); limit: the largest IoU of two boxes that are both kept; with of_smaller, the
    largest intersection over the area of the smaller one
    """
    order, kept = np.argsort(-scores, kind="stable"), []
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - shared
        order = order[shared <= limit * np.maximum(whole, 1e-9)]
    return np.array(kept, int)
