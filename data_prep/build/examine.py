"""Look at every image once before anything is written: is it usable, and does the same one stand in two splits?"""

import hashlib

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.store.databases import in_order
from data_prep.geometry import face, patch
from data_prep.sources.source import SPLITS

DIGEST = 16  # bytes


def digests(source, members, workers):
    """Content hashes of images, (len(members), 16) uint8, and their size in bytes together.

    source: Source, opened; members: numbers of images
    Raises DataError for the first image that cannot be used, naming it and its row.
    """

    def digest(index):
        data = source.checked(index)[1]
        return hashlib.blake2b(data, digest_size=DIGEST).digest(), len(data)

    found, total = bytearray(), 0
    bar = tqdm(total=len(members), desc="looking at images", unit="image", disable=None)
    with bar:
        for digest_, size in in_order(digest, members, workers):
            found += digest_
            total += size
            bar.update()
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, DIGEST), total


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


def describe(source, pair, members, parts):
    """One pair of duplicates in words."""
    names = list(SPLITS)
    return " and ".join(f"{source.names[members[place]]} ({names[parts[place]]})" for place in pair)


def mean_pixel(source, members, workers, sample=500):
    """Mean B, G, R over the centre patches of up to `sample` of the images `members`, evenly chosen."""
    chosen = members[np.linspace(0, len(members) - 1, min(sample, len(members))).astype(int)]
    means = list(in_order(lambda index: cv2.mean(patch(face(source.image(index))))[:3], chosen, workers))
    return {"faces": len(chosen), "bgr": np.mean(means, axis=0).round(3).tolist()}
