"""A data set of the user's own: a CSV file with an image and its labels in every row.

    image,person,split,Smiling,Wears_Mask
    photos/0001.jpg,17,train,1,0
    photos/0002.jpg,17,train,0,0

The first row names the columns. The column `image` (or the first one) holds the path of an image relative to the CSV
file. Every other column is an attribute, 1 for present, 0 (or -1) for absent, except two optional ones:
split   train, val or test (or 0, 1, 2). Without it the images are split 80 : 10 : 10 by the seed.
person  any text; a seeded split keeps all images of one person in one part.
"""

import csv
import pathlib

import numpy as np

from data_prep.errors import DataError
from data_prep.sources.celeba import BOXES, read_boxes
from data_prep.sources.images import open_images
from data_prep.sources.source import SPLITS, TEST, TRAIN, VAL, Source, canonical, one_spelling

IMAGE, SPLIT, PERSON = "image", "split", "person"
_PARTS = {**SPLITS, **{str(part): part for part in SPLITS.values()}}
_LABELS = {"1": 1, "0": 0, "-1": -1}
_SHARE = 0.1  # of the images, for validation and for testing each


def read(path, images=None, need_images=True, seed=0):
    """A Source from a CSV file.

    images: folder, zip or tar beside the CSV file that the paths are relative to; None for the CSV file's own folder
    need_images: if False, missing images are no error, and the Source's `images` is then None
    seed: seed of the split, used if the file has no column `split`
    Raises DataError.
    """
    path = pathlib.Path(path)
    place = path.parent / images if images else path.parent
    if not place.exists() and need_images:
        raise DataError(f"{place}: no such folder, zip or tar with the images of {path.name}")
    header, rows, numbers = _rows(path)
    image_column = header.index(IMAGE) if IMAGE in header else 0
    others = [column for column, name in enumerate(header) if column != image_column and name not in (SPLIT, PERSON)]
    attributes = canonical([header[column] for column in others], f"{path}:1", spellings=())
    if not attributes:
        raise DataError(f"{path}:1: no column of labels; each attribute needs a column beside that of the images")
    names = _names([row[image_column] for row in rows], path, numbers)
    labels = _labels(rows, others, attributes, path, numbers)
    person = [row[header.index(PERSON)].strip() for row in rows] if PERSON in header else None
    if SPLIT in header:
        partition = _partition([row[header.index(SPLIT)] for row in rows], path, numbers)
    else:
        partition = seeded_split(person or names, seed, path)
    boxes = path.parent / BOXES
    return Source(
        "csv",
        path,
        names,
        attributes,
        labels,
        partition,
        open_images(place, None if place.is_dir() else _key) if place.exists() else None,
        [path],
        lambda index: f"{path.name}:{numbers[index]}",
        read_boxes(boxes) if boxes.exists() else None,
        person,
    )


def _rows(path):
    """The names of the columns, the rows (lists of str) and their line numbers. Raises DataError."""
    rows, numbers = [], []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if any(field.strip() for field in row):
                    rows.append(row)
                    numbers.append(reader.line_num)
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file in UTF-8")
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not readable as CSV ({error})")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")
    if len(rows) < 2:
        raise DataError(f"{path}: no image in it; a row of column names and a row for every image are needed")
    header = [name.strip() for name in rows[0]]
    header = [name.lower() if name.lower() in (IMAGE, SPLIT, PERSON) else name for name in header]
    for row, number in zip(rows, numbers):
        if len(row) != len(header):
            raise DataError(f"{path}:{number}: {len(row)} fields, but {len(header)} columns have names")
    for name in (IMAGE, SPLIT, PERSON):
        if header.count(name) > 1:
            raise DataError(f"{path}:1: column {name!r} occurs twice")
    return header, rows[1:], numbers[1:]


def _key(path):
    """The name by which an image is identified: its path with forward slashes and without a leading ./"""
    return "/".join(part for part in path.strip().replace("\\", "/").split("/") if part != ".")


def _names(paths, path, numbers):
    names, seen = [_key(name) for name in paths], {}
    for name, number in zip(names, numbers):
        if not name or name.startswith("/"):
            raise DataError(f"{path}:{number}: {name!r} is not a path relative to the CSV file")
        if name in seen:
            raise DataError(f"{path}:{number}: {name} already has a row, {seen[name]}")
        seen[name] = number
    return names


def _labels(rows, columns, attributes, path, numbers):
    labels = np.zeros((len(rows), len(columns)), np.int8)
    for place, row in enumerate(rows):
        for index, column in enumerate(columns):
            label = _LABELS.get(row[column].strip())
            if label is None:
                raise DataError(
                    f"{path}:{numbers[place]}: label {row[column][:40]!r} of {attributes[index]}; "
                    "labels are 1 and 0 (or 1 and -1)"
                )
            labels[place, index] = label
    one_spelling((labels == 0).any(), (labels == -1).any(), path)
    return labels == 1


def _partition(words, path, numbers):
    parts = [_PARTS.get(word.strip().lower()) for word in words]
    if None in parts:
        place = parts.index(None)
        raise DataError(f"{path}:{numbers[place]}: split {words[place][:40]!r}; splits are train, val, test or 0, 1, 2")
    return np.array(parts, np.uint8)


def seeded_split(groups, seed, where="the data set"):
    """Split 80 : 10 : 10 by a seed, keeping equal entries of `groups` (N,) together: (N,) of TRAIN, VAL, TEST.

    Raises DataError if there are fewer than three groups.
    """
    _, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(sizes) < 3:
        raise DataError(f"{where}: {len(sizes)} images or people are too few to split; give a column {SPLIT!r}")
    # Raw bits, because NumPy guarantees only them to stay the same in later versions.
    order = np.argsort(np.random.PCG64([seed, len(sizes)]).random_raw(len(sizes)), kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]
    parts = np.full(len(sizes), TRAIN, np.uint8)
    wanted = _SHARE * len(groups)
    parts[order[before < 2 * wanted]] = VAL
    parts[order[before < wanted]] = TEST
    # At least one group for each.
    parts[order[0]], parts[order[-1]] = TEST, TRAIN
    if not (parts == VAL).any():
        parts[order[1]] = VAL
    return parts[group.ravel()]
