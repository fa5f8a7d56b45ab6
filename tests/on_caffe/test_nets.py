"""The prototxts in a real Caffe: table 1's sizes, training, exact resumption, and the tools on its weights."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import caffe
import cv2
import numpy as np
import pytest

from data_prep import geometry
from data_prep.build import build_lmdb
from data_prep.geometry import patch
from models import generate, table1
from tools import networks
from tools.predict import photos
from tools.predict.predictor import Predictor
from tools.train import average_region, caffe_log

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# The program that belongs to the Caffe this Python imports: BVLC's or engine/caffe.
CAFFE = str(REPOSITORY / (".caffe" if hasattr(caffe, "_caffe") else ".venv") / "bin/caffe")
ATTRIBUTES = ["Eyeglasses", "Male"]
BATCHES, B = 3, 2


@pytest.mark.parametrize("net_name", generate.NETS)
def test_output_sizes_of_table_1(net_name):
    net = caffe.Net(str(REPOSITORY / "models" / net_name / "deploy.prototxt"), caffe.TEST)
    attributes = len(generate.PAPER_ATTRIBUTES)
    rows = [(row, 1) for row in table1.SHARED] + [(table1.CONV3, attributes)]
    if net_name != "whole_face":
        rows += [(row, attributes) for row in table1.TASK_ONE]
    if net_name != "region":
        rows += [(row, attributes) for row in table1.TASK_TWO]
        assert net.blobs["roi"].data.shape == (1, 384 * attributes, 5, 5)
        assert net.blobs["prob"].data.shape == (1, attributes)
    for row, groups in rows:
        expected = (1, row.channels * groups, row.output, row.output)
        assert net.blobs[row.name].data.shape == expected, row.name
        if not row.name.startswith("pool"):
            inputs = net.params[row.name][0].data.shape[1]
            assert net.params[row.name][0].data.shape == (row.channels * groups, inputs, row.kernel, row.kernel)


@pytest.fixture(scope="module")
def lmdb_folder(tmp_path_factory):
    """Databases of noise: positives brighter than negatives."""
    folder = tmp_path_factory.mktemp("lmdb")
    rng = np.random.default_rng(0)

    def image(label):
        return (rng.uniform(0, 160, (224, 224, 3)) + 80 * label).astype(np.uint8)

    labels = [record // len(ATTRIBUTES) % 2 for record in range(BATCHES * B * len(ATTRIBUTES))]
    train = [build_lmdb.image_datum(image(label), "png", label) for label in labels]
    build_lmdb.write_lmdb(folder / "train", train, len(train), "train")
    for split in ("val", "test"):
        rows = np.array([[0, 1], [1, 0], [1, 1], [0, 0], [1, 1]])
        images = [build_lmdb.image_datum(image(row.mean()), "png") for row in rows]
        build_lmdb.write_lmdb(folder / f"{split}_images", images, len(rows), split)
        build_lmdb.write_lmdb(folder / f"{split}_labels", map(build_lmdb.label_datum, rows), len(rows), split)
    boxes = [{}, {"Eyeglasses": [10, 20, 110, 120]}, {"Eyeglasses": [0, 0, 224, 224]}, {}, {}]
    (folder / "test_boxes.json").write_text(json.dumps(boxes))
    counts = {"images": 10, "positive": dict.fromkeys(ATTRIBUTES, 4)}
    (folder / "manifest.json").write_text(json.dumps({"attributes": ATTRIBUTES, "train": counts}))
    return folder


@pytest.fixture(scope="module")
def run_folder(lmdb_folder, tmp_path_factory):
    """Networks for the databases, with an early stopping that acts within a few iterations."""
    folder = tmp_path_factory.mktemp("run")
    options = generate.Options(ATTRIBUTES, batch=B, lmdb=str(lmdb_folder), test_batch=5)
    solver = {"max_iter": 6, "snapshot": BATCHES, "display": 1, "test_interval": 6, "test_iter": 1, "average_loss": 1}
    generate.write(folder, options, solver)
    for net in generate.NETS:
        path = folder / net / "train_val.prototxt"
        text = path.read_text()
        assert '"range": 0.1' in text
        path.write_text(text.replace('"range": 0.1', '"window": 2, "range": 10, "ceiling": 1'))
    return folder


def caffe_train(*arguments):
    environment = dict(os.environ, GLOG_minloglevel="0")
    command = [CAFFE, "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=str(REPOSITORY))


def losses(log):
    """The last three training losses of a log."""
    found = [line.split("= ")[-1] for line in log.splitlines() if "iter/s" in line and "loss" in line]
    return found[-3:]


def weights(path):
    return {
        f"{layer.name}[{index}]": np.array(blob.data, dtype=np.float32)
        for layer in networks.read_weights(path).layer
        for index, blob in enumerate(layer.blobs)
    }


@pytest.fixture(scope="module")
def region_weights(run_folder):
    done = caffe_train("-solver", run_folder / "region/solver.prototxt")
    assert done.returncode == 0, done.stderr[-2000:]
    (run_folder / "region/train.log").write_text(done.stderr)
    series = caffe_log.read(done.stderr.splitlines())
    assert series["test", "accuracy_region"]
    for (_, overall), (_, each) in zip(series["test", "accuracy_region"], series["test", "accuracy_region_each"]):
        assert len(each) == len(ATTRIBUTES) and np.mean(each) == pytest.approx(overall, abs=1e-4)
    assert all(len(flags) == len(ATTRIBUTES) for _, flags in series["train", "attributes_training_each"])
    return run_folder / "region/region_iter_6.caffemodel"


@pytest.fixture(scope="module")
def start(run_folder, region_weights):
    """Weights of task one with measured regions."""
    command = [sys.executable, "-m", "tools.train.average_region", "--rectangles", "measured", "--least", "1"]
    command += ["--model", run_folder / "region/train_val.prototxt", "--weights", region_weights]
    command += ["--out", run_folder / "measured.caffemodel", "--faces", "6", "--threshold", "0"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    return run_folder / "measured.caffemodel"


@pytest.fixture(scope="module")
def cascade_weights(run_folder, start):
    done = caffe_train("-solver", run_folder / "cascade/solver.prototxt", "-weights", start)
    assert done.returncode == 0, done.stderr[-2000:]
    (run_folder / "cascade/log").write_text(done.stderr)
    return run_folder / "cascade/cascade_iter_6.caffemodel"


def test_average_region_is_in_the_weights(run_folder, region_weights, start):
    before, after = weights(region_weights), weights(start)
    assert all((after[name] == before[name]).all() for name in before if "early" not in name)
    rectangles = after["region_mapper[1]"].reshape(2, 4, 4, 4)
    assert after["region_mapper[0]"].size == 2 * 16 and (after["region_mapper[0]"] > 0).all()
    assert (rectangles[..., 2:] > rectangles[..., :2]).all()
    assert rectangles.min() >= 0 and rectangles.max() <= 13


def test_cascade_keeps_the_written_regions_and_trains_the_rest(start, cascade_weights):
    before, after = weights(start), weights(cascade_weights)
    for name in before:
        assert (after[name] == before[name]).all() == name.startswith("region_mapper"), name
    window, state = after["early_stopping[0]"], after["early_stopping[1]"].reshape(2, 3)
    assert (window > 0).all() and (state[:, 0] > 0).all() and (state[:, 1] == 6).all()


def test_resuming_after_a_kill_continues_exactly(run_folder, start, cascade_weights):
    """Killed with SIGKILL after its snapshot, resumed: weights, early stopping and losses as undisturbed."""
    straight, log = weights(cascade_weights), (run_folder / "cascade/log").read_text()
    solver = run_folder / "cascade/solver.prototxt"
    text = solver.read_text().replace("/cascade/cascade", "/cascade/killed").replace("max_iter: 6", "max_iter: 600")
    (run_folder / "killed.prototxt").write_text(text)
    (run_folder / "resumed.prototxt").write_text(text.replace("max_iter: 600", "max_iter: 6"))
    state = run_folder / "cascade/killed_iter_3.solverstate"
    command = [CAFFE, "train", "-solver", run_folder / "killed.prototxt", "-weights", start]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, cwd=str(REPOSITORY))
    deadline = time.time() + 120
    # The fourth iteration's log line would say that the state is complete; the next snapshot does too.
    while not (run_folder / "cascade/killed_iter_6.solverstate").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run_folder / "cascade/killed_iter_6.caffemodel").unlink()
    done = caffe_train("-solver", run_folder / "resumed.prototxt", "-snapshot", state)
    assert done.returncode == 0, done.stderr[-2000:]
    resumed = weights(run_folder / "cascade/killed_iter_6.caffemodel")
    assert straight.keys() == resumed.keys()
    for name in straight:
        np.testing.assert_array_equal(resumed[name], straight[name], err_msg=name)
    assert losses(done.stderr) == losses(log) and len(losses(log)) == 3


def run_tool(name, *arguments):
    command = [sys.executable, "-m", f"tools.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=str(REPOSITORY))


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


def test_unknown_parameter_is_named_by_caffe_train_too(run_folder, tmp_path):
    text = (run_folder / "region/train_val.prototxt").read_text().replace('"ceiling"', '"celing"')
    (tmp_path / "train_val.prototxt").write_text(text)
    solver = (run_folder / "region/solver.prototxt").read_text()
    solver = solver.replace(f"{run_folder}/region/train_val", f"{tmp_path}/train_val")
    (tmp_path / "solver.prototxt").write_text(solver)
    done = caffe_train("-solver", tmp_path / "solver.prototxt")
    assert done.returncode != 0
    assert "error: EarlyStopping: unknown parameter 'celing'; known are ceiling" in done.stderr


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
