"""ONNX files compute what the engine computes, RegionMapper and RoIWarp included."""

import argparse
import json

import caffe
import numpy as np
import onnx
import onnxruntime
import pytest

from data_prep.files import sha256
from models import generate
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.export import export_onnx

ATTRIBUTES = ["Eyeglasses", "Male"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    generate.write(folder, generate.Options(ATTRIBUTES, batch=2))
    return folder


def filled(model, path, gain):
    """Weights of a deploy net whose responses fall on both sides of the threshold, saved to `path`."""
    caffe.set_random_seed(1)
    net = caffe.Net(str(model), caffe.TEST)
    rng = np.random.default_rng(0)
    if "conv7" in net.params:
        net.params["conv7"][0].data[...] *= gain
    if "region_mapper" in net.params:
        net.params["region_mapper"][0].data[...] = rng.uniform(0, 1, (2, 4, 4))
        low = rng.uniform(0, 7, (2, 4, 4, 2))
        net.params["region_mapper"][1].data[...] = np.concatenate([low, low + rng.uniform(0.5, 6, low.shape)], axis=-1)
    net.save(str(path))


@pytest.mark.parametrize("name", ("cascade", "whole_face"))  # the cascade holds all of the region net
def test_agrees_with_the_engine(folder, tmp_path, name):
    model, weights = folder / name / "deploy.prototxt", tmp_path / f"{name}.caffemodel"
    filled(model, weights, gain=20)
    made, calibrated = export_onnx.export(model, weights, ATTRIBUTES)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    assert {"cascade": "rois_image", "whole_face": "prob"}[name] in outputs
    rng = np.random.default_rng(1)
    levels = rng.uniform(0, 255, (4, 1, 1, 1))
    images = list((levels + rng.normal(0, 30, (4, 224, 224, 3))).clip(0, 255).astype(np.uint8))
    net = networks.load(model, weights)
    expected = networks.forward(net, images, outputs)
    found = session.run(outputs, {"data": np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)})
    for output, values in zip(outputs, found):
        scale = max(1, np.abs(expected[output]).max())
        np.testing.assert_allclose(values / scale, expected[output] / scale, atol=1e-4, err_msg=output)
    if name == "cascade":
        assert np.ptp(expected["rois"], axis=0).max() > 0  # the images' regions differ
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["attributes"]) == ATTRIBUTES
    assert metadata["calibrated"] == "false" and not calibrated and "calibration" not in metadata


def test_layer_without_translation_is_named(folder, tmp_path):
    weights = tmp_path / "x.caffemodel"
    filled(folder / "whole_face/deploy.prototxt", weights, gain=1)
    text = (folder / "whole_face/deploy.prototxt").read_text()
    (tmp_path / "deploy.prototxt").write_text(text + 'layer { name: "odd" type: "AbsVal" bottom: "prob" top: "odd" }\n')
    with pytest.raises(networks.ToolError, match="layer odd: type AbsVal has no translation"):
        export_onnx.export(tmp_path / "deploy.prototxt", weights, ATTRIBUTES)


@pytest.fixture
def weights(folder, tmp_path):
    path = tmp_path / "x.caffemodel"
    filled(folder / "whole_face/deploy.prototxt", path, gain=1)
    return path


def calibrate(weights, attributes):
    score = calibration.ScoreCalibration([0.25, 0.5], [1.0, 2.0], [0.0, -1.0])
    made = calibration.Calibration(sha256(weights), "data", attributes, [0.2, 0.3], 0, "accuracy", {"logits": score})
    calibration.write(weights, made)


def exported(*words):
    """The metadata of what the command writes for these options."""
    parser = argparse.ArgumentParser()
    export_onnx.add_arguments(parser)
    arguments = parser.parse_args(list(map(str, words)))
    assert export_onnx.run(arguments) == 0
    model = onnx.load(arguments.out or f"{arguments.run}/{arguments.stage}.onnx")
    return {entry.key: entry.value for entry in model.metadata_props}


def test_names_and_calibration_are_in_the_metadata(folder, weights, tmp_path, capsys):
    """Today's defect: without calibration the file had no names at all, and nothing said that it was uncalibrated."""
    words = ["--weights", weights, "--models", folder, "--out", tmp_path / "x.onnx"]
    with pytest.raises(ToolError, match="names of its attributes are not known; give --run, --lmdb or --names"):
        exported(*words)
    assert not (tmp_path / "x.onnx").exists()
    (tmp_path / "manifest.json").write_text(json.dumps({"attributes": ATTRIBUTES}))
    for source in (["--names", ",".join(ATTRIBUTES)], ["--lmdb", tmp_path]):
        metadata = exported(*words, *source)
        assert json.loads(metadata["attributes"]) == ATTRIBUTES and metadata["calibrated"] == "false"
        assert "NOT calibrated" in capsys.readouterr().out
    calibrate(weights, ATTRIBUTES)
    metadata = exported(*words)
    assert json.loads(metadata["attributes"]) == ATTRIBUTES and metadata["calibrated"] == "true"
    assert json.loads(metadata["calibration"])["logits"] == {
        "threshold": [0.25, 0.5],
        "slope": [1.0, 2.0],
        "offset": [0.0, -1.0],
    }
    assert "NOT calibrated" not in capsys.readouterr().out


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
def test_wrong_names_are_one_line(folder, weights, tmp_path, names, words):
    if words.startswith("trained"):
        calibrate(weights, ATTRIBUTES)
    with pytest.raises(ToolError, match=words) as error:
        exported("--weights", weights, "--models", folder, "--out", tmp_path / "x.onnx", "--names", names)
    assert "\n" not in str(error.value)


def test_a_run_has_names_weights_and_prototxt(folder, weights, tmp_path):
    run = runs.Run(tmp_path / "run", record.Data("lmdb", "x", ATTRIBUTES, "stream"), record.Settings(engine="torch"))
    place = run.place("whole_face")
    place.mkdir(parents=True)
    (place / "deploy.prototxt").write_bytes((folder / "whole_face/deploy.prototxt").read_bytes())
    (place / "w.caffemodel").write_bytes(weights.read_bytes())
    run.stages["whole_face"] = record.Stage({}, "done", "whole_face/w.caffemodel", sha256(weights))
    run.write()
    metadata = exported("--run", run.folder, "--stage", "whole_face")
    assert json.loads(metadata["attributes"]) == ATTRIBUTES
    with pytest.raises(ToolError, match="stage cascade is not begun"):
        exported("--run", run.folder)
    with pytest.raises(ToolError, match="--names belongs to --weights"):
        exported("--run", run.folder, "--names", "A,B")
