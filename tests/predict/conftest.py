"""Rendered faces, and runs with random weights, which need no training."""

import cv2
import numpy as np
import pytest
from cascade_files import write_run

from data_prep.synthetic.synthetic_faces import draw_face


@pytest.fixture(scope="session")
def rendered():
    """Seven rendered faces (218, 178, 3) with the eyes at CelebA's positions."""
    labels = dict.fromkeys(("Male", "Smiling", "Straight_Hair", "Brown_Hair"), True)
    return [draw_face(labels, np.random.default_rng(seed))[0] for seed in range(7)]


@pytest.fixture(scope="session")
def random_run(tmp_path_factory):
    """A run whose networks are done and calibrated; its data are not there."""
    return write_run(tmp_path_factory.mktemp("random") / "run")


@pytest.fixture(scope="session")
def uncalibrated(tmp_path_factory):
    """A run like it that was trained on rendered faces and is not calibrated."""
    run = write_run(tmp_path_factory.mktemp("uncalibrated") / "run", synthetic=True)
    (run.folder / "cascade/calibration.json").unlink()
    return run


@pytest.fixture(scope="session")
def photo_folder(rendered, tmp_path_factory):
    """A folder of photos: one face, twice its size in box 300 200 656 636; a crowd of six; and none."""
    folder = tmp_path_factory.mktemp("photos")
    scene = np.full((800, 900, 3), 200, np.uint8)
    scene[200:636, 300:656] = cv2.resize(rendered[0], None, fx=2, fy=2)
    crowd = np.full((700, 800, 3), 200, np.uint8)
    for place, face in enumerate(rendered[1:]):
        y, x = 60 + place // 3 * 300, 50 + place % 3 * 250
        crowd[y : y + 218, x : x + 178] = face
    cv2.imwrite(str(folder / "crowd.png"), crowd)
    cv2.imwrite(str(folder / "faceless.png"), np.full((300, 400, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "one.jpg"), scene)
    return folder
