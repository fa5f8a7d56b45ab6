"""Look at every image once before anything is written: is it usable, and does the same one stand in two splits?"""

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.geometry import patch
from data_prep.sources.source import DIGEST, SPLITS, content_hash
from data_prep.store.databases import in_order
from data_prep.store.manifest import Means


def digests(source, members, workers):
    """Content hashes of images, (len(members), 16) uint8, and their size in bytes together.

    source: Source, opened; members: numbers of images
    Raises DataError for the first image that cannot be used, naming it and its row.
    """

    def digest(index):
        data = source.checked(index)[1]
        return content_hash(data), len(data)

    hashes, total = bytearray(), 0
    bar = tqdm(total=len(members), desc="looking at images", unit="image", disable=None)
    with bar:
        for hash_, size in in_order(digest, members, workers):
            hashes += hash_
            total += size
            bar.update()
    return np.frombuffer(hashes, dtype=np.uint8).reshape(-1, DIGEST), total


def duplicates(hashes, parts):
    """Pairs of places (of the hashes) of equal images in different splits, the earlier split first.

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
    """Places of the training images whose content the validation or test split holds too, all of them, ascending."""
    words = np.ascontiguousarray(hashes).view("V16").ravel()
    held_out = set(words[parts != SPLITS["train"]].tolist())
    return [place for place in np.flatnonzero(parts == SPLITS["train"]) if words[place].tobytes() in held_out]


def describe(source, pair, members, parts):
    """One pair of duplicates in words."""
    names = list(SPLITS)
    return " and ".join(f"{source.names[members[place]]} ({names[parts[place]]})" for place in pair)


def mean_pixel(source, members, workers, most=500):
    """The Means over the centre patches of up to `most` of the images `members`, evenly chosen."""
    chosen = members[np.linspace(0, len(members) - 1, min(most, len(members))).astype(int)]
    means = list(in_order(lambda index: cv2.mean(patch(source.face(index)))[:3], chosen, workers))
    return Means(len(chosen), np.mean(means, axis=0).round(3).tolist())
