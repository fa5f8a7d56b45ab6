"""Tables of labels as text: an image and its labels in every row, separated by commas, semicolons, tabs or blanks."""

import csv
import dataclasses
import pathlib

import numpy as np

from data_prep import files
from data_prep.attributes import CELEBA_ATTRIBUTES, wrong_names
from data_prep.errors import DataError

_LABELS = {"1": 1, "0": 0, "-1": -1}


@dataclasses.dataclass
class Table:
    """Rows of images.

    names: N names; rows: where each stands in the file, such as its line; attributes: names of the columns; labels:
    (N, columns) bool; texts: dict name -> N texts, of the columns that hold no labels
    """

    names: list
    rows: list
    attributes: list
    labels: np.ndarray
    texts: dict


def lines_of(path):
    """Yield (row, fields) for each line of a text file that is not blank.

    A .csv file is separated by what its first line holds most of (comma, semicolon or tab), others by blanks. Raises
    DataError when it is not a readable text file.
    """
    path = pathlib.Path(path)
    try:
        with files.opened_text(path) as file:
            if path.suffix.lower() == ".csv":
                first = file.readline()
                file.seek(0)
                reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
                lines = ((reader.line_num, fields) for fields in reader)
            else:
                lines = ((row, line.split()) for row, line in enumerate(file, 1))
            for row, fields in lines:
                fields = [field.strip() for field in fields]
                if any(fields):
                    yield row, fields
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file in UTF-8")
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not readable as CSV ({error})")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")


def read(path, header, lines, image=0, apart=(), spellings=CELEBA_ATTRIBUTES, key=str):
    """The Table of a label file.

    header: names of its columns; lines: (row, fields) of the others; image: column of the images' names
    apart: columns that hold no labels; spellings: attributes whose upper and lower case is known; key: function from
    what the file calls an image to its name
    Raises DataError that names file and row.
    """
    apart = [column for column in range(len(header)) if header[column] in apart and column != image]
    labelled = [column for column in range(len(header)) if column != image and column not in apart]
    if not labelled:
        raise DataError(
            f"{path}:1: no column of labels beside {', '.join(header)[:200]!r}; name the columns in the first row, "
            "separated by commas, semicolons or tabs: that of the images, and one for each attribute"
        )
    for column in labelled:
        if not header[column]:
            raise DataError(f"{path}:1: column {column + 1} has no name; name it, or remove it if it is no attribute")
    attributes = canonical([header[column] for column in labelled], f"{path}:1", spellings)
    names, rows, labels, texts, first = [], [], bytearray(), {header[column]: [] for column in apart}, {}
    for row, fields in lines:
        if len(fields) != len(header):
            raise DataError(f"{path}:{row}: {len(fields)} fields, but {len(header)} columns (an image and its labels)")
        name, values = key(fields[image]), [_LABELS.get(fields[column]) for column in labelled]
        if None in values:
            place = values.index(None)
            raise DataError(
                f"{path}:{row}: label {fields[labelled[place]][:40]!r} of {attributes[place]}; "
                "labels are 1 and 0 (or 1 and -1); remove the column if it is no attribute"
            )
        if not name or name.startswith("/"):
            raise DataError(f"{path}:{row}: {name!r} is not a path of an image, relative to the data set")
        if first.setdefault(name, row) != row:
            raise DataError(f"{path}:{row}: {name} already has a row, {first[name]}")
        names.append(name)
        rows.append(row)
        labels += bytes(value & 255 for value in values)
        for column in apart:
            texts[header[column]].append(fields[column])
    if not names:
        raise DataError(f"{path}: no image in it; a row is needed for every image")
    labels = np.frombuffer(labels, np.int8).reshape(len(names), len(attributes))
    if (labels == 0).any() and (labels == -1).any():
        raise DataError(f"{path}: labels use both -1 and 0 for absent; use only one of them")
    return Table(names, rows, attributes, labels == 1, texts)


def canonical(names, where, spellings=CELEBA_ATTRIBUTES):
    """Normalised attribute names: outer blanks removed, inner ones replaced by underscores, case as in `spellings`.

    Raises DataError for a repeated name, or one that cannot name an attribute.
    """
    known = {name.lower(): name for name in spellings}
    spelt = ["_".join(str(name).replace("_", " ").split()) for name in names]
    spelt = [known.get(name.lower(), name) for name in spelt]
    wrong = wrong_names(spelt)
    if wrong:
        raise DataError(f"{where}: {wrong}")
    return spelt
