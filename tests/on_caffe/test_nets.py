"""The tools on the weights of a real Caffe: evaluation, prediction, reports, the average region."""

import itertools
import json
import os
import pathlib
import subprocess

import cv2
import numpy as np
import pytest
from shared import ATTRIBUTES, REPOSITORY, run_tool

from data_prep import geometry
from data_prep.geometry import patch
from tools import networks
from tools.predict import photos
from tools.predict.predictor import Predictor
from tools.train import average_region

DRAW = """
import sys, numpy as np
from data_prep.synthetic.synthetic_faces import draw_face
labels = dict.fromkeys(("Male", "Smiling", "Straight_Hair", "Brown_Hair"), True)
np.save(sys.argv[1], [draw_face(labels, np.random.default_rng(seed))[0] for seed in range(7)])
"""


@pytest.fixture(scope="module")
def drawn_faces(tmp_path_factory):
    """Seven drawn faces (218, 178, 3), whose eyes stand where CelebA's do; drawn by a current Python."""
    path = tmp_path_factory.mktemp("drawn") / "faces.npy"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(REPOSITORY / ".venv/bin/python"), "-c", DRAW, str(path)]
    subprocess.run(command, check=True, cwd=str(REPOSITORY), env=environment)
    return list(np.load(path))


@pytest.fixture(scope="module")
def photo_folder(drawn_faces, tmp_path_factory):
    """Photos as they come: one face, a crowd, and everything that is no photo of a face."""
    folder = tmp_path_factory.mktemp("photos")
    one, *others = drawn_faces
    scene = np.full((800, 900, 3), 200, np.uint8)
    scene[200:636, 300:656] = cv2.resize(one, None, fx=2, fy=2)
    cv2.imwrite(str(folder / "one.jpg"), scene)
    crowd = np.full((700, 800, 3), 200, np.uint8)
    for place, face in enumerate(others):
        y, x = 60 + place // 3 * 300, 50 + place % 3 * 250
        crowd[y : y + 218, x : x + 178] = face
    cv2.imwrite(str(folder / "crowd.png"), crowd)
    cv2.imwrite(str(folder / "faceless.png"), np.full((300, 400, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "huge.png"), np.zeros((10100, 10000), np.uint8))
    (folder / "broken.jpg").write_bytes((folder / "one.jpg").read_bytes()[:300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    return folder


PROBLEMS = {
    "broken.jpg": "not a readable image",
    "empty.jpg": "empty file",
    "faceless.png": "no face found",
    "huge.png": "million pixels",
    "notes.txt": "no image",
}


def test_predict_answers_for_the_readable_and_names_the_rest(
    run_folder, lmdb_folder, cascade_weights, photo_folder, tmp_path
):
    arguments = ["--models", run_folder, "--weights", cascade_weights]
    arguments += ["--lmdb", lmdb_folder, "--out", tmp_path / "out"]
    done = run_tool("predict.predictor", *arguments, photo_folder)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(lines) == len(PROBLEMS), done.stderr
    for name, words in PROBLEMS.items():
        assert any(f"{name}: " in line and words in line for line in lines)
    records = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    records = {pathlib.Path(told["photo"]).name: told for told in records}
    assert {name for name, told in records.items() if "problem" in told} == set(PROBLEMS)
    assert len(records["one.jpg"]["faces"]) == 1 and len(records["crowd.png"]["faces"]) == 6
    (face,) = records["one.jpg"]["faces"]
    assert set(face["attributes"]) == set(ATTRIBUTES)
    for value in face["attributes"].values():
        assert 0 <= value["probability"] <= 1 and value["answer"] in ("present", "absent", "uncertain")
        x1, y1, x2, y2 = value["region"]
        assert 250 < x1 < x2 < 700 and 150 < y1 < y2 < 700  # on the face, in pixels of the photo
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["crowd.png", "one.png"]
    assert len((tmp_path / "out/predictions.csv").read_text().splitlines()) == 1 + 7 * len(ATTRIBUTES)
    done = run_tool("predict.predictor", *arguments, tmp_path / "nowhere")
    assert done.returncode != 0 and "nowhere: no such file or folder" in done.stderr


def test_predictor_answers_as_the_net_called_by_hand(run_folder, cascade_weights, drawn_faces):
    predictor = Predictor(cascade_weights, run_folder, ATTRIBUTES, only=["Male"], aligned=True, sure=0.5)
    face = drawn_faces[0]
    (answer,) = predictor.predict(face)
    net = networks.load(run_folder / "cascade/deploy.prototxt", cascade_weights)
    result = networks.forward(net, [patch(geometry.face(face))], ["logits", "rois_image"])
    expected = predictor.slope * result["logits"][0] + predictor.offset
    assert list(answer["attributes"]) == ["Male"]
    assert answer["attributes"]["Male"]["probability"] == pytest.approx(1 / (1 + np.exp(-expected))[1], abs=1e-4)
    assert answer["attributes"]["Male"]["region"] == pytest.approx(
        np.clip(geometry.from_patch(result["rois_image"][0, 1], face.shape), 0, [178, 218] * 2), abs=0.06
    )
    with pytest.raises(networks.ToolError, match="no attribute Young"):
        Predictor(cascade_weights, run_folder, ATTRIBUTES, only=["Young"])


def test_stream_keeps_order_and_batches_across_photos(run_folder, cascade_weights, drawn_faces):
    predictor = Predictor(cascade_weights, run_folder, ATTRIBUTES, aligned=True)
    sizes, answer = [], predictor.answer
    predictor.answer = lambda some, shapes: sizes.append(len(some)) or answer(some, shapes)
    pictures = drawn_faces[:5]
    source = [photos.Photo(str(n), picture, None) for n, picture in enumerate(pictures)]
    source.insert(2, photos.Photo("gap", None, "empty file"))
    results = list(predictor.stream(source, batch=2))
    assert [result[0].name for result in results] == ["0", "1", "gap", "2", "3", "4"] and sizes == [2, 2, 1]
    alone = [predictor.predict(picture) for picture in pictures]
    for (_, _, _, told, *_), expected in zip([r for r in results if r[3]], alone):
        for one, other in zip(told[0]["attributes"].values(), expected[0]["attributes"].values()):
            assert one["probability"] == pytest.approx(other["probability"], abs=2e-4)


@pytest.mark.parametrize("kind", ("other net", "no weights", "missing", "garbage"))
def test_wrong_weights_are_one_clear_line(run_folder, region_weights, tmp_path, kind):
    path = tmp_path / "x.caffemodel"
    words = {"other net": "weights of another net", "missing": "No such file", "garbage": "not a .caffemodel"}
    models = run_folder
    if kind == "other net":  # the same network for twenty attributes
        path, models = region_weights, REPOSITORY / "models"
    elif kind == "garbage":
        path.write_bytes(b"\xff" * 100)
    elif kind == "no weights":
        path.write_bytes(b"")
    images = tmp_path / "a.png"
    cv2.imwrite(str(images), np.zeros((218, 178, 3), np.uint8))
    done = run_tool(
        "predict.predictor",
        *("--models", models, "--weights", path),
        *("--names", ",".join(ATTRIBUTES), "--out", tmp_path / "out", images),
    )
    assert done.returncode != 0 and words.get(kind, "no weights") in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_dense_rectangle_by_hand_and_against_all_rectangles():
    mass = np.zeros((5, 6))
    mass[1:3, 2:5] = [[4, 1, 4], [4, 4, 4]]  # mean 0.7: the 1 in their midst costs less than leaving cells out
    assert average_region.dense_rectangle(mass, 2) == (2, 1, 5, 3)
    rng = np.random.default_rng(0)
    for density in (0.5, 1, 2):
        mass = rng.uniform(size=(6, 5)) ** 4
        x1, y1, x2, y2 = average_region.dense_rectangle(mass, density)
        excess = mass - density * mass.mean()
        found = excess[y1:y2, x1:x2].sum()
        rows, columns = itertools.combinations(range(7), 2), list(itertools.combinations(range(6), 2))
        assert found >= max(excess[a:b, c:d].sum() for a, b in rows for c, d in columns) - 1e-9
