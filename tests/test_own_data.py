"""A custom data set, a CSV file with other attribute names, from data to predictions; and LFWA's frame."""

import csv
import json

import cv2
import numpy as np
import pytest
from command_line import SOLVER, face_cascade

from data_prep import geometry
from data_prep.sources import celeba
from data_prep.store import manifest
from data_prep.synthetic import synthetic_faces

NAMES = ["wears glasses", "man-like"]


@pytest.fixture(scope="module")
def own_run(small_faces, tmp_path_factory):
    """A run on a CSV file with other names for two of CelebA's attributes."""
    folder = tmp_path_factory.mktemp("own")
    names, attributes, labels, _ = celeba.read_labels(small_faces / celeba.LABELS[0])
    columns = [attributes.index(name) for name in ("Eyeglasses", "Male")]
    (folder / "my faces").symlink_to(small_faces / celeba.IMAGES[0])
    with open(folder / "faces.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "split", *NAMES])
        for number, (name, row) in enumerate(zip(names, labels[:, columns])):
            split = ("train", "train", "train", "val", "test")[number % 5]
            rows.writerow([f"my faces/{name}", split, *row.astype(int)])
    done = face_cascade("data", folder / "faces.csv", "--out", folder / "lmdb")
    assert done.returncode == 0, done.stderr
    words = ["--lmdb", folder / "lmdb", "--run", folder / "run", "--batch", 2, "--caffe", "torch", "--test-batch", 6]
    for command in (["train", *words, f"--solver={SOLVER}", "--rectangles", "theoretical"], ["evaluate"]):
        done = face_cascade(command[0], "--run", folder / "run", *command[1:])
        assert done.returncode == 0, done.stderr[-3000:]
    return folder / "run"


def test_custom_attribute_names_appear_in_predictions(own_run, small_faces, tmp_path):
    evaluation = json.loads((own_run / "evaluation/evaluation.json").read_text())
    names = [name.replace(" ", "_") for name in NAMES]  # as CelebA writes them
    assert evaluation["attributes"] == names
    face = sorted((small_faces / celeba.IMAGES[0]).iterdir())[0]
    done = face_cascade("predict", "--run", own_run, "--aligned", face, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, (tmp_path / "predictions.jsonl").read_text().splitlines())
    assert list(record["faces"][0]["attributes"]) == names
    done = face_cascade("predict", "--run", own_run, "--attributes", "wears_glases", face, "--out", tmp_path / "x")
    assert done.returncode != 0 and "wears_glasses" in done.stderr


def test_custom_data_get_a_report_and_an_exported_model(own_run):
    for command in ("report", "export"):
        done = face_cascade(command, "--run", own_run)
        assert done.returncode == 0 and done.stdout.startswith(str(own_run)), done.stderr
    assert "man-like" in (own_run / "report.html").read_text()


def test_lfwa_is_framed_like_celeba(tmp_path):
    """The same faces in both layouts give the same patches, up to resampling."""
    for layout in ("celeba", "lfwa"):
        synthetic_faces.generate(tmp_path / layout, 20, 7, {"Eyeglasses": 0.5}, workers=1, layout=layout)
        words = ["--out", tmp_path / f"{layout} lmdb", "--attributes", "Eyeglasses"]
        done = face_cascade("data", tmp_path / layout, *words)
        assert done.returncode == 0, done.stderr
    made = manifest.read(tmp_path / "lfwa lmdb")
    assert made.kind == "lfwa" and np.asarray(made.frame).shape == (2, 2)
    assert manifest.read(tmp_path / "celeba lmdb").frame is None
    photo = cv2.imread(str(sorted((tmp_path / "lfwa").glob("lfw/*/*.jpg"))[0]))
    face = cv2.imread(str(sorted((tmp_path / "celeba/img_align_celeba").iterdir())[0]))
    framed, aligned = geometry.framed(photo, made.frame), geometry.face(face)
    inner = np.s_[40:-40, 40:-40]
    assert abs(framed[inner].astype(int) - aligned[inner]).mean() < 8
    assert abs(geometry.face(photo)[inner].astype(int) - aligned[inner]).mean() > 16
