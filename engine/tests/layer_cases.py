"""Cases of layer types, each a layer with its inputs, which test_layers.py computes in both engines."""

import numpy as np

CASES = {}
rng = np.random.default_rng(0)


def normal(*shape, scale=1.0, shift=0.0):
    return (rng.normal(scale=scale, size=shape) + shift).astype(np.float32)


def labels(classes, *shape):
    return rng.integers(0, classes, shape).astype(np.float32)


def uniform(*shape):
    return rng.uniform(0.05, 1, shape).astype(np.float32)


class Case:
    """text: prototxt; inputs: name -> array; the rest is what the comparison needs.

    phase: 0 TRAIN, 1 TEST; passes: forward passes; backward: whether there is a gradient; random: scale of parameters
    """

    def __init__(self, layers, inputs, phase=1, passes=1, backward=True, forced=True, random=0.5):
        self.inputs, self.phase, self.passes, self.backward, self.random = inputs, phase, passes, backward, random
        lines = ["force_backward: true" if backward and forced else ""]
        for name, array in inputs.items():
            dims = " ".join(f"dim: {size}" for size in array.shape)
            lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
        self.text = "\n".join([*lines, layers])


def layer(kind, bottoms, tops, body="", name="layer"):
    blobs = [f'bottom: "{bottom}"' for bottom in bottoms.split()] + [f'top: "{top}"' for top in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {body} }}\n'


def case(kind, body="", tops="y", before="", bottoms=None, options=None, **inputs):
    """Add a case of one layer whose bottoms are the inputs; shapes stand for normally distributed numbers."""
    arrays = {name: normal(*value) if isinstance(value, tuple) else value for name, value in inputs.items()}
    text = before + layer(kind, " ".join(inputs) if bottoms is None else bottoms, tops, body)
    CASES[f"{kind} {len(CASES)}"] = Case(text, arrays, **(options or {}))


def in_place(kind, body="", **inputs):
    """The same for a layer that overwrites the top of a Power."""
    case(kind, body, before=layer("Power", "x", "y", "power_param { scale: 1.5 }", "first"), bottoms="y", **inputs)


# Element by element -------------------------------------------------------------------------------------------
for kind, body in {
    "ReLU": "",
    "PReLU": "prelu_param { channel_shared: true }",
    "ELU": "elu_param { alpha: 0.7 }",
    "Sigmoid": "",
    "TanH": "",
    "BNLL": "",
    "Swish": "swish_param { beta: 1.5 }",
    "Clip": "clip_param { min: -0.5 max: 0.7 }",
    "Exp": "exp_param { base: 2 scale: 0.5 shift: -1 }",
    "Dropout": "dropout_param { dropout_ratio: 0.3 }",
}.items():
    case(kind, body, x=(3, 4, 5))
    in_place(kind, body, x=(2, 3, 4, 5))
case("ReLU", "relu_param { negative_slope: 0.1 }", x=(2, 7))
in_place("ReLU", "relu_param { negative_slope: 0.1 }", x=(2, 7))
case("PReLU", x=(2, 3, 4, 2))
case("AbsVal", x=(3, 5))
case("Exp", "exp_param { scale: -0.5 }", x=(3, 5))
for body in ("power: 2 scale: 0.5 shift: 1.5", "power: 3", "power: 0.5", "power: 0", "scale: 0 shift: 2 power: 3"):
    case("Power", f"power_param {{ {body} }}", x=normal(3, 5, scale=0.3, shift=3))
for body in ("", "base: 10 scale: 0.5 shift: 1", "base: 2 shift: 1"):
    case("Log", f"log_param {{ {body} }}", x=normal(3, 5, scale=0.2, shift=2))
case("Threshold", "threshold_param { threshold: 0.3 }", x=(3, 5), options={"backward": False})

# Windows ------------------------------------------------------------------------------------------------------
for body, channels, outputs, size in (
    ("kernel_size: 3 stride: 2 pad: 1", 3, 4, (7, 8)),
    ("kernel_size: 3 dilation: 2 bias_term: false", 2, 3, (9, 7)),
    ("kernel_h: 1 kernel_w: 4 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 2", 2, 2, (5, 9)),
    ("kernel_size: 2 group: 3", 6, 3, (5, 4)),
    ("kernel_size: 3 pad: 1 group: 2", 64, 48, (8, 8)),
    ("kernel_size: 1 group: 3 stride: 2", 24, 96, (9, 5)),
    ("kernel_size: 3 group: 5", 5, 5, (6, 6)),
    ("kernel_size: 11 stride: 4", 3, 16, (27, 31)),
    ("kernel_size: 3 pad: 1", 3, 3, (8,)),
    ("kernel_size: 2 pad: 1 stride: 2", 2, 2, (3, 4, 5)),
):
    body = f"convolution_param {{ num_output: {outputs} {body} }}"
    case("Convolution", body, x=(2, channels, *size), options={"random": 0.2})
case("Convolution", "convolution_param { num_output: 3 kernel_size: 2 }", tops="y w", x=(2, 3, 4, 5), z=(2, 3, 4, 5))
case("Convolution", "convolution_param { num_output: 3 kernel_size: 2 axis: 2 }", x=(2, 2, 4, 5, 6))
case("Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }", x=(2, 6, 4, 5))
case("Deconvolution", "convolution_param { num_output: 3 kernel_size: 3 dilation: 2 bias_term: false }", x=(2, 2, 4, 3))
for body in (
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 4 stride: 3 pad: 3",
    "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 1",
    "kernel_size: 3 stride: 2 round_mode: FLOOR",
    "global_pooling: true",
):
    for kind in ("MAX", "AVE"):
        case("Pooling", f"pooling_param {{ pool: {kind} {body} }}", x=(2, 3, 8, 9))
    case("Pooling", f"pooling_param {{ {body} }}", tops="y places", x=(2, 2, 7, 6))

# Products, normalisation, broadcasts --------------------------------------------------------------------------
case("InnerProduct", "inner_product_param { num_output: 4 }", x=(3, 2, 5))
case("InnerProduct", "inner_product_param { num_output: 3 axis: -1 transpose: true bias_term: false }", x=(3, 2, 5))
case("Embed", "embed_param { num_output: 3 input_dim: 5 }", x=labels(5, 2, 4), options={"forced": False})
body = "embed_param { num_output: 2 input_dim: 4 bias_term: false }"
case("Embed", body, x=labels(4, 5), options={"forced": False})
case("LRN", "lrn_param { local_size: 5 alpha: 1.5 beta: 0.75 k: 2 }", x=(2, 6, 4, 5))
case("LRN", "lrn_param { local_size: 3 alpha: 0.7 beta: 0.5 norm_region: WITHIN_CHANNEL }", x=(2, 3, 4, 5))
for shape in ((4, 3), (3, 4, 3, 5)):
    for phase in (0, 1):  # two passes in TRAIN: the second one's running statistics are means of two
        options = {"phase": phase, "passes": 2 - phase, "random": 0}
        case("BatchNorm", x=normal(*shape, shift=1), options=options)
scale = layer("Scale", "y", "y", "scale_param { bias_term: true }", "scale")
CASES["BatchNorm, Scale in place"] = Case(layer("BatchNorm", "x", "y") + scale, {"x": normal(3, 4, 5)}, 0, random=0)
for body in ("", "across_channels: true", "normalize_variance: false"):
    case("MVN", f"mvn_param {{ {body} }}", x=(2, 3, 4, 5))
for kind, body in (("Scale", ""), ("Scale", "bias_term: true"), ("Bias", "")):
    for axes, small in (("axis: 1", (3, 4)), ("axis: 0", (2,)), ("axis: -1", (5,)), ("axis: 1", ())):
        case(kind, f"{kind.lower()}_param {{ {axes} {body} }}", x=(2, 3, 4, 5), z=normal(*small))
        case(kind, f"{kind.lower()}_param {{ {axes} num_axes: {len(small)} {body} }}", x=(2, 3, 4, 5))
    in_place(kind, f"{kind.lower()}_param {{ num_axes: -1 {body} }}", x=(2, 3, 4))

# Combinations and shapes --------------------------------------------------------------------------------------
for body in (
    "operation: PROD",
    "operation: PROD stable_prod_grad: false",
    "coeff: 2 coeff: -1.5 coeff: 1",
    "operation: SUM",
    "operation: MAX",
):
    case("Eltwise", f"eltwise_param {{ {body} }}", x=(2, 3, 4), z=(2, 3, 4), w=(2, 3, 4))
ties = {name: np.round(normal(3, 4)) for name in "xzw"}
case("Eltwise", "eltwise_param { operation: MAX }", **ties)
case("Concat", x=(2, 3, 4), z=(2, 1, 4), w=(2, 2, 4))
case("Concat", "concat_param { axis: -1 }", x=(2, 3), z=(2, 4))
case("Concat", "concat_param { concat_dim: 0 }", x=(2, 3), z=(1, 3))
case("Slice", "slice_param { axis: 1 slice_point: 1 slice_point: 4 }", tops="y w v", x=(2, 6, 2))
case("Slice", "slice_param { slice_dim: 0 }", tops="y w", x=(4, 3))
for dims, extra, shape in (
    ("dim: 0 dim: -1", "", (2, 3, 4)),
    ("dim: 6 dim: 4 dim: 1", "", (2, 3, 4)),
    ("dim: -1", "axis: 1", (2, 3, 4)),
    ("dim: 1 dim: -1", "axis: 1 num_axes: 1", (2, 3, 4)),
    ("dim: 1", "axis: 0 num_axes: 0", (2, 3, 4)),
    ("dim: -1 dim: 1", "axis: -2", (2, 3, 4)),
    ("dim: 2 dim: 6 dim: 0 dim: 0", "", (4, 3, 2, 5)),
):
    case("Reshape", f"reshape_param {{ shape {{ {dims} }} {extra} }}", x=shape)
case("Flatten", x=(2, 3, 4, 2))
case("Flatten", "flatten_param { axis: 0 end_axis: 1 }", x=(2, 3, 4))
case("Tile", "tile_param { axis: 1 tiles: 3 }", x=(2, 3, 4, 5))
case("Tile", "tile_param { axis: -1 tiles: 2 }", x=(2, 3))
case("Crop", "crop_param { axis: 1 offset: 1 offset: 0 offset: 2 }", x=(2, 5, 6, 7), z=(2, 3, 4, 5))
case("Crop", "crop_param { axis: 2 offset: 1 }", x=(2, 3, 5, 6), z=(2, 3, 4, 4))
case("Crop", "crop_param { axis: 3 }", x=(2, 3, 4, 6), z=(2, 3, 4, 5))
powers = [layer("Power", "y", f"z{scale}", f"power_param {{ scale: {scale} }}", f"power{scale}") for scale in (1, 2, 3)]
CASES["Split"] = Case("".join([layer("Power", "x", "y", name="first"), *powers]), {"x": normal(2, 3, 4)})
case("Silence", tops="", before=layer("Power", "x", "y", name="first"), bottoms="y z", x=(2, 3), z=(2,))
for body in ("SUM axis: 1", "ASUM", "SUMSQ axis: 2 coeff: -0.5", "MEAN axis: -1 coeff: 3"):
    case("Reduction", f"reduction_param {{ operation: {body} }}", x=(2, 3, 4))
for body in ("", "top_k: 2 out_max_val: true", "top_k: 2 axis: 1", "axis: -1 out_max_val: true"):
    case("ArgMax", f"argmax_param {{ {body} }}", x=np.round(normal(2, 3, 4, 2)), options={"backward": False})
case("Softmax", x=normal(2, 4, 3, scale=3))
case("Softmax", "softmax_param { axis: -1 }", x=normal(2, 3, 4, scale=3))
case("DummyData", 'dummy_data_param { data_filler { type: "constant" value: 0.3 } shape { dim: 2 dim: 3 } }')
case("Parameter", "parameter_param { shape { dim: 3 dim: 2 } }")

# Losses -------------------------------------------------------------------------------------------------------
SCORES_ONLY = " propagate_down: true propagate_down: false"
NORMALISATIONS = (
    "",
    "normalize: true",
    "normalize: false",
    "normalization: FULL",
    "normalization: BATCH_SIZE ignore_label: 1",
    "normalization: NONE ignore_label: 1",
    "ignore_label: 1",
)
for body in NORMALISATIONS:
    loss = f"loss_param {{ {body} }} loss_weight: 2.5 {SCORES_ONLY}"
    case("SoftmaxWithLoss", loss, x=normal(4, 3, scale=2), t=labels(3, 4))
    case("SigmoidCrossEntropyLoss", loss, x=normal(4, 3, scale=3), t=labels(2, 4, 3))
case("SoftmaxWithLoss", f"softmax_param {{ axis: 2 }} {SCORES_ONLY}", x=(2, 3, 4, 5), t=labels(4, 2, 3, 5))
case("SigmoidCrossEntropyLoss", SCORES_ONLY, x=(3, 2, 4), t=uniform(3, 2, 4))
case("EuclideanLoss", "loss_weight: 1.5", x=(4, 3), t=(4, 3))
for body in ("L1", "L2"):
    case("HingeLoss", f"hinge_loss_param {{ norm: {body} }} {SCORES_ONLY}", x=(5, 4), t=labels(4, 5))
for body in ("margin: 1.5", "margin: 2 legacy_version: true"):
    body = f"contrastive_loss_param {{ {body} }} propagate_down: true {SCORES_ONLY}"
    case("ContrastiveLoss", body, x=(6, 3), z=(6, 3), t=labels(2, 6))
bias = layer("Bias", "x", "b", name="first")
for body in ("", "ignore_label: 1 normalization: VALID"):
    body = f"loss_param {{ {body} }} {SCORES_ONLY} propagate_down: false"
    inputs = {"x": normal(4, 3, scale=2), "t": labels(3, 4), "h": uniform(1, 1, 3, 3)}
    case("InfogainLoss", body, before=bias, bottoms="b t h", options={"forced": False}, **inputs)
case("MultinomialLogisticLoss", SCORES_ONLY, x=uniform(5, 4), t=labels(4, 5))
for tops, body in (("y", "top_k: 2"), ("y each", "ignore_label: 1"), ("y each", "axis: -1")):
    x, t = (normal(4, 3, 2), labels(3, 4, 2)) if "axis" not in body else (np.round(normal(4, 2, 3)), labels(3, 4, 2))
    case("Accuracy", f"accuracy_param {{ {body} }}", tops=tops, x=x, t=t, options={"backward": False})
