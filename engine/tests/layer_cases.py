"""Random cases of layer types: prototxts and inputs, chosen by hypothesis. More are in shape_and_loss_cases."""

import numpy as np
from hypothesis import strategies as st

CASES = {}


def case(*names):
    def add(function):
        for name in names:
            CASES[name] = function
        return function

    return add


class Draw:
    """Draws shapes, choices and arrays for one case."""

    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**31), label="seed"))

    def whole(self, low, high):
        return self.draw(st.integers(low, high))

    def one_of(self, *values):
        return self.draw(st.sampled_from(values))

    def number(self, low, high):
        return self.whole(int(low * 1000), int(high * 1000)) / 1000

    def shape(self, axes=4, low=1, high=6):
        return tuple(self.whole(low, high) for _ in range(axes))

    def normal(self, *shape, scale=1.0):
        return self.rng.normal(scale=scale, size=shape).astype(np.float32)

    def labels(self, classes, *shape):
        return self.rng.integers(0, classes, shape).astype(np.float32)


class Case:
    """layers: text of the layers after the Inputs; inputs: name -> array; what else the comparison needs."""

    def __init__(self, layers, inputs, phase=1, passes=1, random_params=0.5, backward=True, forced=True):
        self.layers, self.inputs, self.phase, self.passes = layers, inputs, phase, passes
        self.random_params, self.backward, self.forced = random_params, backward, forced

    def text(self):
        lines = ["force_backward: true" if self.backward and self.forced else ""]
        for name, array in self.inputs.items():
            dims = " ".join(f"dim: {size}" for size in array.shape)
            lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
        return "\n".join([*lines, self.layers])


def layer(kind, bottoms="x", tops="y", body=""):
    bottoms = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    tops = " ".join(f'top: "{name}"' for name in tops.split())
    return f'layer {{ name: "layer" type: "{kind}" {bottoms} {tops} {body} }}\n'


def neuron(kind, param=None, scale=1.0, shift=0.0):
    """A case maker of an element-wise layer, alone or in place behind a Power."""

    def make(d):
        x = d.normal(*d.shape(d.whole(2, 4)), scale=scale) + np.float32(shift)
        body = param(d) if param else ""
        if d.one_of(False, True) and kind not in ("AbsVal", "Log", "Power"):
            first = 'layer { name: "first" type: "Power" bottom: "x" top: "y" power_param { scale: 1.5 } }\n'
            return Case(first + layer(kind, "y", "y", body), {"x": x})
        return Case(layer(kind, body=body), {"x": x})

    CASES[kind] = make


neuron("ReLU", lambda d: f"relu_param {{ negative_slope: {d.one_of(0, 0.1)} }}")
neuron("PReLU", lambda d: f"prelu_param {{ channel_shared: {d.one_of('true', 'false')} }}")
neuron("ELU", lambda d: f"elu_param {{ alpha: {d.number(0.1, 2)} }}")
neuron("Sigmoid")
neuron("TanH")
neuron("BNLL")
neuron("AbsVal")
neuron("Swish", lambda d: f"swish_param {{ beta: {d.number(0.5, 2)} }}")
neuron("Clip", lambda d: "clip_param { min: -0.5 max: 0.7 }")
neuron(
    "Power",
    lambda d: (
        f"power_param {{ power: {d.one_of(0, 1, 2, 0.5, 3)} scale: {d.one_of(0, 1, 0.5)} shift: {d.one_of(0, 1.5)} }}"
    ),
    scale=0.3,
    shift=3,
)
neuron(
    "Exp", lambda d: f"exp_param {{ base: {d.one_of(-1, 2, 3.5)} scale: {d.number(-1, 1)} shift: {d.number(-1, 1)} }}"
)
neuron(
    "Log",
    lambda d: f"log_param {{ base: {d.one_of(-1, 2, 10)} scale: {d.number(0.5, 1)} shift: 1 }}",
    scale=0.2,
    shift=2,
)


@case("Threshold")
def threshold(d):
    body = f"threshold_param {{ threshold: {d.number(-1, 1)} }}"
    return Case(layer("Threshold", body=body), {"x": d.normal(*d.shape())}, backward=False)


@case("Dropout in TEST")
def dropout(d):
    return Case(layer("Dropout", body="dropout_param { dropout_ratio: 0.3 }"), {"x": d.normal(*d.shape())})


def windows(d, kernel="kernel_size", dilated=False):
    """Kernel, stride, pad and maybe dilation, together or per axis, and a map they fit.

    No stride above the kernel: BVLC Caffe's pooling then writes outside its memory.
    """
    if d.one_of(False, True):
        high, wide = d.whole(1, 4), d.whole(1, 4)
        text = f"kernel_h: {high} kernel_w: {wide}"
        stride = f" stride_h: {d.whole(1, min(high, 3))} stride_w: {d.whole(1, min(wide, 3))}"
        pad = f" pad_h: {d.whole(0, high - 1)} pad_w: {d.whole(0, wide - 1)}"
    else:
        high = wide = d.whole(1, 4)
        text, stride, pad = f"{kernel}: {high}", f" stride: {d.whole(1, min(high, 3))}", f" pad: {d.whole(0, high - 1)}"
    dilation = d.one_of(1, 1, 2) if dilated else 1
    if dilation > 1:
        text += f" dilation: {dilation}"
    spans = [dilation * (size - 1) + 1 for size in (high, wide)]
    return text + stride + pad, [span + d.whole(0, 6) for span in spans]


@case("Convolution")
def convolution(d):
    body, sizes = windows(d, dilated=True)
    group = d.one_of(1, 1, 2, 3)
    inputs, outputs = group * d.whole(1, 4), group * d.whole(1, 4)
    bias = d.one_of("", " bias_term: false")
    body = f"convolution_param {{ num_output: {outputs} group: {group} {body}{bias} }}"
    return Case(layer("Convolution", body=body), {"x": d.normal(d.whole(1, 3), inputs, *sizes)})


@case("Convolution of wide groups")
def wide_groups(d):
    """Enough work per group for every algorithm of grouped convolutions."""
    group, width, size = d.whole(2, 3), d.one_of(8, 32), d.whole(5, 9)
    body = (
        f"convolution_param {{ num_output: {group * width} group: {group} kernel_size: {d.one_of(1, 3)} "
        f"pad: {d.whole(0, 1)} stride: {d.whole(1, 2)} }}"
    )
    x = d.normal(d.whole(1, 4), group * width, size, size)
    return Case(layer("Convolution", body=body), {"x": x}, random_params=0.1)


@case("Convolution of sequences")
def sequences(d):
    body = f"convolution_param {{ num_output: 3 kernel_size: {d.whole(1, 3)} pad: {d.whole(0, 1)} }}"
    return Case(layer("Convolution", body=body), {"x": d.normal(2, 3, d.whole(3, 8))})


@case("Convolution of volumes")
def volumes(d):
    sizes = [d.whole(3, 5) for _ in range(3)]
    window = f"kernel_size: {d.whole(1, 3)} pad: {d.whole(0, 1)} stride: {d.whole(1, 2)}"
    body = f"convolution_param {{ num_output: 2 {window} }}"
    return Case(layer("Convolution", body=body), {"x": d.normal(2, 2, *sizes)})


@case("Convolution of two inputs")
def two_inputs(d):
    shape = d.shape(low=3)
    body = "convolution_param { num_output: 3 kernel_size: 2 }"
    return Case(layer("Convolution", "x z", "y w", body), {"x": d.normal(*shape), "z": d.normal(*shape)})


@case("Deconvolution")
def deconvolution(d):
    body, sizes = windows(d, dilated=True)
    group = d.one_of(1, 2)
    body = f"convolution_param {{ num_output: {group * d.whole(1, 3)} group: {group} {body} }}"
    x = d.normal(d.whole(1, 2), group * d.whole(1, 3), *[size + 2 for size in sizes])
    return Case(layer("Deconvolution", body=body), {"x": x})


@case("Pooling")
def pooling(d):
    body, sizes = windows(d)
    kind, mode = d.one_of("MAX", "AVE"), d.one_of("", " round_mode: FLOOR")
    x = d.normal(*d.shape(2, 1, 3), *sizes)
    return Case(layer("Pooling", body=f"pooling_param {{ pool: {kind} {body}{mode} }}"), {"x": x})


@case("Pooling of whole maps")
def whole_maps(d):
    kind = d.one_of("MAX", "AVE")
    body = f"pooling_param {{ pool: {kind} global_pooling: true }}"
    return Case(layer("Pooling", body=body), {"x": d.normal(*d.shape())})


@case("Pooling with places")
def places(d):
    body, sizes = windows(d)
    x = d.normal(*d.shape(2, 1, 3), *sizes)
    return Case(layer("Pooling", "x", "y places", f"pooling_param {{ {body} }}"), {"x": x})


@case("InnerProduct")
def inner_product(d):
    shape = d.shape(d.whole(2, 4))
    axis = d.one_of(1, len(shape) - 1, -1)
    body = f"num_output: {d.whole(1, 5)} axis: {axis} transpose: {d.one_of('true', 'false')} "
    body += f"bias_term: {d.one_of('true', 'false')}"
    return Case(layer("InnerProduct", body=f"inner_product_param {{ {body} }}"), {"x": d.normal(*shape)})


@case("Embed")
def embed(d):
    body = f"embed_param {{ num_output: 3 input_dim: 5 bias_term: {d.one_of('true', 'false')} }}"
    return Case(layer("Embed", body=body), {"x": d.labels(5, *d.shape(2))}, forced=False)


@case("LRN")
def lrn(d):
    region = d.one_of("ACROSS_CHANNELS", "WITHIN_CHANNEL")
    body = f"local_size: {d.one_of(3, 5)} alpha: {d.number(0.1, 2)} beta: {d.number(0.3, 1)} norm_region: {region}"
    k = f" k: {d.number(1, 2)}" if region == "ACROSS_CHANNELS" else ""
    return Case(layer("LRN", body=f"lrn_param {{ {body}{k} }}"), {"x": d.normal(*d.shape(4, 2, 7))})


@case("BatchNorm")
def batch_norm(d):
    phase = d.whole(0, 1)
    # Two passes in TRAIN: the second one's running statistics are means of two.
    shape = d.shape(d.one_of(2, 4), 3, 5)
    return Case(layer("BatchNorm"), {"x": d.normal(*shape) + 1}, phase=phase, passes=2 - phase, random_params=0)


@case("BatchNorm with Scale in place")
def batch_norm_scale(d):
    text = layer("BatchNorm") + layer("Scale", "y", "y", "scale_param { bias_term: true }").replace(
        '"layer"', '"scale"'
    )
    return Case(text, {"x": d.normal(*d.shape(4, 3, 5))}, phase=0, random_params=0)


@case("MVN")
def mvn(d):
    body = f"normalize_variance: {d.one_of('true', 'false')} across_channels: {d.one_of('true', 'false')}"
    return Case(layer("MVN", body=f"mvn_param {{ {body} }}"), {"x": d.normal(*d.shape(4, 2, 5))})


def affine(kind, param, extra=lambda d: ""):
    def make(d):
        shape = d.shape()
        axis, axes = d.whole(0, 3), d.whole(0, 3)
        if d.one_of(False, True):
            small = shape[axis : axis + axes]
            body = f"{param} {{ axis: {axis} {extra(d)} }}"
            z = d.normal(*small) if small else d.normal(1).reshape(())
            return Case(layer(kind, "x z", "y", body), {"x": d.normal(*shape), "z": z})
        axes = min(axes, 4 - axis) if axes else -1
        in_place = d.one_of("y", "x2")
        first = 'layer { name: "first" type: "Power" bottom: "x" top: "x2" power_param { scale: 1.5 } }\n'
        return Case(
            first + layer(kind, "x2", in_place, f"{param} {{ axis: {axis} num_axes: {axes} {extra(d)} }}"),
            {"x": d.normal(*shape)},
        )

    CASES[kind] = make


affine("Scale", "scale_param", lambda d: f"bias_term: {d.one_of('true', 'false')}")
affine("Bias", "bias_param")
