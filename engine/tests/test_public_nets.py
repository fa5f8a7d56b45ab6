"""Nets of the AlexNet, VGG and GoogLeNet family load in both engines and agree."""

import os

import caffe
import numpy as np
import pytest
from parity import build, compare, replay
from public_nets import NETS

# CAFFE_FULL_NETS=1 runs them at their papers' width (minutes, and gigabytes).
SHARE = 1 if os.environ.get("CAFFE_FULL_NETS") else 1 / 8


@pytest.mark.parametrize("name", NETS)
def test_answers_and_gradients_agree(name, bvlc, tmp_path):
    text = "force_backward: true\n" + NETS[name](share=SHARE, classes=1000 if SHARE == 1 else 10)
    data = np.random.default_rng(0).normal(scale=50, size=(1, 3, 227, 227)).astype(np.float32)
    data = data[..., :224, :224] if name in ("VGG16", "GoogLeNet") else data
    result, names = bvlc.net(text, {"data": data}, backward=None)
    net = build(tmp_path, text)
    assert list(net.blobs) == names["blobs"] and net._layer_names == names["layers"]
    compare(replay(net, result, {"data": data}, backward=False), result)
    # Gradients begin at the scores. Where random weights give one class a probability of 1 - 1e-7, the softmax's
    # gradient p (dy - sum p dy) is the difference of equal numbers: in both engines nothing but rounding.
    text = text[: text.rindex("layer {")]
    assert "Softmax" not in text
    result, _ = bvlc.net(text, {"data": data})
    compare(replay(build(tmp_path, text), result, {"data": data}, in_step=True), result)


@pytest.mark.parametrize("name", NETS)
def test_training_nets_are_put_together_alike(name, bvlc, tmp_path):
    text = NETS[name](share=1 / 8, classes=10, train=True)
    code = """
net = caffe.Net(case["path"], caffe.TRAIN)
facts.update(layers=list(net._layer_names), weights={k: float(v) for k, v in net.blob_loss_weights.items()},
             shapes={k: list(b.data.shape) for k, b in net.blobs.items()})
"""
    net = build(tmp_path, text, caffe.TRAIN)
    _, theirs = bvlc.code(code, path=str(tmp_path / "net.prototxt"))
    assert net._layer_names == theirs["layers"]
    assert net.blob_loss_weights == pytest.approx(theirs["weights"])
    assert {name: list(blob.shape) for name, blob in net.blobs.items()} == theirs["shapes"]
    net.blobs["data"].data[...] = 1
    assert np.isfinite(net.forward()[net.outputs[0]]).all()
    net.backward()
    assert all(
        np.isfinite(blob.diff).all() and blob.diff.any()
        for blob in net.params["conv1" if "conv1" in net.params else "conv1_1"]
    )


def test_in_step_an_in_place_relu_sees_the_real_caffes_numbers(bvlc, tmp_path):
    """Sums that cancel to rounding noise round 0, of another sign in each engine: only in step do gradients agree."""
    text = """force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 64 dim: 2000 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 8 weight_filler { type: "constant" value: 0.3 } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
"""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(64, 1000)).astype(np.float32)
    x = np.concatenate([half, -half[:, rng.permutation(1000)]], axis=1)
    result, _ = bvlc.net(text, {"x": x})
    with pytest.raises(AssertionError, match="diff/x"):
        compare(replay(build(tmp_path, text), result, {"x": x}), {"diff/x": result["diff/x"]})
    compare(replay(build(tmp_path, text), result, {"x": x}, in_step=True), result)
