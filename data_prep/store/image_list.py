"""images.csv: which image each record of the image databases is, who is on it, and its content hash."""

import csv
import dataclasses
import pathlib

import numpy as np

from data_prep.errors import DataError
from data_prep.files import opened_text, replacing

NAME = "images.csv"
SPLITS = {"train": 0, "val": 1, "test": 2}
COLUMNS = ("split", "number", "name", "person", "blake2b")


@dataclasses.dataclass
class ImageList:
    """The images of a folder of LMDBs, all splits together.

    names: N names; persons: N texts, "" where the person is not known; hashes: N content hashes, hexadecimal digits
    parts: (N,) of SPLITS
    """

    names: list
    persons: list
    hashes: list
    parts: np.ndarray

    def members(self, split):
        """The rows that belong to a split, in the order of its databases."""
        return np.flatnonzero(self.parts == SPLITS[split])

    def groups(self, split):
        """For each image of a split the number of its person, (n,), or None where persons are not known."""
        persons = [self.persons[row] for row in self.members(split)]
        return np.unique(persons, return_inverse=True)[1].ravel() if persons and all(persons) else None


def write(folder, images):
    """Write images.csv, completely or not at all. Raises OSError."""
    with replacing(pathlib.Path(folder) / NAME, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for split in SPLITS:
            for number, row in enumerate(images.members(split)):
                writer.writerow([split, number, images.names[row], images.persons[row], images.hashes[row]])


def read(folder):
    """The ImageList of a folder of LMDBs. Raises FileNotFoundError, OSError, and DataError for a damaged file."""
    path = pathlib.Path(folder) / NAME
    try:
        with opened_text(path) as file:
            rows = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file, restval="")]
        names, persons, hashes = ([row[name] for row in rows] for name in COLUMNS[2:])
        parts = np.array([SPLITS[row["split"]] for row in rows], np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing; build the LMDBs again")
    except UnicodeDecodeError:
        raise DataError(f"{path}: damaged, not a text file in UTF-8")
    except (KeyError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error!r})")
    return ImageList(names, persons, hashes, parts)
