"""A data set of the user's own: a CSV file with an image and its labels in every row.

    image,person,split,Smiling,Wears_Mask
    photos/0001.jpg,17,train,1,0
    photos/0002.jpg,17,train,0,0

The first row names the columns. The column `image` (or the first one) holds the path of an image relative to the CSV
file. Every other column is an attribute, 1 for present, 0 (or -1) for absent, except two optional ones:
split   train, val or test (or 0, 1, 2). Without it the images are split 80 : 10 : 10 by the seed.
person  any text; a seeded split keeps all images of one person in one part.
"""

import numpy as np

from data_prep.errors import DataError
from data_prep.sources import tables
from data_prep.sources.celeba import BOXES, read_boxes
from data_prep.sources.images import Images
from data_prep.sources.source import Source
from data_prep.sources.splits import stratified
from data_prep.store.image_list import SPLITS

IMAGE, SPLIT, PERSON = "image", "split", "person"
_PARTS = {**SPLITS, **{str(part): part for part in SPLITS.values()}}


def read(path, settings):
    """A Source from a CSV file; arguments as of sources.opening. Raises DataError."""
    place = path.parent / settings.images if settings.images else path.parent
    if not place.exists():
        raise DataError(f"{place}: no such folder, zip or tar with the images of {path.name}")
    table = read_table(path)
    persons = table.texts.get(PERSON)
    if SPLIT in table.texts:
        partition = _partition(table, path)
    else:
        # Where the person is not known, an image is a group of its own; no person's text begins like this.
        groups = [person or f"\n{name}" for person, name in zip(persons, table.names)] if persons else table.names
        partition = stratified(groups, table.labels, settings.seed, path)
    return Source(
        **vars(table),
        kind="csv",
        path=path,
        partition=partition,
        images=Images(place),
        files=[path],
        boxes=read_boxes(path.parent / BOXES),
        persons=persons,
        settings=settings,
    )


def read_table(path):
    """The tables.Table of a CSV file. Raises DataError."""
    lines = tables.lines_of(path)
    _, header = next(lines, (1, []))
    header = [name.lower() if name.lower() in (IMAGE, SPLIT, PERSON) else name for name in header]
    for name in (IMAGE, SPLIT, PERSON):
        if header.count(name) > 1:
            raise DataError(f"{path}:1: column {name!r} occurs twice")
    image = header.index(IMAGE) if IMAGE in header else 0
    if IMAGE not in header and len(header) > 1 and all(name in ("0", "1", "-1") for name in header[1:]):
        raise DataError(f"{path}:1: the first row must name the columns, such as image,Smiling; it holds labels")
    return tables.read(path, header, lines, image, (SPLIT, PERSON), spellings=(), key=_key)


def _key(path):
    """The name by which an image is identified: its path with forward slashes and without a leading ./"""
    return "/".join(part for part in path.strip().replace("\\", "/").split("/") if part != ".")


def _partition(table, path):
    words = table.texts[SPLIT]
    parts = [_PARTS.get(word.lower()) for word in words]
    if None in parts:
        place = parts.index(None)
        raise DataError(
            f"{path}:{table.rows[place]}: split {words[place][:40]!r}; splits are train, val, test or 0, 1, 2"
        )
    return np.array(parts, np.uint8)
