"""ONNX files give the engine's outputs from the picture on, RegionMapper and RoIWarp included."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from cascade_files import ATTRIBUTES, write_calibration, write_networks, write_weights

from data_prep import geometry
from data_prep.files import sha256
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.export import export_onnx, page
from tools.predict import Predictor

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Width and height: enlarged, enlarged one way, both ways averaged, twice as large, and where only the height shrinks.
SIZES = ((178, 218), (30, 40), (400, 200), (300, 400), (512, 512), (1000, 1300), (240, 300), (256, 256))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    write_networks(folder)
    return folder


@pytest.fixture(scope="module")
def cascade(folder):
    """Calibrated weights of a cascade."""
    path = folder / "cascade.caffemodel"
    write_weights(folder / "cascade/deploy.prototxt", path)
    write_calibration(path)
    return path


@pytest.fixture(scope="module")
def faces(small_faces):
    """Pictures B G R of four synthetic faces."""
    return [cv2.imread(str(path)) for path in sorted((small_faces / "img_align_celeba").iterdir())[:4]]


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def results(session, images, **inputs):
    """What a session gives for images B G R of one size: dict output -> array."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": np.stack(images)[..., ::-1], **inputs})))


@pytest.mark.parametrize("name", ("cascade", "region", "whole_face"))
def test_outputs_equal_those_of_the_engine(folder, cascade, faces, name):
    model, weights = folder / name / "deploy.prototxt", folder / f"{name}.caffemodel"
    if name != "cascade":
        write_weights(model, weights)
        write_calibration(weights)
    run = session(export_onnx.export(model, weights, ATTRIBUTES))
    net = networks.load(model, weights)
    score = "max_d" if name == "region" else "logits"
    blobs = [blob for blob in (score, "response", "rois_image") if blob in net.blobs]
    scores = calibration.read(weights).scores[score]
    regions = []
    for width, height in SIZES if name == "cascade" else SIZES[:1]:
        some = faces[: None if not regions else 1]
        images = [cv2.resize(face, (width, height), interpolation=cv2.INTER_CUBIC) for face in some]
        expected = networks.forward(net, [geometry.patch(geometry.face(image)) for image in images], blobs)
        found = results(run, images)
        probability = calibration.probability(expected[score], np.array(scores.slope), np.array(scores.offset))
        np.testing.assert_allclose(found["probability"], probability, atol=1e-4, err_msg=f"{width} x {height}")
        clear = abs(expected[score] - scores.threshold) > 1e-3 * np.abs(expected[score]).max()
        np.testing.assert_array_equal(found["present"][clear], (expected[score] > scores.threshold)[clear])
        if "rois_image" in blobs:
            np.testing.assert_allclose(found["response"], expected["response"], atol=1e-3)
            region = geometry.from_patch(expected["rois_image"], (height, width))
            np.testing.assert_allclose(found["region"], region, atol=1e-2)
            regions.append(found["region"])
    if name == "cascade":
        assert np.ptp(regions[0], axis=0).max() > 0  # otherwise equal regions would prove nothing
    assert ("region" in found) == (name != "whole_face")


def test_a_file_with_adjustable_regions_consists_of_two_parts(folder, cascade, faces):
    """The web page runs the two parts; together they equal the whole file, at any threshold and weight."""
    model = folder / "cascade/deploy.prototxt"
    adjustable = export_onnx.export(model, cascade, ATTRIBUTES, page.ADJUSTABLE)
    whole, first, second = map(session, (adjustable, *page.split(adjustable)))
    fixed = results(session(export_onnx.export(model, cascade, ATTRIBUTES)), faces)
    features = results(first, faces)
    regions = []
    for threshold, weight in ((0.5, 0.5), (0.5, 0.0), (0.8, 0.5), (1.0, 0.5)):
        settings = {name: np.array(value, np.float32) for name, value in zip(page.ADJUSTABLE, (threshold, weight))}
        expected = results(whole, faces, **settings)
        names = [output.name for output in second.get_outputs()]
        assert {"probability", "present", "region", "revised_response"} == set(names)
        for name, values in zip(names, second.run(names, {**features, **settings})):
            np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=f"{name} {settings}")
            if (threshold, weight) == (0.5, 0.5):
                np.testing.assert_allclose(values, fixed[name], atol=1e-5, err_msg=name)
        regions.append(expected["region"])
    assert np.ptp(regions, axis=0).max() > 1


def test_a_script_without_the_project_gives_the_same_predictions(folder, cascade, small_faces, tmp_path):
    """The example of docs/prediction.md, run by a Python that can import only ONNX Runtime, NumPy and Pillow."""
    exported("--weights", cascade, "--models", folder, "--out", tmp_path / "cascade.onnx")
    text = (REPOSITORY / "docs/prediction.md").read_text().partition("## ONNX")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    alone = "import sys; sys.modules.update(dict.fromkeys(('caffe', 'cv2', 'data_prep', 'onnx', 'tools', 'torch')))\n"
    path = sorted((small_faces / "img_align_celeba").iterdir())[0]
    (tmp_path / "face.jpg").write_bytes(path.read_bytes())
    done = subprocess.run([sys.executable, "-c", alone + code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    (face,) = Predictor(cascade, folder, aligned=True).predict(path)
    for line, (name, answer) in zip(done.stdout.splitlines(), face.attributes.items(), strict=True):
        probability, *region = map(float, re.findall(r"\d+\.\d*", line))
        assert line.startswith(f"{name}: ") and abs(probability - answer.probability) < 1e-3
        np.testing.assert_allclose(region, answer.region, atol=0.6)


def test_smaller_files_give_the_same_predictions(folder, cascade, faces, tmp_path):
    expected, sizes = None, []
    for precision, tolerance in (("fp32", 0), ("fp16", 0.01), ("int8", 0.2)):
        out = tmp_path / f"{precision}.onnx"
        exported("--weights", cascade, "--models", folder, "--out", out, "--precision", precision)
        model = onnx.load(out)
        assert {entry.key for entry in model.metadata_props} >= {"attributes", "calibrated", "calibration", "input"}
        found = results(session(model), faces)["probability"]
        expected = found if expected is None else expected
        assert np.abs(found - expected).max() <= tolerance
        sizes.append(out.stat().st_size)
    assert sizes[1] < 0.51 * sizes[0] and sizes[2] < 0.27 * sizes[0]


def test_a_layer_that_cannot_be_exported_is_named(folder, tmp_path):
    weights = tmp_path / "x.caffemodel"
    write_weights(folder / "whole_face/deploy.prototxt", weights, gain=1)
    text = (folder / "whole_face/deploy.prototxt").read_text()
    (tmp_path / "deploy.prototxt").write_text(text + 'layer { name: "odd" type: "AbsVal" bottom: "prob" top: "odd" }\n')
    with pytest.raises(networks.ToolError, match="layer odd: type AbsVal has no translation"):
        export_onnx.export(tmp_path / "deploy.prototxt", weights, ATTRIBUTES, uncalibrated=True)


@pytest.fixture
def weights(folder, tmp_path):
    path = tmp_path / "x.caffemodel"
    write_weights(folder / "whole_face/deploy.prototxt", path, gain=1)
    return path


def exported(*words):
    """The metadata of the file that the command writes for these options."""
    parser = argparse.ArgumentParser()
    export_onnx.add_arguments(parser)
    arguments = parser.parse_args(list(map(str, words)))
    assert export_onnx.run(arguments) == 0
    model = onnx.load(arguments.out or f"{arguments.run}/{arguments.stage}.onnx")
    return {entry.key: entry.value for entry in model.metadata_props}


def test_metadata_have_names_and_calibration(folder, weights, tmp_path):
    words = ["--weights", weights, "--models", folder, "--out", tmp_path / "x.onnx"]
    with pytest.raises(ToolError, match="names of its attributes are not known; give --run, --lmdb or --names"):
        exported(*words)
    (tmp_path / "manifest.json").write_text(json.dumps({"attributes": ATTRIBUTES}))
    for source in (["--names", ",".join(ATTRIBUTES)], ["--lmdb", tmp_path]):
        with pytest.raises(ToolError, match="not calibrated, .*face-cascade evaluate first, or .* --uncalibrated"):
            exported(*words, *source)
        assert not (tmp_path / "x.onnx").exists()
        metadata = exported(*words, *source, "--uncalibrated")
        assert json.loads(metadata["attributes"]) == ATTRIBUTES and metadata["calibrated"] == "false"
        assert "calibration" not in metadata and "R G B" in metadata["input"]
        (tmp_path / "x.onnx").unlink()
    write_calibration(weights)
    metadata = exported(*words)
    assert json.loads(metadata["attributes"]) == ATTRIBUTES and metadata["calibrated"] == "true"
    expected = {"threshold": [0.25, 0.5], "slope": [1.0, 2.0], "offset": [0.0, -1.0]}
    assert json.loads(metadata["calibration"]) == expected


@pytest.mark.parametrize(
    "names, words",
    (
        ("Male", "for 2 attributes, but 1 names"),
        ("Male,Male", "each once"),
        ("Male,", "each once"),
        ("", "each once"),
        ("Male,Eyeglasses", "trained on Eyeglasses, Male, as calibration.json beside it says, not on Male, Eyeglasses"),
    ),
)
def test_wrong_names_are_reported_in_one_line(folder, weights, tmp_path, names, words):
    if words.startswith("trained"):
        write_calibration(weights)
    with pytest.raises(ToolError, match=words) as error:
        exported("--weights", weights, "--models", folder, "--out", tmp_path / "x.onnx", "--names", names)
    assert "\n" not in str(error.value)


def test_names_weights_and_prototxt_are_taken_from_a_run(folder, weights, tmp_path):
    run = runs.Run(tmp_path / "run", record.Data("lmdb", "x", ATTRIBUTES, "stream"), record.Settings(engine="torch"))
    place = run.place("whole_face")
    place.mkdir(parents=True)
    (place / "deploy.prototxt").write_bytes((folder / "whole_face/deploy.prototxt").read_bytes())
    (place / "w.caffemodel").write_bytes(weights.read_bytes())
    run.stages["whole_face"] = record.Stage({}, "done", "whole_face/w.caffemodel", sha256(weights))
    run.write()
    metadata = exported("--run", run.folder, "--stage", "whole_face", "--uncalibrated")
    assert json.loads(metadata["attributes"]) == ATTRIBUTES
    with pytest.raises(ToolError, match="stage cascade is not begun"):
        exported("--run", run.folder)
    for option in ("--names", "--models", "--lmdb"):
        with pytest.raises(ToolError, match=f"{option} belongs to --weights"):
            exported("--run", run.folder, option, "A,B")
