"""Seeded splits of a data set that has none: whole persons, and every attribute in all parts as far as they allow."""

import numpy as np

from data_prep.errors import DataError
from data_prep.store.image_list import SPLITS

TRAIN, VAL, TEST = SPLITS.values()
SHARES = {TRAIN: 0.8, VAL: 0.1, TEST: 0.1}


def seeded_order(count, *seeds):
    """A random order of `count` things, (count,), the same with every version of NumPy."""
    # Raw bits, because NumPy guarantees only them to stay the same in later versions.
    return np.argsort(np.random.PCG64(seeds).random_raw(count), kind="stable")


def stratified(groups, labels, seed, where="the data set"):
    """Split images by SHARES: (N,) of TRAIN, VAL, TEST.

    groups: (N,), equal for images that stay together; labels: (N, A) bool, whose shares of positives are kept as far as
    the groups allow (iterative stratification, Sechidis et al. 2011): the attribute with the fewest images left is
    divided first, each group goes where most of that attribute's images are still wanted
    Raises DataError if there are fewer than three groups.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    group = group.ravel()
    count = group.max() + 1
    if count < 3:
        raise DataError(f"{where}: {count} images or people are too few to split; give a column 'split'")
    # Per group its images with each attribute, and all of them in the last column.
    holds = np.zeros((count, labels.shape[1] + 1), np.int64)
    np.add.at(holds, group, np.column_stack([labels, np.ones(len(labels), bool)]))
    order = seeded_order(count, seed, count)
    holds = holds[order]
    parts, shares = np.full(count, 255, np.uint8), np.array(list(SHARES.values()))
    wanted = shares[:, np.newaxis] * holds.sum(axis=0)
    while (left := parts == 255).any():
        rest = holds[left].sum(axis=0)
        column = min(np.flatnonzero(rest), key=rest.__getitem__)
        members = np.flatnonzero(left & (holds[:, column] > 0))
        # Large groups first, while there is still room for them.
        for member in members[np.argsort(-holds[members, column], kind="stable")]:
            part = max(SHARES, key=lambda part: (wanted[part, column], wanted[part, -1]))
            parts[member] = part
            wanted[part] -= holds[member]
    for part in (VAL, TEST):  # at least one group for each
        if not (parts == part).any():
            parts[np.flatnonzero(parts == TRAIN)[part - 1]] = part
    result = np.empty(count, np.uint8)
    result[order] = parts
    return result[group]
