"""face-cascade predict as it is typed, and the examples of prediction in notebook and docs, as they stand there."""

import csv
import json
import pathlib
import shutil
import textwrap

import cv2
import numpy as np
import pytest
from cascade_files import ATTRIBUTES, write_networks, write_run, write_weights
from command_line import REPOSITORY
from predicted_photos import lines

import tools.predict
from data_prep import geometry
from data_prep.errors import DataError
from data_prep.faces import aligner
from tools import cli
from tools.predict import Predictor, predictor


@pytest.fixture
def predict(random_run, tmp_path, capsys):
    """Run the command; returns its exit status and what it printed."""

    def run(*words, run=random_run.folder, out=tmp_path / "out"):
        capsys.readouterr()
        status = cli.main(["predict", "--caffe", "torch", "--run", str(run), "--out", str(out), *map(str, words)])
        return status, *capsys.readouterr()

    return run


def test_photos_are_answered_for_and_the_others_are_named(predict, photo_folder, tmp_path):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("no picture")
    status, printed, errors = predict(folder)
    assert status == 1 and printed == (
        f"{tmp_path}/out: 7 faces in 2 photos; 2 inputs could not be processed; 1 other file skipped\n"
    )
    bad, none = sorted(errors.splitlines())
    assert bad.startswith(f"error: {folder}/broken.jpg: not a readable image") and bad.count("error") == 1
    assert none == f"error: {folder}/faceless.png: no face found"
    records = {pathlib.Path(record["photo"]).name: record for record in lines(tmp_path / "out")}
    assert len(records) == 4 and len(records["crowd.png"]["faces"]) == 6
    (face,) = records["one.jpg"]["faces"]
    assert face["score"] > 0.9 and list(face["attributes"]) == ATTRIBUTES
    for answer in face["attributes"].values():
        assert 0 <= answer["probability"] <= 1 and answer["answer"] in ("present", "absent", "uncertain")
        x1, y1, x2, y2 = answer["region"]
        assert 250 < x1 < x2 < 700 and 150 < y1 < y2 < 700  # on the face, in pixels of the photo
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"crowd.answers.png", "one.answers.png"}
    with open(tmp_path / "out/predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 7 * len(ATTRIBUTES) + 2
    status, printed, _ = predict(folder / "one.jpg", "--no-pictures", "--attributes", "Male")
    assert (status, printed) == (0, f"{tmp_path}/out: 1 face in 1 photo\n")
    assert not list((tmp_path / "out").glob("*.png"))
    assert [list(face["attributes"]) for face in lines(tmp_path / "out")[0]["faces"]] == [["Male"]]


def test_frames_of_a_video_are_counted_and_written_with_tracked_faces(predict, rendered, tmp_path):
    """The second of two faces is missing in the fourth of six frames."""
    clip, video = tmp_path / "clip.avi", tmp_path / "answers.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 360))
    for number in range(6):
        picture = np.full((360, 640, 3), 200, np.uint8)
        picture[70:288, 60 + 8 * number :][:, :178] = rendered[0]
        if number != 3:
            picture[70:288, 400:578] = rendered[1]
        writer.write(picture)
    writer.release()
    status, printed, errors = predict(clip, "--every", "0.1")
    assert (status, printed, errors) == (0, f"{tmp_path}/out: 11 faces in 6 frames of 1 video\n", "")
    assert [line["time"] for line in lines(tmp_path / "out")] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    status, printed, errors = predict(clip, "--video", video)
    assert (status, errors) == (0, "")
    assert printed == f"{video}: 6 frames, 2 faces; answers for each frame in {tmp_path}/out\n"
    records = lines(tmp_path / "out")
    assert [[face["track"] for face in record["faces"]] for record in records] == [[1, 2]] * 6
    scores = [[face["score"] for face in record["faces"]] for record in records]
    assert [row.count(None) for row in scores] == [0, 0, 0, 1, 0, 0]
    capture = cv2.VideoCapture(str(video))
    frames = [capture.read()[1] for _ in range(6)]
    assert capture.get(cv2.CAP_PROP_FPS) == 10 and not capture.read()[0]
    assert all(frame.shape[0] >= 360 and frame.shape[1] > 640 for frame in frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.mp4", "clip.avi", "out"]
    assert predict(tmp_path / "clip.avi", "--video", clip)[2].startswith(f"error: --video {clip}: is the video to be")


def test_a_network_of_rendered_faces_says_so_whenever_it_answers(predict, uncalibrated, photo_folder):
    notes = [
        "the network was trained on rendered faces; its answers for photos mean nothing",
        "probabilities are not calibrated; run face-cascade evaluate for that",
    ]
    status, _, errors = predict(photo_folder / "one.jpg", run=uncalibrated.folder)
    assert status == 0 and errors.splitlines() == [f"note: {note}" for note in notes]
    found = Predictor(uncalibrated)
    assert found.notes == found.style().notes == notes


def test_an_interrupted_call_names_its_answers(predict, photo_folder, tmp_path, monkeypatch):
    given = predictor.Predictor.stream

    def stream(*arguments, **more):
        yield next(given(*arguments, **more))
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor.Predictor, "stream", stream)
    status, _, errors = predict(photo_folder, "--no-pictures")
    assert status == 130
    assert errors.startswith(f"error: interrupted; the answers until then are in {tmp_path}/out/")
    assert len(lines(tmp_path / "out")) == 1


def test_pictures_that_are_not_framed_like_the_training_data_get_a_warning(predict, rendered, photo_folder, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(rendered))]
    for path, face in zip(paths, rendered):
        cv2.imwrite(str(path), face)
    moved = cv2.warpAffine(rendered[0], np.float64([[1, 0, 20], [0, 1, 0]]), (178, 218))
    cv2.imwrite(str(tmp_path / "moved.png"), moved)
    others = [tmp_path / "moved.png", photo_folder / "one.jpg", photo_folder / "faceless.png"]
    assert predict("--aligned", *paths, *others)[0] == 0
    warnings = [line["faces"][0]["warning"] for line in lines(tmp_path / "out")]
    assert warnings == [None] * len(paths) + [aligner.WARNING] * len(others)


def test_options_without_effect_are_refused(random_run, photo_folder, fails):
    words = ["predict", "--run", random_run.folder, photo_folder]
    fails(*words, "--aligned", "--min-face-size", "50", says="--min-face-size has no effect with --aligned, which")
    fails(*words, "--no-pictures", "--all-regions", says="--all-regions has no effect with --no-pictures")


def test_pictures_are_taken_in_the_frame_of_the_training_data(random_run, rendered, tmp_path):
    frame = ((103.0, 112.0), (146.0, 112.0))
    write_run(tmp_path / "run", frame=frame)
    assert cli.main(["export", "--run", str(tmp_path / "run"), "--zoo", str(tmp_path / "zoo")]) == 0
    whole, framed = (Predictor(run, aligned=True) for run in (random_run, tmp_path / "run"))
    assert Predictor(tmp_path / "zoo", aligned=True).framing.frame == frame
    matrix = geometry.similarity(geometry.ALIGNED_EYES, frame)
    photo = np.full((250, 250, 3), 128, np.uint8)
    photo = cv2.warpAffine(rendered[0], matrix, (250, 250), dst=photo, borderMode=cv2.BORDER_TRANSPARENT)
    _, aligned = geometry.align(photo, np.array(frame))
    (inside,), (expected,) = framed.predict(photo), whole.predict(aligned)
    assert inside.warning is None
    for name in ATTRIBUTES:
        answers = inside.attributes[name], expected.attributes[name]
        assert answers[0].probability == pytest.approx(answers[1].probability)
        moved = geometry.moved_box(answers[1].region, matrix, photo.shape)
        np.testing.assert_allclose(answers[0].region, moved, atol=0.01)
    with pytest.raises(DataError, match=r"125 x 125 pixels, but eyes of the training data are at \(103, 112\)"):
        framed.predict(photo[::2, ::2])


def test_every_place_of_a_network_gives_the_same_answers(random_run, rendered, tmp_path, monkeypatch):
    """A run's folder, a folder with one file of weights, that file, and networks that Caffe's commands trained."""
    weights = random_run.weights("cascade")
    for folder in ("models", "solver", "build"):
        (tmp_path / folder).mkdir()
    (tmp_path / "solver/region.prototxt").write_text("")
    for net in ("region", "cascade"):
        shutil.copytree(random_run.folder / net, tmp_path / "models" / net)
    shutil.copy(weights, tmp_path / "build/cascade_iter_6.caffemodel")
    shutil.copy(weights.with_name("calibration.json"), tmp_path / "build")
    places = [random_run.folder, random_run.folder / "cascade", weights, tmp_path]
    found = [Predictor(place, aligned=True).predict(rendered[0])[0].to_dict() for place in places]
    assert all(answers == found[0] for answers in found)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    shutil.copy(weights, tmp_path / "other/x.caffemodel")
    alone = Predictor("other/x.caffemodel", aligned=True)  # with the prototxt in models/ here
    assert list(alone.predict(rendered[0])[0].attributes) == ATTRIBUTES
    with pytest.raises(DataError, match="no run in it"):
        Predictor("other")


def test_weights_of_another_width_are_refused_in_one_line(random_run, photo_folder, tmp_path, fails):
    folder = shutil.copytree(random_run.folder / "cascade", tmp_path / "cascade")
    write_networks(tmp_path / "wide", width=1 / 8)
    write_weights(tmp_path / "wide/cascade/deploy.prototxt", folder / "cascade_iter_6.caffemodel")
    words = "another width: layer conv1 has blobs [(12, 3, 11, 11)"
    fails("predict", "--caffe", "torch", "--run", folder, photo_folder / "one.jpg", says=words)


@pytest.mark.parametrize(
    "words, message",
    (
        (["predict", "--attributes", "Maal"], "which knows Eyeglasses, Male; did you mean Male?"),
        (["predict", "--device", "gpu"], "--device gpu: must be cpu, cuda or cuda:N"),
        (["predict", "--video", "answers.mp4"], "--video annotates one video or camera"),
        (["predict", "nowhere.jpg"], "nowhere.jpg: no such file or folder"),
        (["export", "--page", "p", "--zoo", "z"], "--page and --zoo write a folder, --out a file; give one"),
        (["export", "--license", "MIT"], "--license belongs to --zoo"),
        (["export", "--page", "p", "--stage", "region"], "region is no cascade; the page shows regions"),
    ),
)
def test_wrong_options_of_predict_and_export_are_one_line(words, message, random_run, photo_folder, tmp_path, fails):
    command, *options = words
    given = ["--out", tmp_path / "out", photo_folder / "one.jpg"] if command == "predict" else []
    fails(command, "--run", random_run.folder, *given, *options, says=message)
    assert not (tmp_path / "out").exists()


# Examples ---------------------------------------------------------------------------------------------------


def test_code_of_the_notebook_runs_and_answers(random_run, tmp_path, monkeypatch):
    cells = json.loads((REPOSITORY / "examples/predict.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUN", str(random_run.folder))
    # A kernel would show the last value of each cell; here the results are taken from the variables.
    values = {}
    exec("\n".join(code), values)
    assert len(values["faces"]) == 2 and all(list(face.attributes) == ATTRIBUTES for face in values["faces"])


def test_example_of_the_documentation_runs(random_run, photo_folder, tmp_path, monkeypatch, capsys):
    """tests/test_docs.py compares it with that of the page."""
    example = tools.predict.__doc__.partition("\n\n")[2].partition("\n\nRun it")[0]
    assert "Predictor(run=" in example
    (tmp_path / "build").mkdir()
    (tmp_path / "build/run").symlink_to(random_run.folder)
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.imread(str(photo_folder / "one.jpg")))
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(example), {})
    box, *answers = capsys.readouterr().out.splitlines()
    assert box.startswith("[") and [line.partition(":")[0] for line in answers] == ATTRIBUTES
    assert all("probability" in line and "region [" in line for line in answers)
