"""Read CelebA's official layout: images, list_attr_celeba.txt, list_eval_partition.txt."""

import csv
import pathlib
import threading
import zipfile

import cv2
import numpy as np

TRAIN, VAL, TEST = range(3)


class DataError(ValueError):
    """Input that cannot be used; the message names file and row."""


class Faces:
    """A data set in CelebA's layout, labels in memory, images read one by one.

    folder: holds list_attr_celeba.txt, list_eval_partition.txt and the images, as folder
    img_align_celeba/ or as img_align_celeba.zip
    Attributes: names (list of file names), attributes (names of the columns), labels (N, columns) bool,
    partition (N,) of 0 train, 1 validation, 2 test, boxes (dict file name -> dict attribute -> x1 y1 x2 y2
    in pixels of the image; empty unless list_true_boxes.csv is there). Raises DataError.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.names, self.attributes, self.labels = read_labels(self.folder / "list_attr_celeba.txt")
        self.partition = read_partition(self.folder / "list_eval_partition.txt", self.names)
        self.boxes = read_boxes(self.folder / "list_true_boxes.csv")
        self._zip, self._lock = None, threading.Lock()
        images, packed = self.folder / "img_align_celeba", self.folder / "img_align_celeba.zip"
        if images.is_dir():
            self._images = images
            known = {entry.name for entry in images.iterdir()}
        elif packed.exists():
            try:
                self._zip = zipfile.ZipFile(packed)
            except zipfile.BadZipFile as error:
                raise DataError(f"{packed}: not a whole zip file ({error}); download it again")
            self._images = packed
            self._members = {pathlib.PurePosixPath(name).name: name for name in self._zip.namelist()}
            known = self._members
        else:
            raise DataError(f"{self.folder}: neither img_align_celeba/ nor img_align_celeba.zip is there")
        for row, name in enumerate(self.names):
            if name not in known:
                where = f"{self.folder}/list_attr_celeba.txt:{row + 3}"
                raise DataError(f"{where}: {name} is not in {self._images}")

    def image(self, index):
        """Image number `index` as uint8 (height, width, 3), B G R. Raises DataError when it is unreadable."""
        name = self.names[index]
        if self._zip is None:
            where = f"{self._images}/{name}"
            encoded = np.fromfile(where, dtype=np.uint8)
        else:
            where = f"{self._images}: {name}"
            try:
                with self._lock:
                    encoded = np.frombuffer(self._zip.read(self._members[name]), dtype=np.uint8)
            except (zipfile.BadZipFile, EOFError) as error:
                raise DataError(f"{where}: damaged in the zip file ({error})")
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
        if image is None:
            raise DataError(f"{where}: not a readable image (list_attr_celeba.txt:{index + 3})")
        return image


def lines_of(path):
    """The lines of a text file. Raises DataError when it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: missing; it belongs to CelebA's download (Anno/ and Eval/)")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file")


def read_labels(path):
    """Read list_attr_celeba.txt: names, attribute names, labels (N, columns) bool. Raises DataError."""
    lines = lines_of(path)
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise DataError(f"{path}:1: expected the number of images, then a line of attribute names")
    count, attributes = int(lines[0]), lines[1].split()
    rows = [line.split() for line in lines[2:] if line.strip()]
    if len(rows) != count:
        raise DataError(f"{path}:1: says {count} images, but {len(rows)} rows follow")
    names = []
    labels = np.zeros((count, len(attributes)), dtype=bool)
    for index, (name, *values) in enumerate(rows):
        if len(values) != len(attributes) or not set(values) <= {"1", "-1"}:
            raise DataError(f"{path}:{index + 3}: expected a name and {len(attributes)} labels, -1 or 1")
        names.append(name)
        labels[index] = [value == "1" for value in values]
    if len(set(names)) != count:
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise DataError(f"{path}: {twice} has more than one row")
    return names, attributes, labels


def read_partition(path, names):
    """Read list_eval_partition.txt: (N,) of 0, 1, 2 in the order of `names`. Raises DataError."""
    split = {}
    for row, line in enumerate(lines_of(path), 1):
        fields = line.split()
        if fields and (len(fields) != 2 or fields[1] not in ("0", "1", "2")):
            raise DataError(f"{path}:{row}: expected an image name and 0, 1 or 2")
        if fields:
            split[fields[0]] = int(fields[1])
    for name in names:
        if name not in split:
            raise DataError(f"{path}: {name} has labels but no row here")
    return np.array([split[name] for name in names])


def read_boxes(path):
    """Read list_true_boxes.csv: dict name -> dict attribute -> (x1, y1, x2, y2); empty without the file."""
    boxes = {}
    if path.exists():
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                box = tuple(float(row[side]) for side in ("x1", "y1", "x2", "y2"))
                boxes.setdefault(row["image_id"], {})[row["attribute"]] = box
    return boxes
