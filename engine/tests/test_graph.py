"""How nets are put together, against a real Caffe: rules, splits, sharing, gradients asked for, old forms."""

import caffe
import numpy as np
import pytest
from parity import build, compare, replay

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 } } }\n'
T = 'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 3 } } }\n'


def ip(name, bottom, top, outputs=4, extra=""):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" {extra} '
        f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}\n'
    )


def layer(name, kind, bottoms, tops, extra=""):
    bottoms = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    tops = " ".join(f'top: "{name}"' for name in tops.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {extra} }}\n'


LOSS = layer("loss", "SoftmaxWithLoss", "y t", "loss")
NETS = {
    "splits of a chain with in-place layers": X
    + T
    + ip("a", "x", "h")
    + layer("relu", "ReLU", "h", "h")
    + ip("b", "h", "y")
    + ip("c", "h", "z")
    + layer("sum", "Eltwise", "y z", "s")
    + layer("loss", "SoftmaxWithLoss", "s t", "loss")
    + layer("accuracy", "Accuracy", "s t", "accuracy"),
    "a loss weight in the middle": X
    + T
    + ip("a", "x", "h")
    + layer("size", "Reduction", "h", "size", "loss_weight: 0.5 reduction_param { operation: SUMSQ }")
    + layer("more", "Power", "size", "double", "power_param { scale: 2 }")
    + ip("b", "h", "y")
    + LOSS,
    "an unnamed loss": X + T + ip("a", "x", "y") + layer("loss", "SoftmaxWithLoss", "y t", ""),
    "weights shared by name": X
    + T
    + ip("a", "x", "h", extra='param { name: "w" lr_mult: 2 } param { name: "b" }')
    + ip("b", "h", "y", extra='param { name: "w" } param { name: "b" decay_mult: 0 }')
    + LOSS,
    "weights shared whatever their shape": X
    + T
    + ip("a", "x", "h", 6, 'param { name: "w" }')
    + layer("flat", "Reshape", "h", "r", "reshape_param { shape { dim: 3 dim: 6 } }")
    + ip("b", "r", "y", 4, 'param { name: "w" share_mode: PERMISSIVE }')
    + LOSS,
    "a frozen layer below": X
    + T
    + ip("a", "x", "h", extra="param { lr_mult: 0 } param { lr_mult: 0 }")
    + ip("b", "h", "y")
    + LOSS,
    "no gradient further down": X + T + ip("a", "x", "h") + ip("b", "h", "y", extra="propagate_down: false") + LOSS,
    "a branch that no loss needs": X + T + ip("a", "x", "h") + ip("b", "h", "y") + ip("c", "h", "z") + LOSS,
    "a skipped gradient into a split": X
    + T
    + ip("a", "x", "h")
    + ip("b", "h", "y")
    + ip("c", "h", "z", extra="propagate_down: false")
    + layer("sum", "Eltwise", "y z", "s")
    + layer("loss", "SoftmaxWithLoss", "s t", "loss"),
    "forced gradients": "force_backward: true\n" + X + T + ip("a", "x", "y") + LOSS,
    "two losses with weights": X
    + T
    + ip("a", "x", "y")
    + layer("loss", "SoftmaxWithLoss", "y t", "loss", "loss_weight: 2")
    + layer("hinge", "HingeLoss", "y t", "hinge", "loss_weight: 0.25"),
    "inputs of old": 'input: "x" input_dim: 3 input_dim: 4 input_dim: 1 input_dim: 1\n' + ip("a", "x", "y"),
    "inputs of old with shapes": 'input: "x" input: "z" input_shape { dim: 3 dim: 4 } input_shape { dim: 3 dim: 4 }\n'
    + layer("sum", "Eltwise", "x z", "s")
    + ip("a", "s", "y"),
    "layers of 2014": """
        input: "x" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 8
        layers { name: "conv" type: CONVOLUTION bottom: "x" top: "c"
                 blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
                 convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
        layers { name: "relu" type: RELU bottom: "c" top: "c" }
        layers { name: "norm" type: LRN bottom: "c" top: "n" lrn_param { local_size: 3 } }
        layers { name: "drop" type: DROPOUT bottom: "n" top: "n" }
        layers { name: "ip" type: INNER_PRODUCT bottom: "n" top: "y" inner_product_param { num_output: 2 } }
        layers { name: "prob" type: SOFTMAX bottom: "y" top: "prob" }""",
    "names with stages": X
    + ip("a", "x", "y", extra='include { stage: "one" }')
    + ip("a", "x", "y", 2, 'include { not_stage: "one" }')
    + ip("b", "y", "z", extra="include { phase: TRAIN }")
    + ip("c", "y", "z", 5, "exclude { phase: TRAIN }")
    + ip("d", "z", "w", extra="include { min_level: 1 }"),
}


@pytest.mark.parametrize("phase", (caffe.TRAIN, caffe.TEST))
@pytest.mark.parametrize("kind", NETS)
def test_nets_are_put_together_alike(kind, phase, bvlc, tmp_path):
    rng = np.random.default_rng(0)
    text = NETS[kind]
    inputs = {}
    if '"t"' in text:
        inputs = {"x": rng.normal(size=(3, 4)).astype(np.float32), "t": np.array([0, 2, 1], np.float32)}
    backward = "loss" if "loss" in text else "outputs"
    result, names = bvlc.net(text, inputs, phase, backward)
    net = build(tmp_path, text, phase)
    ours = [
        list(net._layer_names),
        list(net.blobs),
        net.outputs,
        net.inputs,
        dict(net.bottom_names),
        dict(net.top_names),
    ]
    theirs = [names[key] for key in ("layers", "blobs", "outputs", "inputs", "bottoms", "tops")]
    if kind == "an unnamed loss":
        # Caffe calls it (automatic), whatever layer it belongs to.
        ours[1:4], theirs[1:4] = [], []
        ours[-1].pop("loss"), theirs[-1].pop("loss")
        result = {key: array for key, array in result.items() if "automatic" not in key}
    assert ours == theirs
    compare(replay(net, result, inputs), result, gradient=1e-4)


def test_stages_and_levels(tmp_path):
    text = NETS["names with stages"]
    net = build(tmp_path, text, level=1, stages=["one", "two"])
    assert net._layer_names == ["x", "a", "c", "d"] and net.blobs["y"].shape == (3, 4)
    assert build(tmp_path, text)._layer_names == ["x", "a", "c"]


@pytest.mark.parametrize(
    "text, words",
    [
        (
            ip("a", "x", "h", extra='param { name: "w" lr_mult: 2 }')
            + ip("b", "h", "y", extra='param { name: "w" lr_mult: 1 }'),
            "lr_mult",
        ),
        (ip("a", "x", "h", 6, 'param { name: "w" }') + ip("b", "h", "y", extra='param { name: "w" }'), "shape"),
        (ip("a", "x", "h", extra="propagate_down: true propagate_down: true"), "propagate_down"),
    ],
)
def test_wrong_sharing_is_named(text, words, tmp_path):
    with pytest.raises(caffe.CaffeError, match=words):
        build(tmp_path, X + text)


def test_weights_of_2014_are_read(bvlc, tmp_path):
    """A binary .caffemodel with V1 layers and blobs of four sizes, as public weights are."""
    from caffe.proto import caffe_pb2

    old = caffe_pb2.NetParameter(name="old")
    layer = old.layers.add(name="ip", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    numbers = np.arange(8, dtype=np.float32)
    layer.blobs.add(num=1, channels=1, height=2, width=4, data=numbers.tolist())
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    net = build(tmp_path, X + ip("ip", "x", "y", 2), weights=str(tmp_path / "old.caffemodel"))
    np.testing.assert_array_equal(net.params["ip"][0].data, numbers.reshape(2, 4))
    x = np.eye(3, 4, dtype=np.float32)
    result, _ = bvlc.net(X + ip("ip", "x", "y", 2), {"x": x}, weights=str(tmp_path / "old.caffemodel"), backward=None)
    np.testing.assert_allclose(net.forward(x=x)["y"], result["data/y"])
