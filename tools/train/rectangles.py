"""From what task one sees in training faces to the rectangle of each response point: arithmetic, no Caffe.

The evidence for an attribute at a place is the mean gradient of the score of the points that fire, on positive faces,
times the difference of the mean positive and the mean negative activation there, summed over channels: to first
order, how much of the score a mean negative face would gain there by becoming a mean positive one. It is large where
the classes differ and task one makes use of it. It is taken on pool1, whose cells are 8 pixels wide, and interpolated
to cells half as wide; its rectangle is that of Kulldorff's spatial scan statistic (1997), which has no size to be set.
"""

import cv2
import numpy as np

from models import table1
from python_layers import receptive_field
from python_layers.regions import theoretical_rectangles

BLOB, NEXT_LAYER = (row.name for row in table1.SHARED[1:3])  # pool1, and what computes from it
POINTS = table1.RESPONSE_SIZE**2


class Evidence:
    """Sums over training faces from which the evidence of each response point follows.

    add_faces and add_gradients: batches of faces; maps: the evidence
    """

    def __init__(self, attributes, channels, size):
        # Row POINTS is over all positive faces, the others over those for which a point fires. Rows that no face
        # adds to take no memory.
        self.gradients = np.zeros((attributes, POINTS + 1, channels, size, size), np.float32)
        self.firings = np.zeros((attributes, POINTS + 1), int)
        # Index 0 is of negative faces, 1 of positive ones.
        self.activations = np.zeros((2, attributes, channels, size, size))
        self.faces = np.zeros((2, attributes), int)

    def add_faces(self, activation, positive):
        """Add the activation (b, A, C, H, W) of faces, positive (b, A) or not."""
        for place, chosen in enumerate((~positive, positive)):
            self.activations[place] += np.einsum("ba,bachw->achw", chosen, activation)
            self.faces[place] += chosen.sum(axis=0)

    def add_gradients(self, gradient, fired):
        """Add the gradient (b, A, C, H, W) of the mean score of the points that fire (b, A, 16) on positive faces."""
        for face, attribute in zip(*np.nonzero(fired.any(axis=-1))):
            for row in [*np.flatnonzero(fired[face, attribute]), POINTS]:
                self.gradients[attribute, row] += gradient[face, attribute]
                self.firings[attribute, row] += 1

    def maps(self):
        """Evidence (A, 17, H, W) >= 0, each map summing to 1 (0 where there is none); row 16 is over all faces.

        Maps are symmetric: a mirrored face has the same labels, so evidence at one side counts at the other side too.
        Task one may look at one side only.
        """
        faces = np.maximum(self.faces, 1)[..., np.newaxis, np.newaxis, np.newaxis]
        negative, positive = both_sides(self.activations) / faces
        gained = np.einsum("apchw,achw->aphw", self.gradients, positive - negative)
        gained = np.maximum(both_sides(gained), 0)
        return gained / np.maximum(gained.sum(axis=(2, 3), keepdims=True), 1e-12)


def both_sides(maps):
    """Maps (..., W) plus their mirror images."""
    return maps + maps[..., ::-1]


def scan_rectangles(maps):
    """The rectangle of each map (N, H, W) >= 0 that stands out most: (N, 4), x1, y1, x2, y2 in cells, half-open.

    The most likely cluster of Kulldorff's scan statistic: with a share s of the mass on a share f of the cells, that
    with the largest s log(s / f) + (1 - s) log((1 - s) / (1 - f)) where s > f. The whole map where none stands out.
    """
    (count, height, width), rows = maps.shape, np.arange(len(maps))
    tables = np.stack([cv2.integral(mass / max(mass.sum(), 1e-12)) for mass in maps])
    most, best = np.zeros(count), np.tile([0, 0, width, height], (count, 1))
    for high in range(1, height + 1):
        band = tables[:, high:] - tables[:, :-high]
        for wide in range(1, width + 1):
            sums = band[:, :, wide:] - band[:, :, :-wide]
            places = sums.reshape(count, -1).argmax(axis=1)  # of equal sizes, the most mass is the most likely
            y, x = np.unravel_index(places, sums.shape[1:])
            cells, inside = high * wide / (height * width), np.minimum(sums[rows, y, x], 1 - 1e-9)
            above = np.flatnonzero(inside > cells + 1e-8)
            share = inside[above]
            likelihood = share * np.log(share / cells) + (1 - share) * np.log((1 - share) / (1 - cells))
            more = likelihood > most[above]
            better = above[more]
            most[better] = likelihood[more]
            best[better] = np.stack([x, y, x + wide, y + high], axis=1)[better]
    return best


def outstanding(maps):
    """The rectangle of each map of evidence (N, H, W) on pool1 that stands out most, in conv3 cells: (N, 4)."""
    finer = [cv2.resize(mass, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR) for mass in maps]
    return to_conv3(scan_rectangles(np.stack(finer)) / 2)


def to_conv3(rectangles):
    """Rectangles (..., 4) in cells of the 27 x 27 maps as ones in cells of conv3, clipped to its map."""
    paths = table1.SHARED[:2], (*table1.SHARED, table1.CONV3)
    (size, fine, first), (coarse_size, coarse, origin) = map(receptive_field.field, paths)
    # From the centre of the first receptive field of conv3 on, in pixels; edges lie half-way between centres.
    edges = first + size / 2 - origin - coarse_size / 2 + fine * (np.asarray(rectangles, float) - 0.5)
    return np.clip(edges / coarse + 0.5, 0, table1.MAP_SIZE)


def of_points(kind, maps, firings, min_firings, seed):
    """Rectangles (A, 4, 4, 4) of the response points in conv3 cells.

    kind: "measured"; "theoretical", the receptive fields; or a control with which to see what regions are worth:
    "whole", the whole map; "other", the measured rectangles of the next attribute; "random", for all points of an
    attribute one rectangle of its measured size at a random place, by the seed
    maps, firings, min_firings: as of `measured`; maps and firings of the first two controls only tell the number A
    Raises ValueError for "other" with one attribute.
    """
    if kind == "theoretical":
        return np.tile(theoretical_rectangles(), (len(firings), 1, 1, 1))
    if kind == "whole":
        return np.tile([0.0, 0.0, table1.MAP_SIZE, table1.MAP_SIZE], (len(firings), *2 * [table1.RESPONSE_SIZE], 1))
    found = measured(maps, firings, min_firings)
    if kind == "other":
        if len(found) == 1:
            raise ValueError("rectangles of another attribute need at least two attributes")
        return np.roll(found, -1, axis=0)
    for attribute, own in enumerate(found if kind == "random" else ()):
        (of_attribute,) = outstanding(maps[attribute, POINTS:])
        size = of_attribute[2:] - of_attribute[:2]
        # Raw bits, because NumPy guarantees only them to stay the same in later versions.
        low = np.random.PCG64([seed, attribute]).random_raw(2) / 2.0**64 * (table1.MAP_SIZE - size)
        own[...] = np.concatenate([low, low + size])
    return found


def measured(maps, firings, min_firings):
    """Rectangles (A, 4, 4, 4) of the response points in conv3 cells.

    maps: (A, 17, H, W), evidence as Evidence.maps gives it; firings: faces of each (A, 17). A point has the rectangle
    of the mean of its own map and the attribute's, and below min_firings faces that of the attribute's. An attribute
    below min_firings faces, or without any evidence, keeps the receptive fields.
    """
    found = np.tile(theoretical_rectangles().reshape(POINTS, 4), (len(maps), 1, 1))
    for attribute, own in enumerate(maps):
        if firings[attribute, POINTS] < min_firings or not own[POINTS].any():
            continue
        points = np.flatnonzero(firings[attribute, :POINTS] >= min_firings)
        boxes = outstanding(np.stack([own[POINTS], *(own[points] + own[POINTS])]))
        found[attribute] = boxes[0]
        found[attribute, points] = boxes[1:]
    return found.reshape(len(maps), table1.RESPONSE_SIZE, table1.RESPONSE_SIZE, 4)
