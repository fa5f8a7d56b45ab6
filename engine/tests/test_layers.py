"""Every layer type against a real Caffe: forward pass and gradients."""

import caffe
import numpy as np
import pytest
from caffe.net_spec import param_name_dict
from parity import build, layer

CASES = {}  # name -> arguments of `alike`
# Covered by test_data_layers.py, and by nets in test_graph.py.
ELSEWHERE = {"Data", "HDF5Data", "MemoryData", "Input", "Python", "Split"}
FIELDS = {**param_name_dict(), "Deconvolution": "convolution"}
rng = np.random.default_rng(0)


def normal(*shape, scale=1.0, shift=0.0):
    return np.asarray(rng.normal(scale=scale, size=shape) + shift, np.float32)


def labels(classes, *shape):
    return rng.integers(0, classes, shape).astype(np.float32)


def uniform(*shape):
    return rng.uniform(0.05, 1, shape).astype(np.float32)


def case(kind, *bodies, tops="y", before="", after="", bottoms=None, rest="", forced=True, backward="outputs", **more):
    """Add a case for each body of a layer's own parameters; its bottoms are the inputs.

    Shapes stand for normally distributed numbers. rest: what stands beside the layer's own parameters
    """
    more = {name: normal(*value) if isinstance(value, tuple) else value for name, value in more.items()}
    text, inputs = "force_backward: true\n" * (forced and backward != ""), []
    for name, array in more.items():
        if isinstance(array, np.ndarray):
            inputs.append(name)
            shape = " ".join(f"dim: {size}" for size in array.shape)
            text += layer("Input", "", name, f"input_param {{ shape {{ {shape} }} }}", name)
    for body in bodies or [""]:
        own = f"{FIELDS[kind]}_param {{ {body} }}" if body else ""
        net = text + before + layer(kind, " ".join(inputs) if bottoms is None else bottoms, tops, own + rest) + after
        CASES[f"{kind} {len(CASES)}"] = {"random": 0.5, "backward": backward, "text": net, **more}


def in_place(kind, *bodies, **inputs):
    """The same for a layer that overwrites the top of a Power."""
    case(kind, *bodies, before=layer("Power", "x", "y", "power_param { scale: 1.5 }", "first"), bottoms="y", **inputs)


# Element by element -------------------------------------------------------------------------------------------
for kind, *bodies in (
    ("ReLU", "", "negative_slope: 0.1"),
    ("PReLU", "", "channel_shared: true"),
    ("ELU", "alpha: 0.7"),
    ("Sigmoid",),
    ("TanH",),
    ("BNLL",),
    ("Swish", "beta: 1.5"),
    ("Clip", "min: -0.5 max: 0.7"),
    ("Exp", "base: 2 scale: 0.5 shift: -1"),
    ("Dropout", "dropout_ratio: 0.3", "dropout_ratio: 0"),
):
    case(kind, *bodies, x=(3, 4, 5))
    in_place(kind, *bodies, x=(2, 3, 4, 5))
case("AbsVal", x=(3, 5))
case("Exp", "scale: -0.5", x=(3, 5))
bodies = "power: 2 scale: 0.5 shift: 1.5", "power: 3", "power: 0.5", "power: 0", "scale: 0 shift: 2 power: 3"
case("Power", *bodies, x=normal(3, 5, scale=0.3, shift=3))
case("Log", "", "base: 10 scale: 0.5 shift: 1", "base: 2 shift: 1", x=normal(3, 5, scale=0.2, shift=2))
case("Threshold", "threshold: 0.3", x=(3, 5), backward="")

# Windows ------------------------------------------------------------------------------------------------------
for channels, size, body in (
    (3, (7, 8), "num_output: 4 kernel_size: 3 stride: 2 pad: 1"),
    (2, (9, 7), "num_output: 3 kernel_size: 3 dilation: 2 bias_term: false"),
    (2, (5, 9), "num_output: 2 kernel_h: 1 kernel_w: 4 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 2"),
    (6, (5, 4), "num_output: 3 kernel_size: 2 group: 3"),
    (64, (8, 8), "num_output: 48 kernel_size: 3 pad: 1 group: 2"),
    (24, (9, 5), "num_output: 96 kernel_size: 1 group: 3 stride: 2"),
    (5, (6, 6), "num_output: 5 kernel_size: 3 group: 5"),
    (3, (27, 31), "num_output: 16 kernel_size: 11 stride: 4"),
    (3, (8,), "num_output: 3 kernel_size: 3 pad: 1"),
    (2, (3, 4, 5), "num_output: 2 kernel_size: 2 pad: 1 stride: 2"),
):
    case("Convolution", body, x=(2, channels, *size), random=0.2)
body = "num_output: 4 kernel_size: 1 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 2 dilation: 2"
case("Convolution", body, x=(2, 2, 3, 1))  # no window is on the image
case("Convolution", "num_output: 3 kernel_size: 2", tops="y w", x=(2, 3, 4, 5), z=(2, 3, 4, 5))
case("Convolution", "num_output: 3 kernel_size: 2 axis: 2", x=(2, 2, 4, 5, 6))
case("Deconvolution", "num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2", x=(2, 6, 4, 5))
case("Deconvolution", "num_output: 3 kernel_size: 3 dilation: 2 bias_term: false", x=(2, 2, 4, 3))
bodies = [
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 4 stride: 3 pad: 3",
    "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 1",
    "kernel_size: 3 stride: 2 round_mode: FLOOR",
    "global_pooling: true",
]
case("Pooling", *bodies, *(f"pool: AVE {body}" for body in bodies), x=(2, 3, 8, 9))
case("Pooling", *bodies, tops="y places", x=(2, 2, 7, 6))
case("Pooling", "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0", x=(1, 2, 7, 6))

# Products, normalisation, broadcasts --------------------------------------------------------------------------
case("InnerProduct", "num_output: 4", "num_output: 3 axis: -1 transpose: true bias_term: false", x=(3, 2, 5))
case("Embed", "num_output: 3 input_dim: 5", x=labels(5, 2, 4), forced=False)
case("Embed", "num_output: 2 input_dim: 4 bias_term: false", x=labels(4, 5), forced=False)
case("LRN", "local_size: 5 alpha: 1.5 beta: 0.75 k: 2", x=(2, 6, 4, 5))
case("LRN", "local_size: 3 alpha: 0.7 beta: 0.5 norm_region: WITHIN_CHANNEL", x=(2, 3, 4, 5))
for shape in ((4, 3), (3, 4, 3, 5)):
    for phase in (0, 1):  # two passes in TRAIN: the second one's running statistics are means of two
        case("BatchNorm", phase=phase, passes=2 - phase, random=0, x=normal(*shape, shift=1))
shared = " ".join(f'param {{ name: "{name}" lr_mult: 0 }}' for name in ("mean", "variance", "factor"))
before = layer("BatchNorm", "x", "y", shared, "first")
case("BatchNorm", rest=shared, before=before, bottoms="z", tops="w", phase=0, passes=2, random=0, x=(3, 4), z=(3, 4))
scale = layer("Scale", "y", "y", "scale_param { bias_term: true }", "scale")
case("BatchNorm", after=scale, phase=0, random=0, x=(3, 4, 5))
case("MVN", "", "across_channels: true", "normalize_variance: false", x=(2, 3, 4, 5))
for kind, body in (("Scale", ""), ("Scale", "bias_term: true"), ("Bias", "")):
    for axes, small in (("axis: 1", (3, 4)), ("axis: 0", (2,)), ("axis: -1", (5,)), ("axis: 1", ())):
        case(kind, f"{axes} {body}", x=(2, 3, 4, 5), z=normal(*small))
        case(kind, f"{axes} num_axes: {len(small)} {body}", x=(2, 3, 4, 5))
    in_place(kind, f"num_axes: -1 {body}", x=(2, 3, 4))

# Combinations and shapes --------------------------------------------------------------------------------------
bodies = "operation: PROD", "operation: PROD stable_prod_grad: false", "coeff: 2 coeff: -1.5 coeff: 1", "operation: MAX"
case("Eltwise", "", *bodies, x=(2, 3, 4), z=(2, 3, 4), w=(2, 3, 4))
case("Eltwise", "operation: MAX", **{name: np.round(normal(3, 4)) for name in "xzw"})  # ties
case("Concat", x=(2, 3, 4), z=(2, 1, 4), w=(2, 2, 4))
case("Concat", "axis: -1", x=(2, 3), z=(2, 4))
case("Concat", "concat_dim: 0", x=(2, 3), z=(1, 3))
case("Slice", "axis: 1 slice_point: 1 slice_point: 4", tops="y w v", x=(2, 6, 2))
case("Slice", "slice_dim: 0", tops="y w", x=(4, 3))
for dims, axes in (
    ("dim: 0 dim: -1", ""),
    ("dim: 6 dim: 4 dim: 1", ""),
    ("dim: -1", "axis: 1"),
    ("dim: 1 dim: -1", "axis: 1 num_axes: 1"),
    ("dim: 1", "axis: 0 num_axes: 0"),
    ("dim: -1 dim: 1", "axis: -2"),
):
    case("Reshape", f"shape {{ {dims} }} {axes}", x=(2, 3, 4))
case("Reshape", "shape { dim: 2 dim: 6 dim: 0 dim: 0 }", x=(4, 3, 2, 5))
case("Flatten", "", "axis: 0 end_axis: 1", x=(2, 3, 4, 2))
case("Tile", "axis: 1 tiles: 3", "axis: -1 tiles: 2", x=(2, 3, 4, 5))
case("Crop", "axis: 1 offset: 1 offset: 0 offset: 2", x=(2, 5, 6, 7), z=(2, 3, 4, 5))
case("Crop", "axis: 2 offset: 1", x=(2, 3, 5, 6), z=(2, 3, 4, 4))
case("Crop", "axis: 3", x=(2, 3, 4, 6), z=(2, 3, 4, 5))
case("Silence", tops="", before=layer("Power", "x", "y", name="first"), bottoms="y z", x=(2, 3), z=(2,))
bodies = "SUM axis: 1", "ASUM", "SUMSQ axis: 2 coeff: -0.5", "MEAN axis: -1 coeff: 3"
case("Reduction", *(f"operation: {body}" for body in bodies), x=(2, 3, 4))
bodies = "", "top_k: 2 out_max_val: true", "top_k: 2 axis: 1", "axis: -1 out_max_val: true"
case("ArgMax", *bodies, x=np.round(normal(2, 3, 4, 2)), backward="")
case("Softmax", "", "axis: -1", x=normal(2, 4, 3, scale=3))
case("DummyData", 'data_filler { type: "constant" value: 0.3 } shape { dim: 2 dim: 3 }')
for side in (2, 3, 4, 5):
    case("DummyData", f'data_filler {{ type: "bilinear" }} shape {{ dim: 2 dim: 1 dim: {side} dim: {side} }}')
case("DummyData", "num: 5 channels: 3 channels: 1 height: 1 width: 1", tops="y w")
case("Parameter", "shape { dim: 3 dim: 2 }")

# Losses -------------------------------------------------------------------------------------------------------
SCORES_ONLY = " propagate_down: true propagate_down: false"
for body in (
    "",
    "normalize: true",
    "normalize: false",
    "normalization: FULL",
    "normalization: BATCH_SIZE ignore_label: 1",
    "normalization: NONE ignore_label: 1",
    "ignore_label: 1",
):
    loss = f"loss_param {{ {body} }} loss_weight: 2.5 {SCORES_ONLY}"
    case("SoftmaxWithLoss", rest=loss, x=normal(4, 3, scale=2), t=labels(3, 4))
    case("SigmoidCrossEntropyLoss", rest=loss, x=normal(4, 3, scale=3), t=labels(2, 4, 3))
case("SoftmaxWithLoss", rest=f"softmax_param {{ axis: 2 }} {SCORES_ONLY}", x=(2, 3, 4, 5), t=labels(4, 2, 3, 5))
case("SigmoidCrossEntropyLoss", rest=SCORES_ONLY, x=(3, 2, 4), t=uniform(3, 2, 4))
case("EuclideanLoss", rest="loss_weight: 1.5", x=(4, 3), t=(4, 3))
case("HingeLoss", "norm: L1", "norm: L2", rest=SCORES_ONLY, x=(5, 4), t=labels(4, 5))
case("HingeLoss", rest=SCORES_ONLY, x=np.round(normal(5, 4)), t=labels(4, 5))  # scores at the margin
bodies = "margin: 1.5", "margin: 2 legacy_version: true"
case("ContrastiveLoss", *bodies, rest=f"propagate_down: true {SCORES_ONLY}", x=(6, 3), z=(6, 3), t=labels(2, 6))
bias = layer("Bias", "x", "b", name="first")
for body in ("", "ignore_label: 1 normalization: VALID"):
    inputs = {"x": normal(4, 3, scale=2), "t": labels(3, 4), "h": uniform(1, 1, 3, 3)}
    rest = f"loss_param {{ {body} }} {SCORES_ONLY} propagate_down: false"
    case("InfogainLoss", rest=rest, before=bias, bottoms="b t h", forced=False, **inputs)
case("MultinomialLogisticLoss", rest=SCORES_ONLY, x=uniform(5, 4), t=labels(4, 5))
case("Accuracy", "top_k: 2", x=(4, 3, 2), t=labels(3, 4, 2), backward="")
case("Accuracy", "ignore_label: 1", tops="y each", x=(4, 3, 2), t=labels(3, 4, 2), backward="")
case("Accuracy", "axis: -1", tops="y each", x=np.round(normal(4, 2, 3)), t=labels(3, 4, 2), backward="")


@pytest.mark.parametrize("name", CASES)
def test_layer_agrees_with_caffe(name, alike):
    alike(forward=2e-5, gradient=1e-4, **CASES[name])


@pytest.mark.parametrize("kind", ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss"))
def test_ignored_labels_hide_what_is_not_finite(kind, tmp_path):
    targets = np.array([0, 9, 1] if kind == "SoftmaxWithLoss" else [[0, 1], [9, 9], [1, 0]], np.float32)
    shape = "".join(f"dim: {size} " for size in targets.shape)
    text = layer("Input", "", "x t", f"input_param {{ shape {{ dim: 3 dim: 2 }} shape {{ {shape} }} }}", "in")
    text += layer(kind, "x t", "loss", f"loss_param {{ ignore_label: 9 }} {SCORES_ONLY}", "loss")
    net, found = build(tmp_path, "force_backward: true\n" + text), []
    for number in (0, np.nan):
        net.blobs["x"].data[...] = [[1, 2], [number, 3], [2, 5]]
        net.blobs["t"].data[...] = targets
        found.append(float(net.forward()["loss"]))
        net.backward()
        found.append(net.blobs["x"].diff.copy())
    assert found[0] == found[2] and (found[1] == found[3]).all() and not found[3][1].any() and found[3][0].all()


def test_every_layer_type_has_a_case():
    assert {name.split()[0] for name in CASES} | ELSEWHERE == set(caffe.layer_type_list())


def test_dropout_in_training(tmp_path):
    text = layer("DummyData", "", "x", "dummy_data_param { data_filler { value: 3 } shape { dim: 10000 } }", "data")
    net = build(tmp_path, "force_backward: true\n" + text + layer("Dropout", "x", "y"), caffe.TRAIN)
    y = net.forward()["y"].copy()
    net.blobs["y"].diff[...] = 5
    net.backward()
    np.testing.assert_allclose(net.blobs["x"].diff, 5 / 3 * y)
    assert set(y) == {0, 6} and abs((y == 0).mean() - 0.5) < 0.03
