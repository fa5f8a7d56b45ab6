"""ONNX files give the engine's outputs from the picture on; a folder to hand on answers like the run it was made of."""

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from cascade_files import ATTRIBUTES, write_run

from data_prep import geometry
from models.networks import network
from models.options import NetworkOptions
from tools import cli, model_files, networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.export import model, page
from tools.export import zoo as zoo_files
from tools.predict import Predictor
from tools.run import Run

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Width and height: enlarged, enlarged one way, both ways averaged, twice as large, and where only the height shrinks.
SIZES = ((178, 218), (30, 40), (400, 200), (300, 400), (512, 512), (1000, 1300), (240, 300), (256, 256))


def session(exported):
    return onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])


def results(session, images, **inputs):
    """What a session gives for images B G R of one size: dict output -> array."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": np.stack(images)[..., ::-1], **inputs})))


def export(*words):
    """Run the command; returns its exit status."""
    return cli.main(["export", *map(str, words)])


@pytest.mark.parametrize("stage", ("cascade", "region", "whole_face"))
def test_outputs_equal_those_of_the_engine(random_run, rendered, stage):
    check_outputs(random_run, rendered, stage)


@pytest.mark.slow
def test_outputs_of_the_full_width_equal_those_of_the_engine(rendered, tmp_path):
    check_outputs(write_run(tmp_path / "run", width=1), rendered, "cascade")


def check_outputs(run, rendered, stage):
    """Assert that a session answers for pictures of all SIZES as the engine does for their patches."""
    weights = run.weights(stage)
    opened, net = session(model.export(run, stage)), networks.load(run.deploy(stage), weights)
    score, scores, _ = calibration.of_answer(weights, net, ATTRIBUTES)
    blobs = [blob for blob in (score, "response", "rois_image") if blob in net.blobs]
    regions = []
    for width, height in SIZES if stage == "cascade" else SIZES[:1]:
        faces = rendered[: 1 if regions else 4]
        images = [cv2.resize(face, (width, height), interpolation=cv2.INTER_CUBIC) for face in faces]
        expected = networks.forward(net, [geometry.patch(geometry.face(image)) for image in images], blobs)
        found = results(opened, images)
        probability = calibration.probability(expected[score], np.array(scores.slope), np.array(scores.offset))
        np.testing.assert_allclose(found["probability"], probability, atol=1e-4, err_msg=f"{width} x {height}")
        clear = abs(expected[score] - scores.threshold) > 1e-3 * np.abs(expected[score]).max()
        np.testing.assert_array_equal(found["present"][clear], (expected[score] > scores.threshold)[clear])
        if "rois_image" in blobs:
            np.testing.assert_allclose(found["response"], expected["response"], atol=1e-3)
            region = geometry.from_patch(expected["rois_image"], (height, width))
            np.testing.assert_allclose(found["region"], region, atol=1e-2)
            regions.append(found["region"])
    if stage == "cascade":
        assert np.ptp(regions[0], axis=0).max() > 0  # otherwise equal regions would prove nothing
    assert ("region" in found) == (stage != "whole_face")


def test_a_file_with_adjustable_regions_consists_of_two_parts(random_run, rendered):
    """The web page runs the two parts; together they equal the whole file, at any threshold and weight."""
    adjustable = model.export(random_run, "cascade", adjustable=page.ADJUSTABLE)
    whole, first, second = map(session, (adjustable, *page.split(adjustable)))
    fixed = results(session(model.export(random_run, "cascade")), rendered[:4])
    features = results(first, rendered[:4])
    regions = []
    for threshold, weight in ((0.5, 0.5), (0.5, 0.0), (0.8, 0.5), (1.0, 0.5)):
        settings = {name: np.array(value, np.float32) for name, value in zip(page.ADJUSTABLE, (threshold, weight))}
        expected = results(whole, rendered[:4], **settings)
        names = [output.name for output in second.get_outputs()]
        assert set(names) == {"probability", "present", "region", "revised_response"}
        for name, values in zip(names, second.run(names, {**features, **settings})):
            np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=f"{name} {settings}")
            if (threshold, weight) == (0.5, 0.5):
                np.testing.assert_allclose(values, fixed[name], atol=1e-5, err_msg=name)
        regions.append(expected["region"])
    assert np.ptp(regions, axis=0).max() > 1


def test_a_script_without_the_project_gives_the_same_predictions(random_run, rendered, tmp_path):
    """The example of docs/prediction.md, run by a Python that can import only ONNX Runtime, NumPy and Pillow."""
    assert export("--run", random_run.folder, "--out", tmp_path / "cascade.onnx") == 0
    text = (REPOSITORY / "docs/prediction.md").read_text().partition("## ONNX")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    alone = "import sys; sys.modules.update(dict.fromkeys(('caffe', 'cv2', 'data_prep', 'onnx', 'tools', 'torch')))\n"
    cv2.imwrite(str(tmp_path / "face.jpg"), rendered[0])
    done = subprocess.run([sys.executable, "-c", alone + code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    (face,) = Predictor(random_run, aligned=True).predict(tmp_path / "face.jpg")
    for line, (name, answer) in zip(done.stdout.splitlines(), face.attributes.items(), strict=True):
        probability, *region = map(float, re.findall(r"\d+\.\d*", line))
        assert line.startswith(f"{name}: ") and abs(probability - answer.probability) < 1e-3
        np.testing.assert_allclose(region, answer.region, atol=0.6)


def test_smaller_files_give_the_same_predictions_and_metadata(random_run, rendered, tmp_path):
    expected, sizes = None, []
    for precision, tolerance in (("fp32", 0), ("fp16", 0.01), ("int8", 0.2)):
        out = tmp_path / f"{precision}.onnx"
        assert export("--run", random_run.folder, "--out", out, "--precision", precision) == 0
        read = onnx.load(out)
        metadata = model.metadata(read)
        assert json.loads(metadata.pop("attributes")) == ATTRIBUTES and "R G B" in metadata.pop("input")
        scores = {"threshold": [0.25, 0.5], "slope": [1.0, 2.0], "offset": [0.0, -1.0]}
        assert json.loads(metadata.pop("calibration")) == scores
        assert metadata == {"calibrated": "true", "trained on": ""}
        found = results(session(read), rendered)["probability"]
        expected = found if expected is None else expected
        assert np.abs(found - expected).max() <= tolerance
        sizes.append(sum(len(constant.raw_data) for constant in read.graph.initializer))
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.4 * sizes[0]


def test_a_network_of_rendered_faces_says_so_and_uncalibrated_weights_are_asked_for(tmp_path, capsys):
    run = write_run(tmp_path / "run", synthetic=True)
    (tmp_path / "run/cascade/calibration.json").unlink()
    for words in ((), ("--zoo", tmp_path / "zoo")):
        assert export("--run", run.folder, *words) == 1
        assert "not calibrated" in capsys.readouterr().err and not (tmp_path / "zoo").exists()
        assert export("--run", run.folder, *words, "--uncalibrated") == 0
    metadata = model.metadata(onnx.load(tmp_path / "run/cascade.onnx"))
    assert metadata["trained on"] == "rendered faces" and metadata["calibrated"] == "false"
    assert "calibration" not in metadata
    for place in (run.folder, tmp_path / "zoo"):
        assert len(Predictor(place).notes) == 2
    text = (tmp_path / "zoo/readme.md").read_text()
    assert "Trained on rendered faces" in text and "Answers for photos mean nothing." in text


def test_a_layer_that_cannot_be_exported_is_named(tmp_path):
    run = write_run(tmp_path / "run")
    deploy = run.deploy("whole_face")
    deploy.write_text(deploy.read_text().replace("pool: MAX", "pool: AVE", 1))
    with pytest.raises(ToolError, match="layer pool1: only MAX pooling without padding has a translation"):
        model.export(Run.read(run.folder / "whole_face"), "whole_face")


@pytest.mark.parametrize(
    "words, message",
    (
        (["--page", "p", "--out", "x"], "--page and --zoo write a folder, --out a file; give one of the three"),
        (["--page", "p", "--zoo", "z"], "give one of the three"),
        (["--license", "MIT"], "--license belongs to --zoo"),
        (["--onnxruntime-web", "x"], "--onnxruntime-web belongs to --page"),
        (["--page", "p", "--stage", "region"], "region is no cascade; the page shows regions"),
        (["--names", "A"], "unknown option --names"),
    ),
)
def test_wrong_options_are_one_line(words, message, random_run, fails):
    fails("export", "--run", random_run.folder, *words, says=message)


# A folder to hand on ----------------------------------------------------------------------------------------


@pytest.fixture
def zoo(random_run, tmp_path, capsys):
    """A folder that the command wrote, and what it said."""
    assert export("--run", random_run.folder, "--zoo", tmp_path / "zoo", "--license", "CC BY 4.0") == 0
    return tmp_path / "zoo", capsys.readouterr().out


def test_a_folder_to_hand_on_is_complete_and_says_what_is_missing(zoo, random_run):
    folder, said = zoo
    assert {path.name for path in folder.iterdir()} == {
        *("cascade.caffemodel", "deploy.prototxt", "train_val.prototxt", "solver.prototxt"),
        *("calibration.json", "readme.md"),
    }
    assert "yours to fill in before you publish it: --data-terms\n" in said
    text = (folder / "readme.md").read_text()
    front = dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines())
    assert front["license"] == '"CC BY 4.0"' and front["caffemodel"] == '"cascade.caffemodel"'
    assert len(json.loads(front["sha1"])) == 40 and json.loads(front["attributes"]) == ATTRIBUTES
    assert "Licence of the weights: CC BY 4.0" in text and "Terms of the training data: not stated;" in text
    assert "at (69, 111) and (108, 111)" in text and "## Intended use" in text
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(random_run.folder.parent).encode() in random_run.weights("cascade").read_bytes()
    for place in (random_run.folder.parent, folder.parent, REPOSITORY):
        assert str(place).encode() not in content
    solver = (folder / "solver.prototxt").read_text()
    for line in ('net: "train_val.prototxt"', 'snapshot_prefix: "cascade"', 'weights: "cascade.caffemodel"'):
        assert line in solver
    assert '"source": "data/lmdb"' in (folder / "train_val.prototxt").read_text()
    model_files.read(folder / "train_val.prototxt")


def test_a_folder_to_hand_on_answers_like_its_run_from_elsewhere(zoo, random_run, rendered, tmp_path):
    moved = shutil.move(zoo[0], tmp_path / "elsewhere")
    expected = Predictor(random_run, aligned=True)
    found = Predictor(moved, aligned=True)
    assert found.notes == expected.notes == []
    assert found.predict(rendered[0])[0].to_dict() == expected.predict(rendered[0])[0].to_dict()
    given, handed_on = (
        results(session(model.export(run, "cascade")), rendered) for run in (random_run, Run.read(moved))
    )
    for name, values in given.items():
        np.testing.assert_array_equal(values, handed_on[name])
    words = [sys.executable, REPOSITORY / "examples/predict.py", moved, tmp_path / "face.png"]
    cv2.imwrite(str(tmp_path / "face.png"), rendered[0])
    done = subprocess.run(list(map(str, words)), cwd=tmp_path, capture_output=True, text=True)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ATTRIBUTES, done.stderr
    (face,) = expected.predict(tmp_path / "face.png")
    region = [int(side) for side in done.stdout.splitlines()[1].split()[-4:]]
    np.testing.assert_allclose(region, face.attributes["Male"].region, atol=0.6)
    with pytest.raises(ToolError, match="weights without the prototxts of their training; give the run"):
        zoo_files.write(tmp_path / "again", Run.read(moved), "cascade")


def test_the_frame_of_the_training_data_comes_along(tmp_path):
    frame = ((103.0, 112.0), (146.0, 112.0))
    write_run(tmp_path / "run", frame=frame)
    assert export("--run", tmp_path / "run", "--zoo", tmp_path / "zoo") == 0
    assert Run.read(tmp_path / "zoo").data.frame == frame


@pytest.mark.parametrize("form", ("compact", "stream"))
@pytest.mark.parametrize("path", ("/home/somebody/lmdb", "../a b", 'odd "name"', "it's", "back\\slash", 'end"'))
def test_the_folder_of_the_data_is_replaced_in_prototxts(form, path):
    options = NetworkOptions(ATTRIBUTES, lmdb=path, form=form)
    plain = network("cascade", dataclasses.replace(options, lmdb="data/lmdb"))
    assert zoo_files.without_paths(network("cascade", options)) == plain


@pytest.mark.parametrize(
    "name, change, words",
    (
        ("deploy.prototxt", lambda text: text.replace("0.015625", "0.03125"), r"deploy.prototxt: not the file that"),
        ("cascade.caffemodel", lambda text: text[:-1], "not a .caffemodel, or cut short"),
        (
            "readme.md",
            lambda text: text.replace("frame: null", "frame: [[1, 2], [1, 2]]"),
            "readme.md: damaged, .*frame",
        ),
        ("readme.md", lambda text: text.replace("frame: null", 'frame: "x"'), "readme.md: damaged, .*frame"),
        ("calibration.json", lambda text: text.replace("slope", "slop"), "calibration.json: .*remove the file"),
        (
            "readme.md",
            lambda text: text.replace('sha1: "', 'sha1: "0'),
            "not the file that readme.md beside it describes",
        ),
        ("readme.md", lambda text: "", None),
        ("readme.md", lambda text: "---\n" + "[" * 100_000 + ": {\n\0---\n", None),
    ),
)
def test_damage_of_a_folder_to_hand_on_is_one_line(zoo, name, change, words):
    path = zoo[0] / name
    content = path.read_bytes().decode("latin-1")
    assert change(content) != content
    path.write_bytes(change(content).encode("latin-1"))
    if words is None:
        assert Predictor(zoo[0], aligned=True).attributes == ATTRIBUTES
        return
    with pytest.raises(ToolError, match=words) as error:
        Predictor(zoo[0], aligned=True)
    assert "\n" not in str(error.value)
