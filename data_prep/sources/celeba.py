"""CelebA as downloaded: images, list_attr_celeba, list_eval_partition (.txt, or the widespread .csv variant)."""

import array
import csv
import os
import pathlib

import numpy as np

from data_prep.errors import DataError
from data_prep.sources.images import open_images
from data_prep.sources.source import Source, canonical, one_spelling

IMAGES = ("img_align_celeba", "img_align_celeba.zip", "img_align_celeba_png", "img_align_celeba_png.zip")
LABELS = ("list_attr_celeba.txt", "list_attr_celeba.csv")
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
BOXES = "list_true_boxes.csv"
PERSONS = "identity_CelebA.txt"  # not part of all downloads
# CSV files of CelebA's layout, in the download and its widespread variants; all others are the user's own tables.
TABLES = (LABELS[1], PARTITION[1], BOXES, "list_bbox_celeba.csv", "list_landmarks_align_celeba.csv")
# The official download sorts its files into these.
SUBFOLDERS = ("", "Anno", "Eval", "Img")
_LABEL = {"1": True, "-1": False, "0": False}


def find(folder, names):
    """The first of the files or folders `names` that exists in the data set's folder, or None."""
    paths = (pathlib.Path(folder) / subfolder / name for name in names for subfolder in SUBFOLDERS)
    return next((path for path in paths if path.exists()), None)


def read(folder, images=None, need_images=True):
    """A Source from a folder in CelebA's layout.

    images: name of the folder or zip in it that holds the images, or None for the usual names
    need_images: if False, missing images are no error, and the Source's `images` is then None
    Raises DataError for missing or damaged files.
    """
    folder = pathlib.Path(folder)
    label_file = find(folder, LABELS)
    partition_file = find(folder, PARTITION)
    for file, names in ((label_file, LABELS), (partition_file, PARTITION)):
        if file is None:
            raise DataError(f"{folder / names[0]}: missing; it belongs to CelebA's download (Anno/ and Eval/)")
    names, attributes, labels, rows = read_labels(label_file)
    partition = read_partition(partition_file, names)
    place = find(folder, (images,) if images else IMAGES)
    if place is None and need_images:
        raise DataError(f"{folder}: no {' or '.join([images] if images else IMAGES[:2])} in it")
    boxes = find(folder, (BOXES,))
    return Source(
        "celeba",
        folder,
        names,
        attributes,
        labels,
        partition,
        open_images(place, os.path.basename) if place else None,
        [label_file, partition_file],
        lambda index: f"{label_file.name}:{rows[index]}",
        read_boxes(boxes) if boxes else None,
        read_persons(find(folder, (PERSONS,)), names),
    )


def rows_of(path):
    """Yield (row, fields) for each non-blank line of a text file; .csv is split at commas, others at blanks.

    Windows line ends and byte order marks are accepted. Raises DataError when it is not a readable text file.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for row, line in enumerate(file, 1):
                fields = line.split(",") if path.suffix == ".csv" else line.split()
                fields = [field.strip().strip('"') for field in fields]
                if any(fields):
                    yield row, fields
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file in UTF-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")


def read_labels(path):
    """Read list_attr_celeba: image names, attribute names, labels (N, columns) bool, rows (N,). Raises DataError."""
    lines = rows_of(path)
    count = None
    if path.suffix == ".csv":
        row, (_, *attributes) = next(lines, (1, [""]))
        if not attributes:
            raise DataError(f"{path}:1: expected the column names: image_id and the attributes")
    else:
        row, first = next(lines, (1, []))
        if len(first) != 1 or not first[0].isdigit():
            raise DataError(f"{path}:1: expected the number of images, then a line of attribute names")
        count = int(first[0])
        row, attributes = next(lines, (2, []))
    attributes = canonical(attributes, f"{path}:{row}")
    columns = len(attributes)
    names, rows, labels, used = [], array.array("i"), bytearray(), set()
    for row, (name, *values) in lines:
        kinds = set(values)
        if len(values) != columns or not kinds <= _LABEL.keys():
            raise DataError(_label_complaint(path, row, values, columns))
        used |= kinds
        names.append(name)
        rows.append(row)
        labels += bytes([_LABEL[value] for value in values])
    if count is not None and len(names) != count:
        raise DataError(f"{path}:1: announces {count} images, but {len(names)} rows follow")
    if not names:
        raise DataError(f"{path}: no image in it")
    one_spelling("0" in used, "-1" in used, path)
    if len(set(names)) != len(names):
        seen = set()
        again = next(i for i, name in enumerate(names) if name in seen or seen.add(name))
        raise DataError(f"{path}:{rows[again]}: {names[again]} already has a row, {rows[names.index(names[again])]}")
    labels = np.frombuffer(labels, dtype=bool).reshape(len(names), columns)
    return names, attributes, labels, np.array(rows, dtype=np.int32)


def _label_complaint(path, row, values, columns):
    wrong = next((value for value in values if value not in _LABEL), None)
    if wrong is not None and len(values) == columns:
        return f"{path}:{row}: label {wrong!r}; labels are 1 and -1 (or 1 and 0)"
    return f"{path}:{row}: expected a name and {columns} labels, found {len(values)} labels"


def read_partition(path, names):
    """Read list_eval_partition: (N,) of 0, 1, 2 in the order of `names`. Raises DataError."""
    numbers = None  # name -> index, needed only if the rows are in another order than the labels
    partition = np.full(len(names), 255, dtype=np.uint8)
    place = 0
    for row, fields in rows_of(path):
        if row == 1 and path.suffix == ".csv" and fields[-1].lower() == "partition":
            continue
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise DataError(f"{path}:{row}: expected an image name and 0, 1 or 2")
        if numbers is None and place < len(names) and names[place] == fields[0]:
            index, place = place, place + 1
        else:
            numbers = numbers or {name: index for index, name in enumerate(names)}
            index = numbers.get(fields[0])
        if index is None:
            continue
        if partition[index] != 255:
            raise DataError(f"{path}:{row}: {fields[0]} already has a row")
        partition[index] = int(fields[1])
    missing = np.flatnonzero(partition == 255)
    if len(missing):
        raise DataError(f"{path}: {names[missing[0]]} has labels but no row here ({len(missing)} images have none)")
    return partition


def read_persons(path, names):
    """Read identity_CelebA.txt: for each name the person, or None without a file that names all. Raises DataError."""
    if path is None:
        return None
    found = {}
    for row, fields in rows_of(path):
        if len(fields) != 2:
            raise DataError(f"{path}:{row}: expected an image name and the number of a person")
        found[fields[0]] = fields[1]
    return [found[name] for name in names] if all(name in found for name in names) else None


def read_boxes(path):
    """Read list_true_boxes.csv: dict name -> dict attribute -> (x1, y1, x2, y2) in pixels. Raises DataError."""
    boxes = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                box = tuple(float(row[side]) for side in ("x1", "y1", "x2", "y2"))
                if not np.isfinite(box).all() or box[0] > box[2] or box[1] > box[3]:
                    raise ValueError("no box")
                boxes.setdefault(row["image_id"], {})[row["attribute"]] = box
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")
    except (KeyError, TypeError, ValueError, csv.Error):
        raise DataError(f"{path}: expected image_id,attribute,x1,y1,x2,y2 in every row, x1 <= x2, y1 <= y2")
    return boxes
