"""ONNX files compute what the engine computes, RegionMapper and RoIWarp included."""

import json

import caffe
import numpy as np
import onnxruntime
import pytest

from models import generate
from tools import networks
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
    made = export_onnx.export(model, weights, ATTRIBUTES)
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
    assert json.loads(session.get_modelmeta().custom_metadata_map["attributes"]) == ATTRIBUTES


def test_layer_without_translation_is_named(folder, tmp_path):
    weights = tmp_path / "x.caffemodel"
    filled(folder / "whole_face/deploy.prototxt", weights, gain=1)
    text = (folder / "whole_face/deploy.prototxt").read_text()
    (tmp_path / "deploy.prototxt").write_text(text + 'layer { name: "odd" type: "AbsVal" bottom: "prob" top: "odd" }\n')
    with pytest.raises(networks.ToolError, match="layer odd: type AbsVal has no translation"):
        export_onnx.export(tmp_path / "deploy.prototxt", weights)
