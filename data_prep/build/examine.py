"""Examining all images of a data set before anything is written: whether they can be used, and which are equal."""

import collections

import numpy as np
from tqdm import tqdm

from data_prep import image_files
from data_prep.faces.aligner import Framing, NoFace
from data_prep.sources.source import content_hash
from data_prep.threads import in_order

SEARCHED = 24  # images that a CSV file takes as aligned, of which it is checked
REMEDY = "find and align the faces with --detect, or take all images as aligned with --frame none"


# What was found: hashes, N texts, of the images' content; size, of all images in bytes; without_face, dict number
# -> reason, of the images that `detect` left out.
Examined = collections.namedtuple("Examined", "hashes size without_face")


def examine(source):
    """Examine all images of an opened Source: Examined. Raises DataError for the first that cannot be used."""

    def look(index):
        data, reason = source.read(index), None
        try:
            source.stored(index, data)
        except NoFace as error:
            reason = str(error)
        header = image_files.header(data)
        return content_hash(data), len(data), reason, (header.width, header.height)

    results = in_order(look, range(len(source.names)))
    bar = tqdm(results, total=len(source.names), desc="examining images", unit="image", disable=None)
    hashes, lengths, reasons, sizes = zip(*bar)
    if source.kind == "csv" and source.settings.frame == "auto" and not source.aligner:
        check_aligned(source, sizes)
    return Examined(hashes, sum(lengths), {index: reason for index, reason in enumerate(reasons) if reason})


def check_aligned(source, sizes):
    """Raise DataError if images of a CSV file are not aligned faces: of several sizes, or by the eyes in some of them.

    sizes: (width, height) of all images. Without this check a few photos among aligned faces would be trained on.
    """
    (usual, _), *others = collections.Counter(sizes).most_common()
    if others:
        odd = next(index for index, size in enumerate(sizes) if size != usual)
        what = f"{sizes[odd][0]} x {sizes[odd][1]} pixels, others have {usual[0]} x {usual[1]}, so these are photos"
        raise source.error(odd, f"{what}, not aligned faces; {REMEDY}")
    chosen = np.unique(np.linspace(0, len(source.names) - 1, SEARCHED).astype(int)).tolist()
    framing = Framing(source.frame)
    odd = [index for index in chosen if framing(source.image(index)).warning]
    if len(odd) > len(chosen) / 4:
        where = "given with --eyes" if source.frame else "of aligned faces"
        what = f"the eyes are not at the positions {where}, in {len(odd)} of {len(chosen)} images that were looked at"
        raise source.error(odd[0], f"{what}; {REMEDY}")


def repeated(hashes, parts):
    """Pairs of equal images, the first of which is in an earlier split (TRAIN, VAL, TEST) than the second.

    hashes: N texts; parts: (N,). Every image that is in a later split too is the first of one pair.
    """
    last = {hashes[index]: int(index) for index in np.argsort(parts, kind="stable")}
    pairs = ((first, last[content]) for first, content in enumerate(hashes))
    return [(first, second) for first, second in pairs if parts[first] < parts[second]]
