"""Balanced batches (section 3.4.1): which image stands where in the training stream, and how it is cut.

Pure arithmetic on labels; no image is read here.
"""

import collections

import numpy as np

from data_prep.celeba import DataError
from data_prep.faces import FACE_SIZE

# The patch's centre moves by up to 5 % of height and width.
LARGEST_SHIFT = int(0.05 * FACE_SIZE)
AUGMENT = ("minority", "both", "none")

# One training record: image number, label, patch shifted by (dx, dy) pixels of the face, mirrored or not.
Draw = collections.namedtuple("Draw", "image label dx dy mirror")


def plan(labels, attributes, records, seed, augment="minority"):
    """The training stream: record i * A + a is image i of attribute a, negatives and positives in turn.

    labels: (N, A) bool, of the training images; attributes: their A names
    records: images per attribute and class; fewer when no class of any attribute has as many
    seed: everything follows from it
    augment: class whose patches are shifted and mirrored: "minority" (the paper), "both" or "none"
    Yields Draw tuples, 2 A records in all. An image comes again only when all of its class have come.
    Raises DataError for an attribute with one class only.
    """
    present = labels.sum(axis=0)
    for name, positives in zip(attributes, present):
        if positives in (0, len(labels)):
            raise DataError(f"{name}: all {len(labels)} training images are {'posi' if positives else 'nega'}tive")
    records = min(records, int(np.maximum(present, len(labels) - present).max()))
    streams = []
    for attribute in range(len(attributes)):
        smaller = present[attribute] * 2 <= len(labels)
        for label in (False, True):
            rng = np.random.default_rng([seed, attribute, int(label)])
            members = np.flatnonzero(labels[:, attribute] == label)
            rounds = -(-records // len(members))
            images = np.concatenate([rng.permutation(members) for _ in range(rounds)])[:records]
            moved = augment == "both" or (augment == "minority" and label == smaller)
            shifts = rng.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, (records, 2)) * moved
            mirrors = rng.integers(0, 2, records).astype(bool) & moved
            streams.append((images, shifts, mirrors))
    for turn in range(records):
        for label in (0, 1):
            for attribute in range(len(attributes)):
                images, shifts, mirrors = streams[2 * attribute + label]
                yield Draw(int(images[turn]), label, *map(int, shifts[turn]), bool(mirrors[turn]))
