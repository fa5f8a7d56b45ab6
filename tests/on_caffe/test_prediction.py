"""Prediction under a Caffe: results of a Predictor for a run and for bare files, and what the command writes."""

import csv
import json
import os
import pathlib
import subprocess
import textwrap

import caffe
import cv2
import numpy as np
import pytest
from shared import ATTRIBUTES, ENGINE, REPOSITORY, face_cascade

import tools.predict
from data_prep import geometry
from data_prep.files import sha256
from data_prep.geometry import patch
from data_prep.store import manifest
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.predict import photos
from tools.predict.predictor import Predictor
from tools.record import Settings, Stage
from tools.run import Run

RENDER = """
import sys, numpy as np
from data_prep.synthetic.synthetic_faces import draw_face
labels = dict.fromkeys(("Male", "Smiling", "Straight_Hair", "Brown_Hair"), True)
np.save(sys.argv[1], [draw_face(labels, np.random.default_rng(seed))[0] for seed in range(7)])
"""


@pytest.fixture(scope="module")
def synthetic_faces(tmp_path_factory):
    """Seven synthetic faces (218, 178, 3) with the eyes at CelebA's positions; rendered in .venv."""
    path = tmp_path_factory.mktemp("rendered") / "faces.npy"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(REPOSITORY / ".venv/bin/python"), "-c", RENDER, str(path)]
    subprocess.run(command, check=True, cwd=str(REPOSITORY), env=environment)
    return list(np.load(path))


@pytest.fixture(scope="module")
def run(lmdb_folder, run_folder, tmp_path_factory):
    """A run whose region and cascade are done, with random weights."""
    folder = tmp_path_factory.mktemp("random") / "run"
    run = Run.create(folder, lmdb_folder, Settings(engine=ENGINE))
    for stage in ("region", "cascade"):
        run.place(stage).mkdir(parents=True)
        run.deploy(stage).write_text((run_folder / stage / "deploy.prototxt").read_text())
        if networks.is_bvlc():
            caffe.set_random_seed(1)
        net, rng = caffe.Net(str(run.deploy(stage)), caffe.TEST), np.random.default_rng(0)
        for name, blobs in net.params.items():
            if name not in networks.OPTIONAL:
                for blob in blobs:
                    blob.data[...] = rng.normal(0, (2 / max(1, blob.data[0].size)) ** 0.5, blob.data.shape)
        weights = folder / stage / f"{stage}_iter_6.caffemodel"
        net.save(str(weights))
        inside = str(weights.relative_to(folder))
        run.stages[stage] = Stage({}, "done", inside, sha256(weights), iterations=6)
    run.write()
    return run


@pytest.fixture
def predictor(run):
    return Predictor(run=run.folder, aligned=True)


def scene(face):
    """A photo with a face at twice its size, in box 300 200 656 636."""
    photo = np.full((800, 900, 3), 200, np.uint8)
    photo[200:636, 300:656] = cv2.resize(face, None, fx=2, fy=2)
    return photo


@pytest.fixture(scope="module")
def photo_folder(synthetic_faces, tmp_path_factory):
    """A folder of mixed files: a photo of one face, one of a crowd, and files that are not photos of a face."""
    folder = tmp_path_factory.mktemp("photos")
    one, *others = synthetic_faces
    cv2.imwrite(str(folder / "one.jpg"), scene(one))
    crowd = np.full((700, 800, 3), 200, np.uint8)
    for place, face in enumerate(others):
        y, x = 60 + place // 3 * 300, 50 + place % 3 * 250
        crowd[y : y + 218, x : x + 178] = face
    cv2.imwrite(str(folder / "crowd.png"), crowd)
    cv2.imwrite(str(folder / "faceless.png"), np.full((300, 400, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "huge.png"), np.zeros((10100, 10000), np.uint8))
    cv2.imwrite(str(folder / "dot.png"), np.zeros((1, 1), np.uint8))
    (folder / "broken.jpg").write_bytes((folder / "one.jpg").read_bytes()[:300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    (folder / "line\nbreak\x1b[31m.jpg").write_text("")
    os.mkfifo(str(folder / "pipe.png"))
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:
        file.write((folder / "one.jpg").read_bytes())
    return folder


PROBLEMS = {
    "broken.jpg": "not a readable image",
    "dot.png": "1 x 1 pixels, too small for a face",
    "empty.jpg": "empty file",
    "faceless.png": "no face found",
    "huge.png": "million pixels",
    r"line\nbreak\x1b[31m.jpg": "empty file",
    "notes.txt": "not a readable image (neither JPEG",
    "pipe.png": "a pipe, not a file",
}


def predict(*arguments):
    """Run face-cascade predict in a separate process."""
    return face_cascade("predict", *arguments)


@pytest.mark.parametrize("option", ("--names", "--models"))
def test_options_for_weights_are_refused_for_a_run(run, photo_folder, option):
    done = predict("--run", run.folder, option, "Male,Young", photo_folder)
    assert done.returncode == 1 and done.stderr == (
        f"error: {option} belongs to --weights; a run has networks and names of its own\n"
    )


def test_command_predicts_for_readable_photos_and_names_the_others(run, photo_folder, tmp_path):
    done = predict("--run", run.folder, "--out", tmp_path / "out", photo_folder)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(lines) == len(PROBLEMS), done.stderr
    assert "note: probabilities are not calibrated" in done.stderr
    for name, words in PROBLEMS.items():
        assert any(f"{name}: " in line and words in line for line in lines), name
    records = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    records = {pathlib.Path(record["photo"]).name: record for record in records}
    assert len(records) == len(PROBLEMS) + 3
    assert {name for name, record in records.items() if "problem" not in record} == {
        "one.jpg",
        "crowd.png",
        r"caf\xe9.jpg",
    }
    assert len(records["crowd.png"]["faces"]) == 6
    (face,) = records["one.jpg"]["faces"]
    assert records[r"caf\xe9.jpg"]["faces"] == [face]
    assert set(face) == {"box", "score", "rotation", "warning", "attributes"} and face["score"] > 0.9
    assert set(face["attributes"]) == set(ATTRIBUTES)
    for value in face["attributes"].values():
        assert 0 <= value["probability"] <= 1 and value["answer"] in ("present", "absent", "uncertain")
        x1, y1, x2, y2 = value["region"]
        assert 250 < x1 < x2 < 700 and 150 < y1 < y2 < 700  # on the face, in pixels of the photo
    pictures = {record["overlay"] for record in records.values() if record.get("overlay")}
    assert pictures == {"crowd.png", "one.png", r"caf_xe9.png"}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == pictures
    with open(tmp_path / "out/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * len(ATTRIBUTES) and float(rows[0]["score"]) > 0.9
    # Another call leaves its own predictions only.
    (tmp_path / "out/mine.png").write_bytes(b"mine")
    done = predict("--run", run.folder, "--out", tmp_path / "out", photo_folder / "one.jpg")
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["mine.png", "one.png", "predictions.csv", "predictions.jsonl"]
    done = predict("--run", run.folder, tmp_path / "nowhere")
    assert done.returncode == 1 and done.stderr == f"error: {tmp_path}/nowhere: no such file or folder\n"


def test_a_video_is_written_with_tracked_faces(run, synthetic_faces, tmp_path):
    clip, out = tmp_path / "clip.avi", tmp_path / "answers.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 360))
    for number in range(6):
        frame = np.full((360, 640, 3), 200, np.uint8)
        x = 60 + 8 * number
        frame[70:288, x : x + 178] = synthetic_faces[0]
        if number != 3:
            frame[70:288, 400:578] = synthetic_faces[1]
        writer.write(frame)
    writer.release()
    done = predict("--run", run.folder, "--out", tmp_path / "out", "--video", out, clip)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 6 frames, 2 faces; answers for each frame in {tmp_path}/out\n"
    records = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [[face["track"] for face in record["faces"]] for record in records] == [[1, 2]] * 6
    scores = [[face["score"] for face in record["faces"]] for record in records]
    assert [row.count(None) for row in scores] == [0, 0, 0, 1, 0, 0]
    capture = cv2.VideoCapture(str(out))
    frames = [capture.read()[1] for _ in range(6)]
    assert capture.get(cv2.CAP_PROP_FPS) == 10 and not capture.read()[0]
    assert all(frame.shape[0] >= 360 and frame.shape[1] > 640 for frame in frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.mp4", "clip.avi", "out"]


def test_example_of_the_documentation_runs(run, synthetic_faces, tmp_path, monkeypatch, capsys):
    example = tools.predict.__doc__.partition("\n\n")[2].partition("\n\nRun it")[0]
    assert "Predictor(run=" in example
    (tmp_path / "build").mkdir()
    (tmp_path / "build/run").symlink_to(run.folder)
    cv2.imwrite(str(tmp_path / "photo.jpg"), scene(synthetic_faces[0]))
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(example), {})
    box, *answers = capsys.readouterr().out.splitlines()
    assert box.startswith("(") and [line.partition(":")[0] for line in answers] == ATTRIBUTES
    assert all("probability" in line and "region (" in line for line in answers)


def test_predictor_gives_the_outputs_of_its_net(run, synthetic_faces):
    weights = run.weights("cascade")
    predictor = Predictor(weights, run.folder, ATTRIBUTES, only=["Male"], aligned=True, min_confidence=0.5)
    face = synthetic_faces[0]
    (answer,) = predictor.predict(face)
    net = networks.load(run.deploy("cascade"), weights)
    result = networks.forward(net, [patch(geometry.face(face))], ["logits", "rois_image"])
    assert list(answer.attributes) == ["Male"] and answer.score is None and answer.box == (0, 0, 178, 218)
    probability = 1 / (1 + np.exp(-result["logits"][0, 1]))
    assert answer.attributes["Male"].probability == pytest.approx(probability, abs=1e-4)
    assert answer.attributes["Male"].answer == ("present" if probability > 0.5 else "absent")
    region = np.clip(geometry.from_patch(result["rois_image"][0, 1], face.shape), 0, [178, 218] * 2)
    assert answer.attributes["Male"].region == pytest.approx(region, abs=0.06)
    with pytest.raises(ToolError, match="no attribute Young"):
        Predictor(weights, run.folder, ATTRIBUTES, only=["Young"])


def test_calibration_of_the_run_is_used(run, synthetic_faces):
    weights = run.weights("cascade")
    plain = Predictor(run=run.folder, aligned=True)
    (logits,) = networks.forward(plain.net, [patch(geometry.face(synthetic_faces[0]))], ["logits"])["logits"]
    score = calibration.ScoreCalibration([float(logits[0]) - 1, float(logits[1]) + 1], [2.0, 0.5], [1.0, -1.0])
    entry = calibration.Calibration(sha256(weights), "", ATTRIBUTES, [0.5, 0.5], 0, "accuracy", {"logits": score})
    try:
        calibration.write(weights, entry)
        predictor = Predictor(run=run.folder, aligned=True, min_confidence=0.5)
        (face,) = predictor.predict(synthetic_faces[0])
    finally:
        weights.with_name(calibration.NAME).unlink()
    assert predictor.calibrated and not plain.calibrated
    expected = 1 / (1 + np.exp(-(logits * [2, 0.5] + [1, -1])))
    found = [face.attributes[name].probability for name in ATTRIBUTES]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert face.attributes["Eyeglasses"].answer != "absent" and face.attributes["Male"].answer != "present"


def test_task_one_predicts_while_there_is_no_cascade(run, tmp_path):
    early = Run(tmp_path, run.data, run.settings, {"region": run.stages["region"]})
    early.write()
    (tmp_path / "region").symlink_to(run.folder / "region")
    assert Predictor(run=tmp_path, aligned=True).score == "max_d"
    Run(tmp_path, run.data, run.settings).write()
    with pytest.raises(ToolError, match="stage cascade is not begun"):
        Predictor(run=tmp_path)


def test_pictures_are_framed_like_the_training_data(run, predictor, synthetic_faces, monkeypatch):
    found = manifest.read(run.data.lmdb)
    frame = ((103.0, 112.0), (146.0, 112.0))
    monkeypatch.setattr(manifest, "read", lambda _: manifest.dataclasses.replace(found, frame=frame))
    framed = Predictor(run=run.folder, aligned=True)
    photo = np.full((250, 250, 3), 128, np.uint8)
    matrix = geometry.similarity(geometry.ALIGNED_EYES, frame)
    photo = cv2.warpAffine(synthetic_faces[0], matrix, (250, 250), dst=photo, borderMode=cv2.BORDER_TRANSPARENT)
    (inside,), (whole,) = framed.predict(photo), predictor.predict(synthetic_faces[0])
    for name in ATTRIBUTES:
        assert inside.attributes[name].probability == pytest.approx(whole.attributes[name].probability, abs=0.03)
        moved = geometry.moved_box(whole.attributes[name].region, matrix, photo.shape)
        np.testing.assert_allclose(inside.attributes[name].region, moved, atol=3)
    with pytest.raises(ToolError, match=r"125 x 125 pixels, but eyes of the training data are at \(103, 112\)"):
        framed.predict(photo[::2, ::2])


def test_stream_keeps_order_and_batches_across_photos(predictor, synthetic_faces):
    sizes, answer = [], predictor.answer
    predictor.answer = lambda some, shapes: sizes.append(len(some)) or answer(some, shapes)
    pictures = synthetic_faces[:5]
    source = [photos.Photo(str(n), picture, None) for n, picture in enumerate(pictures)]
    source.insert(2, photos.Photo("gap", None, "empty file"))
    results = list(predictor.stream(source, batch=2))
    assert [result.photo.name for result in results] == ["0", "1", "gap", "2", "3", "4"] and sizes == [2, 2, 1]
    together = predictor.predict_batch(pictures)
    alone = [predictor.predict(picture) for picture in pictures]
    assert len(together) == 5
    for faces in zip(*[[result.faces for result in results if result.faces], together], alone):
        probabilities = [[answer.probability for answer in face.attributes.values()] for (face,) in faces]
        np.testing.assert_allclose(probabilities, probabilities[:1] * 3, atol=2e-4)


def test_answers_are_json_and_scores_that_are_not_finite_are_an_error(predictor, synthetic_faces):
    (face,) = predictor.predict(synthetic_faces[0])
    value = json.loads(json.dumps(face.to_dict(), allow_nan=False))
    assert value["attributes"]["Male"]["region"] == list(face.attributes["Male"].region)
    name = next(name for name in predictor.net.params if name.startswith("head"))
    predictor.net.params[name][0].data[...] = np.nan
    with pytest.raises(ToolError, match="scores that are not finite"):
        predictor.predict(synthetic_faces[0])


@pytest.mark.parametrize("kind", ("other net", "no weights", "missing", "garbage"))
def test_wrong_weights_are_reported_in_one_line(run, tmp_path, kind):
    path, models = tmp_path / "x.caffemodel", run.folder
    words = {"other net": "weights of another net", "missing": "No such file", "garbage": "not a .caffemodel"}
    if kind == "other net":  # the same network for twenty attributes
        path, models = run.weights("region"), REPOSITORY / "models"
    elif kind == "garbage":
        path.write_bytes(b"\xff" * 100)
    elif kind == "no weights":
        path.write_bytes(b"")
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((218, 178, 3), np.uint8))
    arguments = ["--models", models, "--weights", path, "--names", ",".join(ATTRIBUTES), "--out", tmp_path / "out"]
    done = predict(*arguments, picture)
    assert done.returncode == 1 and words.get(kind, "no weights") in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, words",
    (
        (["--min-confidence", "0.2"], "0.2: must lie between 0.5 and 1"),
        (["--min-confidence", "nan"], "nan: must lie between 0.5 and 1"),
        (["--batch", "0"], "0: must be at least 1"),
        (["--detector", "yolo"], "give mtcnn, haar, or a YuNet file"),
        (["--detector", "nowhere.onnx"], "No such file" if ENGINE == "torch" else "cannot run YuNet"),
        (["--attributes", "Maal"], "which knows Eyeglasses, Male; did you mean Male?"),
        (["--weights", "x.caffemodel"], "give --run or --weights, not both"),
        (["--confidence", "0.9"], "unknown option --confidence"),
        (["--video", "answers.mp4"], "--video annotates one video or camera"),
    ),
)
def test_wrong_options_are_reported_in_one_line(run, photo_folder, tmp_path, arguments, words):
    done = predict("--run", run.folder, "--out", tmp_path / "out", *arguments, photo_folder / "one.jpg")
    assert done.returncode in (1, 2) and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_an_impossible_device_is_refused(run):
    with pytest.raises(ToolError, match="must be cpu, cuda or cuda:N"):
        Predictor(run=run.folder, device="gpu")
    with pytest.raises(ToolError, match="give Predictor a run, or weights"):
        Predictor()
    if networks.is_bvlc():
        with pytest.raises(ToolError, match="computes on the CPU only"):
            Predictor(run=run.folder, device="cuda")
