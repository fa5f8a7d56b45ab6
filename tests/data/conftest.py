"""Small data sets in LFWA's layout, and as a CSV file."""

import csv

import cv2
import numpy as np
import pytest
from lfwa_files import write_mat

from data_prep import geometry
from data_prep.sources import lfwa, mat
from data_prep.synthetic import synthetic_faces

# Every ten images are of four people: (person, number of the image) of each.
PLACES = [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3), (3, 4)]


@pytest.fixture(scope="session")
def lfwa_faces(shared):
    """A folder of 50 synthetic faces in LFWA's layout: 250 x 250 pixels, whole people in either half.

    The same faces in CelebA's layout are in the folder celeba beside it.
    """
    return shared("lfwa", make_lfwa) / "faces"


def make_lfwa(root):
    celeba, folder = root / "celeba", root / "faces"
    synthetic_faces.generate(celeba, 50, 4, {"Male": 0.5, "Smiling": 0.5})
    matrix, side, names = geometry.similarity(geometry.ALIGNED_EYES, geometry.LFW_EYES), geometry.LFW_SIZE, {}
    for number, path in enumerate(sorted(celeba.glob("*/*.jpg"))):
        person, count = PLACES[number % 10]
        person = f"Synthetic_Person_{4 * (number // 10) + person + 1:04d}"
        names[path.name] = f"{person}/{person}_{count:04d}.jpg"
        photo = cv2.warpAffine(cv2.imread(str(path)), matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        (folder / "lfw" / person).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "lfw" / names[path.name]), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
    _, attributes, *rows = (celeba / "list_attr_celeba.txt").read_text().splitlines()
    named = {"name": [name.replace("/", "\\") for name in names.values()]}
    named["AttrName"] = [attribute.replace("_", " ") for attribute in attributes.split()]
    labels = np.array([row.split()[1:] for row in rows], float) > 0
    write_mat(folder / lfwa.ANNOTATION, {**named, "label": labels.astype(float)})
    training = np.isin(np.arange(50) % 10, (0, 6, 7, 8, 9))
    indices = {"indices_img_train": training, "indices_img_test": ~training}
    write_mat(folder / lfwa.INDICES, {k: np.flatnonzero(v)[:, None] + 1.0 for k, v in indices.items()})


@pytest.fixture(scope="session")
def table(small_faces, tmp_path_factory):
    """Forty images in photos/ and faces.csv beside it; Wears_Mask is on every second, "Kind of hat" on every third."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "photos").symlink_to(small_faces / "img_align_celeba")
    rows = [["image", "person", "Wears_Mask", "Kind of hat"]]
    rows += [[f"photos/{n + 1:06d}.jpg", f"p{n // 2}", n % 2, int(n % 3 == 0)] for n in range(40)]
    with open(folder / "faces.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "faces.csv"


@pytest.fixture
def mat_files_read_here(monkeypatch):
    """.mat files are read in this process: the one that reads them takes a second to start; test_readers.py has it."""
    monkeypatch.setattr(lfwa, "read_mat", mat.variables)
