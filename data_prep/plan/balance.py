"""Balanced or natural batches (section 3.4.1): which images the training data holds in which order, how cropped.

Pure arithmetic on labels; no image is read here. Both forms of the training data follow the same plan: the stream
stores its first rounds, and the layer BalancedData asks for its batches one by one.
"""

import numpy as np

from data_prep.errors import DataError
from data_prep.geometry import FACE_SIZE

# The patch's centre moves by up to 5 % of height and width.
LARGEST_SHIFT = int(0.05 * FACE_SIZE)

# One training record: image number, label, shift of the patch (dx, dy) in pixels of the face, mirrored or not.
SAMPLE = np.dtype([("image", "<i4"), ("label", "u1"), ("dx", "i1"), ("dy", "i1"), ("mirror", "u1")])


def augmented(augment, labels):
    """Whether images of one attribute are shifted and mirrored, (N,) bool. labels: (N,) bool."""
    smaller = (labels.sum() * 2 <= len(labels)) == labels
    return {"both": smaller | True, "minority": smaller, "none": smaller & False}[augment]


class Plan:
    """The endless sequence of training samples that a seed determines.

    Balanced sampling: each class (absent, present) of each attribute has a sequence of its own, which is all its images
    in random order, then all of them in another order, and so on; where the class is augmented, each is shifted and
    mirrored anew every time. A round takes the next sample of each sequence: negatives of all attributes, then
    positives. Natural sampling (the ablation): each attribute has one such sequence of all images, and a round takes
    two samples from it.

    labels: (N, A) bool, of the training images; attributes: their A names
    seed: determines the whole sequence, the same on every version of NumPy
    augment: class whose patches are shifted and mirrored: "both" (the default), "minority" (the paper) or "none"
    sampling: "balanced" (1:1, the paper) or "natural" (each class at its own frequency)
    Raises DataError for an attribute with only one class.
    """

    def __init__(self, labels, attributes, seed, augment="both", sampling="balanced"):
        present = labels.sum(axis=0)
        for name, positives in zip(attributes, present):
            if positives in (0, len(labels)):
                kind = "positive" if positives else "negative"
                raise DataError(f"{name}: all {len(labels)} training images are {kind}")
        self.attributes = len(attributes)
        self.balanced = sampling == "balanced"
        self.largest = int(np.maximum(present, len(labels) - present).max())
        if not self.balanced:
            self.largest = (len(labels) + 1) // 2
        self._sequences = []
        for label in (0, 1) if self.balanced else (None,):
            for attribute, column in enumerate(labels.T):
                moves = augmented(augment, column)
                members = np.flatnonzero(column == bool(label)) if self.balanced else np.arange(len(labels))
                seeds = [seed, attribute, label or 0]
                self._sequences.append(_Sequence(members.astype(np.int32), column[members], seeds, moves[members]))

    def rounds(self, start, stop):
        """Rounds start ... stop - 1, (stop - start, 2, A) of SAMPLE; flattened, image i of attribute a is i * A + a."""
        samples = np.empty((stop - start, 2, self.attributes), SAMPLE)
        flat = samples.reshape(stop - start, -1)
        for column, sequence in enumerate(self._sequences):
            if self.balanced:
                flat[:, column] = sequence.take(start, stop)
            else:
                samples[:, :, column] = sequence.take(2 * start, 2 * stop).reshape(-1, 2)
        return samples

    def batch(self, number, size):
        """The samples of batch `number`, (size * A,) of SAMPLE; size: images per attribute, an even number."""
        return self.rounds(number * size // 2, (number + 1) * size // 2).reshape(-1)


class _Sequence:
    """The endless sequence of samples of some images, each with its label and whether it is shifted and mirrored."""

    def __init__(self, members, labels, seed, moves):
        self.members, self.labels, self.seed, self.moves = members, labels, seed, moves
        self._number = None

    def take(self, start, stop):
        pieces = []
        size = len(self.members)
        while start < stop:
            number, place = divmod(start, size)
            end = min(stop - number * size, size)
            pieces.append(self._pass(number)[place:end])
            start = number * size + end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _pass(self, number):
        """The samples of one pass over all images; the last one is cached."""
        if self._number != number:
            # Raw bits, because NumPy guarantees only them to stay the same in later versions.
            bits = np.random.PCG64([*self.seed, number])
            size, span = len(self.members), 2 * LARGEST_SHIFT + 1
            samples = np.zeros(size, SAMPLE)
            order = np.argsort(bits.random_raw(size), kind="stable")
            samples["image"], samples["label"] = self.members[order], self.labels[order]
            moves = self.moves[order]
            if moves.any():
                raw = bits.random_raw(size)
                samples["dx"] = ((raw % span).astype(np.int64) - LARGEST_SHIFT) * moves
                samples["dy"] = ((raw // span % span).astype(np.int64) - LARGEST_SHIFT) * moves
                samples["mirror"] = raw // span**2 % 2 * moves
            self._number, self._samples = number, samples
        return self._samples


def interleave(samples, solvers):
    """The order of rounds (n, 2, A) of SAMPLE in the stream for S solvers: (M,) of SAMPLE.

    Caffe gives record r to solver r mod S; in this order solver s gets the rounds s, s + S, ... whole. Rounds at the
    end that do not suffice for all solvers are left out.
    """
    rounds, _, attributes = samples.shape
    rows = rounds // solvers
    return samples[: rows * solvers].reshape(rows, solvers, 2, attributes).transpose(0, 2, 3, 1).reshape(-1)
