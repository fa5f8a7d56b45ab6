"""How nets are put together, against a real Caffe: rules, splits, sharing, gradients asked for, old forms."""

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from parity import build, layer

X = layer("Input", "", "x", "input_param { shape { dim: 3 dim: 4 } }", "x")
T = layer("Input", "", "t", "input_param { shape { dim: 3 } }", "t")
LOSS = layer("SoftmaxWithLoss", "y t", "loss", name="loss")
SUM_LOSS = layer("Eltwise", "y z", "s", name="sum") + layer("SoftmaxWithLoss", "s t", "loss", name="loss")


def ip(name, bottom, top, outputs=4, extra=""):
    body = f'{extra} inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }}'
    return layer("InnerProduct", bottom, top, body, name)


def named(*names, more=""):
    return " ".join(f'param {{ name: "{name}" {more} }}' for name in names)


A, B, C, RELU = ip("a", "x", "h"), ip("b", "h", "y"), ip("c", "h", "z"), layer("ReLU", "h", "h", name="relu")
REDUCTION = "loss_weight: 0.5 reduction_param { operation: SUMSQ }"
WITH_LOSS = {
    "splits of a chain with in-place layers": A + RELU + B + C + SUM_LOSS + layer("Accuracy", "s t", "right", name="r"),
    "a loss weight in the middle": A
    + layer("Reduction", "h", "size", REDUCTION, "size")
    + layer("Power", "size", "double", "power_param { scale: 2 }", "more")
    + B
    + LOSS,
    "weights shared by name": ip("a", "x", "h", extra=named("w", more="lr_mult: 2") + named("b"))
    + ip("b", "h", "y", extra=named("w") + named("b", more="decay_mult: 0"))
    + LOSS,
    "weights shared whatever their shape": ip("a", "x", "h", 6, named("w"))
    + layer("Reshape", "h", "r", "reshape_param { shape { dim: 3 dim: 6 } }", "flat")
    + ip("b", "r", "y", 4, named("w", more="share_mode: PERMISSIVE"))
    + LOSS,
    "a frozen layer below": ip("a", "x", "h", extra="param { lr_mult: 0 } " * 2) + B + LOSS,
    "no gradient further down": A + ip("b", "h", "y", extra="propagate_down: false") + LOSS,
    "a branch that no loss needs": A + B + C + LOSS,
    "a skipped gradient into a split": A + B + ip("c", "h", "z", extra="propagate_down: false") + SUM_LOSS,
    "forced gradients": "force_backward: true\n" + ip("a", "x", "y") + LOSS,
    "two losses with weights": A
    + B
    + layer("SoftmaxWithLoss", "y t", "loss", "loss_weight: 2", "loss")
    + layer("HingeLoss", "y t", "hinge", "loss_weight: 0.25", "hinge"),
}
WITHOUT_LOSS = {
    "inputs of old": 'input: "x" input_dim: 3 input_dim: 4 input_dim: 1 input_dim: 1\n' + ip("a", "x", "y"),
    "inputs of old with shapes": 'input: "x" input: "z" input_shape { dim: 3 dim: 4 } input_shape { dim: 3 dim: 4 }\n'
    + layer("Eltwise", "x z", "s", name="sum")
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
@pytest.mark.parametrize("kind", [*WITH_LOSS, *WITHOUT_LOSS])
def test_nets_are_put_together_alike(kind, phase, alike):
    if kind in WITHOUT_LOSS:
        return alike(WITHOUT_LOSS[kind], phase=phase, gradient=1e-4)
    inputs = {"x": np.random.default_rng(0).normal(size=(3, 4)), "t": np.array([0, 2, 1])}
    alike(X + T + WITH_LOSS[kind], phase=phase, backward="loss", gradient=1e-4, **inputs)


CONVOLUTION = 'convolution_param { num_output: %d kernel_size: %d %s weight_filler { type: "msra" } }'
POOLING = "pooling_param { pool: %s kernel_size: %d stride: %d %s }"
# As in AlexNet and GoogLeNet: a stem with LRN, an inception module, groups, an auxiliary classifier, dropout.
MIXED = "".join(
    layer(kind, bottom, top, body, f"{top}_{kind}")
    for kind, bottom, top, body in (
        ("Convolution", "x", "c", CONVOLUTION % (16, 7, "stride: 2 pad: 3")),
        ("ReLU", "c", "c", ""),
        ("LRN", "c", "n", "lrn_param { local_size: 5 alpha: 1e-4 }"),
        ("Pooling", "n", "p", POOLING % ("MAX", 3, 2, "")),
        ("Convolution", "p", "one", CONVOLUTION % (4, 1, "")),
        ("Convolution", "p", "reduced", CONVOLUTION % (6, 1, "")),
        ("ReLU", "reduced", "reduced", ""),
        ("Convolution", "reduced", "three", CONVOLUTION % (8, 3, "pad: 1")),
        ("Pooling", "p", "pooled", POOLING % ("MAX", 3, 1, "pad: 1")),
        ("Concat", "one three pooled", "all", ""),
        ("Convolution", "all", "groups", CONVOLUTION % (8, 3, "pad: 1 group: 2")),
        ("Pooling", "all", "mean", POOLING % ("AVE", 5, 3, "")),
        ("InnerProduct", "mean", "z", "inner_product_param { num_output: 4 }"),
        ("SoftmaxWithLoss", "z t", "auxiliary", "loss_weight: 0.3"),
        ("Dropout", "groups", "groups", "dropout_param { dropout_ratio: 1e-9 }"),
        ("InnerProduct", "groups", "y", 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }'),
        ("SoftmaxWithLoss", "y t", "loss", ""),
    )
)


@pytest.mark.parametrize("phase", (caffe.TRAIN, caffe.TEST))
def test_layers_of_many_types_work_together(phase, alike):
    """They exchange tensors in other orders of memory than NumPy's."""
    x = np.random.default_rng(0).normal(size=(3, 3, 31, 33))
    inputs = "force_backward: true\n" + X.replace("dim: 4", "dim: 3 dim: 31 dim: 33") + T
    alike(inputs + MIXED, in_step=True, phase=phase, backward="loss", x=x, t=np.array([3, 0, 1]))


def test_a_loss_layer_needs_no_top(tmp_path):
    gradients = []
    for top in ("loss", ""):
        caffe.set_random_seed(1)
        net = build(tmp_path, X + T + ip("a", "x", "y") + layer("SoftmaxWithLoss", "y t", top, name="loss"))
        net.blobs["x"].data[...] = 1
        net.forward()
        net.backward()
        gradients.append(net.params["a"][0].diff.copy())
    assert gradients[0].any() and (gradients[0] == gradients[1]).all()


def test_stages_and_levels(tmp_path):
    net = build(tmp_path, WITHOUT_LOSS["names with stages"], level=1, stages=["one", "two"])
    assert net._layer_names == ["x", "a", "c", "d"] and net.blobs["y"].shape == (3, 4)


def test_weights_of_2014_are_read(alike, tmp_path):
    """A binary .caffemodel with V1 layers and blobs of four sizes, as public weights are."""
    old = caffe_pb2.NetParameter(name="old")
    layer = old.layers.add(name="ip", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    layer.blobs.add(num=1, channels=1, height=2, width=4, data=range(8))
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    path = str(tmp_path / "old.caffemodel")
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    alike(X + ip("ip", "x", "y", 2), weights=path, x=np.eye(3, 4))
    net = build(tmp_path, X + ip("ip", "x", "y", 2), weights=path)
    np.testing.assert_array_equal(net.params["ip"][0].data, np.arange(8).reshape(2, 4))
