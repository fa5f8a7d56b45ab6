"""images.csv: which image each record of the image databases is, who is on it, and its content hash."""

import csv
import dataclasses
import pathlib

import numpy as np

from data_prep.errors import DataError
from data_prep.files import opened_text, replacing

NAME = "images.csv"
DIGEST = 16  # bytes of a content hash
SPLITS = {"train": 0, "val": 1, "test": 2}


@dataclasses.dataclass
class ImageList:
    """The images of a folder of LMDBs, all splits together.

    names: N names; persons: N texts, "" where the person is not known; hashes: (N, 16) uint8; parts: (N,) of SPLITS
    """

    names: list
    persons: list
    hashes: np.ndarray
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
        writer.writerow(["split", "number", "name", "person", "blake2b"])
        for split in SPLITS:
            for number, row in enumerate(images.members(split)):
                digest = images.hashes[row].tobytes().hex()
                writer.writerow([split, number, images.names[row], images.persons[row], digest])


def read(folder):
    """The ImageList of a folder of LMDBs. Raises OSError, and DataError for a damaged file."""
    path = pathlib.Path(folder) / NAME
    names, persons, hashes, parts = [], [], bytearray(), []
    try:
        with opened_text(path) as file:
            for row in csv.DictReader(file):
                digest = bytes.fromhex(row["blake2b"])
                if len(digest) != DIGEST:
                    raise ValueError(f"checksum {row['blake2b'][:40]!r}")
                names.append(row["name"])
                persons.append(row.get("person") or "")
                hashes += digest
                parts.append(SPLITS[row["split"]])
    except UnicodeDecodeError:
        raise DataError(f"{path}: damaged, not a text file in UTF-8")
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error!r})")
    return ImageList(names, persons, np.frombuffer(hashes, np.uint8).reshape(-1, DIGEST), np.array(parts, np.uint8))
