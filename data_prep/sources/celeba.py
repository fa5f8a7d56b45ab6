"""CelebA as downloaded: images, list_attr_celeba, list_eval_partition (.txt, or the widespread .csv variant)."""

import os
import pathlib

import numpy as np

from data_prep.errors import DataError
from data_prep.sources import tables
from data_prep.sources.images import Images
from data_prep.sources.source import Source

IMAGES = ("img_align_celeba", "img_align_celeba.zip")
LABELS = ("list_attr_celeba.txt", "list_attr_celeba.csv")
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
BOXES = "list_true_boxes.csv"
PERSONS = "identity_CelebA.txt"  # not part of all downloads
# CSV files of CelebA's layout, in the download and its widespread variants; all others are the user's own tables.
TABLES = (LABELS[1], PARTITION[1], BOXES, "list_bbox_celeba.csv", "list_landmarks_align_celeba.csv")
# The official download sorts its files into these.
SUBFOLDERS = ("", "Anno", "Eval", "Img")


def find(folder, names):
    """The first of the files or folders `names` that exists in the data set's folder, or None."""
    paths = (pathlib.Path(folder) / subfolder / name for name in names for subfolder in SUBFOLDERS)
    return next((path for path in paths if path.exists()), None)


def read(folder, settings):
    """A Source from a folder in CelebA's layout; arguments as of sources.opening. Raises DataError."""
    folder = pathlib.Path(folder)
    label_file, partition_file = find(folder, LABELS), find(folder, PARTITION)
    for file, names in ((label_file, LABELS), (partition_file, PARTITION)):
        if file is None:
            raise DataError(f"{folder / names[0]}: missing; it belongs to CelebA's download (Anno/ and Eval/)")
    table = read_labels(label_file)
    names = (settings.images,) if settings.images else IMAGES
    place = find(folder, names)
    if place is None:
        raise DataError(f"{folder}: no {' or '.join(names)} in it")
    return Source(
        **vars(table),
        kind="celeba",
        path=folder,
        partition=read_partition(partition_file, table.names),
        images=Images(place, os.path.basename),
        files=[label_file, partition_file],
        boxes=read_boxes(find(folder, (BOXES,))),
        persons=read_persons(find(folder, (PERSONS,)), table.names),
        settings=settings,
    )


def read_labels(path):
    """The Table of list_attr_celeba. Raises DataError."""
    lines = tables.lines_of(path)
    _, first = next(lines, (1, []))
    if path.suffix == ".csv":
        return tables.read(path, first, lines)
    _, attributes = next(lines, (2, []))
    if len(first) != 1 or not first[0].isdigit() or not attributes:
        raise DataError(f"{path}:1: expected the number of images, then a line of attribute names")
    table = tables.read(path, ["image", *attributes], lines)
    if int(first[0]) != len(table.names):
        raise DataError(f"{path}:1: announces {first[0]} images, but {len(table.names)} rows follow")
    return table


def _pairs(path, what, accepted=None):
    """The second field of each row by the first, dict. what: the two fields, for errors; accepted: values, or any."""
    found = {}
    for row, fields in tables.lines_of(path):
        if row == 1 and path.suffix == ".csv":
            continue
        if len(fields) != 2 or (accepted and fields[1] not in accepted):
            raise DataError(f"{path}:{row}: expected {what}")
        if fields[0] in found:
            raise DataError(f"{path}:{row}: {fields[0]} already has a row")
        found[fields[0]] = fields[1]
    return found


def read_partition(path, names):
    """Read list_eval_partition: (N,) of 0, 1, 2 in the order of `names`. Raises DataError."""
    parts = _pairs(path, "an image name and 0, 1 or 2", ("0", "1", "2"))
    missing = [name for name in names if name not in parts]
    if missing:
        raise DataError(f"{path}: {missing[0]} has labels but no row here ({len(missing)} images have none)")
    return np.array([int(parts[name]) for name in names], np.uint8)


def read_persons(path, names):
    """Read identity_CelebA.txt: for each name the person, or None without a file that names all. Raises DataError."""
    persons = _pairs(path, "an image name and the number of a person") if path else {}
    return [persons[name] for name in names] if all(name in persons for name in names) else None


def read_boxes(path):
    """Read list_true_boxes.csv: dict name -> dict attribute -> (x1, y1, x2, y2) in pixels; {} where there is no file.

    Raises DataError.
    """
    boxes = {}
    for row, fields in tables.lines_of(path) if path and path.exists() else ():
        if row == 1:
            continue
        try:
            name, attribute, *sides = fields
            x1, y1, x2, y2 = box = tuple(map(float, sides))
        except ValueError:
            box = (0,)
        if len(box) != 4 or not np.isfinite(box).all() or x1 > x2 or y1 > y2:
            raise DataError(f"{path}:{row}: expected image_id,attribute,x1,y1,x2,y2 with x1 <= x2, y1 <= y2")
        boxes.setdefault(name, {})[attribute] = box
    return boxes
