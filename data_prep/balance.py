"""Balanced batches (section 3.4.1): which image stands where in the training data, and how it is cut.

Pure arithmetic on labels; no image is read here. One plan serves both forms of the training data: the stream is its
first turns written down, BalancedData asks it for batch after batch.
"""

import numpy as np

from data_prep.faces import FACE_SIZE
from data_prep.images import DataError

# The patch's centre moves by up to 5 % of height and width.
LARGEST_SHIFT = int(0.05 * FACE_SIZE)
AUGMENT = ("minority", "both", "none")

# One training record: image number, label, patch shifted by (dx, dy) pixels of the face, mirrored or not.
DRAW = np.dtype([("image", "<i4"), ("label", "u1"), ("dx", "i1"), ("dy", "i1"), ("mirror", "u1")])


class Plan:
    """The endless balanced sequence of draws that a seed stands for.

    Each class (absent, present) of each attribute has a sequence of its own: all its images in a random order, then all
    in another, and so on, each time newly shifted and mirrored where its class is augmented. A turn takes the next draw
    of all of them: negatives of all attributes, then positives.

    labels: (N, A) bool, of the training images; attributes: their A names
    seed: everything follows from it, on every version of NumPy
    augment: class whose patches are shifted and mirrored: "both" (the default), "minority" (the paper) or "none"
    Raises DataError for an attribute with one class only.
    """

    def __init__(self, labels, attributes, seed, augment="both"):
        present = labels.sum(axis=0)
        for name, positives in zip(attributes, present):
            if positives in (0, len(labels)):
                kind = "positive" if positives else "negative"
                raise DataError(f"{name}: all {len(labels)} training images are {kind}")
        self.attributes = len(attributes)
        self.largest = int(np.maximum(present, len(labels) - present).max())
        self._classes = []
        for label in (0, 1):
            for attribute in range(self.attributes):
                smaller = (present[attribute] * 2 <= len(labels)) == label
                moves = augment == "both" or (augment == "minority" and smaller)
                members = np.flatnonzero(labels[:, attribute] == bool(label)).astype(np.int32)
                self._classes.append(_Class(members, label, [seed, attribute, label], moves))

    def turns(self, start, stop):
        """Turns start ... stop - 1: (stop - start, 2, A) of DRAW. Flat, record i * A + a is image i of attribute a."""
        draws = np.empty((stop - start, 2, self.attributes), DRAW)
        flat = draws.reshape(stop - start, -1)
        for column, sequence in enumerate(self._classes):
            flat[:, column] = sequence.take(start, stop)
        return draws

    def batch(self, number, size):
        """The draws of batch `number`, size images per attribute (even): (size * A,) of DRAW."""
        return self.turns(number * size // 2, (number + 1) * size // 2).reshape(-1)


class _Class:
    """The endless sequence of draws of one class of one attribute."""

    def __init__(self, members, label, seed, moves):
        self.members, self.label, self.seed, self.moves = members, label, seed, moves
        self._number = None

    def take(self, start, stop):
        pieces = []
        size = len(self.members)
        while start < stop:
            number, place = divmod(start, size)
            end = min(stop - number * size, size)
            pieces.append(self._round(number)[place:end])
            start = number * size + end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _round(self, number):
        """All draws of one round, kept until another is asked for."""
        if self._number != number:
            # Raw bits, because they alone are promised to stay the same from one NumPy to the next.
            bits = np.random.PCG64([*self.seed, number])
            size, span = len(self.members), 2 * LARGEST_SHIFT + 1
            draws = np.zeros(size, DRAW)
            draws["image"] = self.members[np.argsort(bits.random_raw(size), kind="stable")]
            draws["label"] = self.label
            if self.moves:
                raw = bits.random_raw(size)
                draws["dx"] = (raw % span).astype(np.int64) - LARGEST_SHIFT
                draws["dy"] = (raw // span % span).astype(np.int64) - LARGEST_SHIFT
                draws["mirror"] = raw // span**2 % 2
            self._number, self._draws = number, draws
        return self._draws


def interleave(draws, solvers):
    """The stream (turns, 2, A) of draws for S solvers, of which Caffe hands record r to solver r mod S: (M,) of DRAW.

    Turn t goes to solver t mod S; turns that do not fill a row of all solvers are left out.
    """
    turns, _, attributes = draws.shape
    rows = turns // solvers
    if solvers == 1:
        return draws.reshape(-1)
    return draws[: rows * solvers].reshape(rows, solvers, 2, attributes).transpose(0, 2, 3, 1).reshape(-1)
