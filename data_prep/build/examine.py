"""Examine every image before anything is written: is it usable, and is an equal image in another split?"""

import numpy as np
from tqdm import tqdm

from data_prep.sources.source import DIGEST, SPLITS, content_hash
from data_prep.store.databases import in_order


def digests(source, members, workers):
    """Content hashes of images, (len(members), 16) uint8, and their total size in bytes.

    source: an opened Source; members: numbers of images
    Raises DataError for the first image that cannot be used, naming it and its row.
    """

    def digest(index):
        data = source.checked(index)[1]
        return content_hash(data), len(data)

    hashes, total = bytearray(), 0
    bar = tqdm(total=len(members), desc="examining images", unit="image", disable=None)
    with bar:
        for hash_, size in in_order(digest, members, workers):
            hashes += hash_
            total += size
            bar.update()
    return np.frombuffer(hashes, dtype=np.uint8).reshape(-1, DIGEST), total


def duplicates(hashes, parts):
    """Pairs of equal images in different splits, as indices into `hashes`, the earlier split first.

    hashes: (M, 16) uint8; parts: (M,) of TRAIN, VAL, TEST
    """
    words = np.ascontiguousarray(hashes).view("V16").ravel()
    _, group, sizes = np.unique(words, return_inverse=True, return_counts=True)
    several = np.flatnonzero(sizes[group] > 1)
    several = several[np.lexsort((several, parts[several], group[several]))]
    pairs, first = [], None
    for place in several:
        if first is None or group[first] != group[place]:
            first = place
        elif parts[first] != parts[place]:
            pairs.append((int(first), int(place)))
    return pairs


def in_training(hashes, parts):
    """Indices, ascending, of all training images whose content is also in the validation or test split."""
    words = np.ascontiguousarray(hashes).view("V16").ravel()
    held_out = set(words[parts != SPLITS["train"]].tolist())
    return [place for place in np.flatnonzero(parts == SPLITS["train"]) if words[place].tobytes() in held_out]


def describe(source, pair, members, parts):
    """One pair of duplicates in words."""
    names = list(SPLITS)
    return " and ".join(f"{source.names[members[place]]} ({names[parts[place]]})" for place in pair)
