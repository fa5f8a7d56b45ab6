"""Random cases of layers that combine or reshape blobs, of losses and of sources; the others are in layer_cases."""

import numpy as np
from layer_cases import Case, case, layer


@case("Eltwise")
def eltwise(d):
    count, kind, shape = d.whole(2, 4), d.one_of("PROD", "SUM", "MAX"), d.shape()
    names = "x z w v".split()[:count]
    body = f"operation: {kind}"
    if kind == "SUM" and d.one_of(False, True):
        body += "".join(f" coeff: {d.number(-2, 2)}" for _ in names)
    if kind == "PROD":
        body += f" stable_prod_grad: {d.one_of('true', 'false')}"
    inputs = {name: d.normal(*shape) for name in names}
    if kind == "MAX" and d.one_of(False, True):
        inputs = {name: np.round(array) for name, array in inputs.items()}
    return Case(layer("Eltwise", " ".join(names), "y", f"eltwise_param {{ {body} }}"), inputs)


@case("Concat")
def concat(d):
    shape, axis, count = list(d.shape(d.whole(2, 4))), d.whole(0, 1), d.whole(1, 3)
    inputs = {}
    for name in "x z w".split()[:count]:
        shape[axis] = d.whole(1, 4)
        inputs[name] = d.normal(*shape)
    body = d.one_of(f"axis: {axis}", f"concat_dim: {axis}", f"axis: {axis - len(shape)}")
    return Case(layer("Concat", " ".join(inputs), "y", f"concat_param {{ {body} }}"), inputs)


@case("Slice")
def slices(d):
    shape, axis, count = list(d.shape(d.whole(2, 4))), d.whole(0, 1), d.whole(1, 3)
    sizes = [d.whole(1, 3) for _ in range(count)]
    points = ""
    if d.one_of(False, True):
        points = "".join(f" slice_point: {sum(sizes[:n])}" for n in range(1, count))
    else:
        sizes = sizes[:1] * count
    shape[axis] = sum(sizes)
    tops = " ".join("y w v".split()[:count])
    return Case(layer("Slice", "x", tops, f"slice_param {{ axis: {axis}{points} }}"), {"x": d.normal(*shape)})


@case("Split")
def split(d):
    text = 'layer { name: "a" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }\n'
    text += "".join(
        f'layer {{ name: "b{n}" type: "Power" bottom: "y" top: "z{n}" power_param {{ scale: {n + 1} }} }}\n'
        for n in range(d.whole(1, 3))
    )
    return Case(text, {"x": d.normal(*d.shape())})


@case("Reshape")
def reshape(d):
    a, b, c = d.whole(1, 4), d.whole(1, 4), d.whole(1, 4)
    dims, extra = d.one_of(
        ([0, -1], ""),
        ([a * b, c, 1], ""),
        ([c, 0, -1], "") if b == 1 else ([0, 0, -1], ""),
        ([-1], " axis: 1"),
        ([1, -1], " axis: 1 num_axes: 1"),
        ([-1, 1], " axis: -2"),
        ([1], " axis: 0 num_axes: 0"),
    )
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return Case(layer("Reshape", body=f"reshape_param {{ shape {{ {shape} }}{extra} }}"), {"x": d.normal(a, b, c)})


@case("Flatten")
def flatten(d):
    axes = d.whole(2, 4)
    start = d.whole(0, axes - 1)
    body = f"flatten_param {{ axis: {start} end_axis: {d.one_of(-1, d.whole(start, axes - 1))} }}"
    return Case(layer("Flatten", body=body), {"x": d.normal(*d.shape(axes))})


@case("Tile")
def tile(d):
    axes = d.whole(1, 4)
    body = f"tile_param {{ axis: {d.whole(-axes, axes - 1)} tiles: {d.whole(1, 4)} }}"
    return Case(layer("Tile", body=body), {"x": d.normal(*d.shape(axes))})


@case("Crop")
def crop(d):
    axis, small = d.whole(0, 3), d.shape(high=3)
    offsets = [d.whole(0, 2) for _ in range(4 - axis)]
    given = d.one_of("all", "one", "none")
    text = "".join(f" offset: {offset}" for offset in offsets)
    if given != "all":
        offsets = offsets[:1] * len(offsets) if given == "one" else [0] * len(offsets)
        text = f" offset: {offsets[0]}" if given == "one" else ""
    large = [size + (offsets[at - axis] + d.whole(0, 2) if at >= axis else 0) for at, size in enumerate(small)]
    inputs = {"x": d.normal(*large), "z": d.normal(*small)}
    return Case(layer("Crop", "x z", "y", f"crop_param {{ axis: {axis}{text} }}"), inputs)


@case("Silence")
def silence(d):
    text = 'layer { name: "a" type: "Power" bottom: "x" top: "y" }\n' + layer("Silence", "y z", "")
    return Case(text, {"x": d.normal(*d.shape()), "z": d.normal(2)})


@case("Reduction")
def reduction(d):
    axes = d.whole(1, 4)
    body = (
        f"operation: {d.one_of('SUM', 'ASUM', 'SUMSQ', 'MEAN')} axis: {d.whole(0, axes - 1)} coeff: {d.number(-2, 2)}"
    )
    return Case(layer("Reduction", body=f"reduction_param {{ {body} }}"), {"x": d.normal(*d.shape(axes))})


@case("ArgMax")
def arg_max(d):
    shape = d.shape(low=2)
    axis = d.one_of("", f" axis: {d.whole(-3, 3)}")
    body = f"argmax_param {{ top_k: {d.whole(1, 2)} out_max_val: {d.one_of('true', 'false')}{axis} }}"
    x = d.normal(*shape)
    return Case(layer("ArgMax", body=body), {"x": np.round(x) if d.one_of(False, True) else x}, backward=False)


@case("Softmax")
def softmax(d):
    axes = d.whole(2, 4)
    body = f"softmax_param {{ axis: {d.whole(-axes, axes - 1)} }}"
    return Case(layer("Softmax", body=body), {"x": d.normal(*d.shape(axes), scale=3)})


def loss_param(d, old=("normalize: true", "normalize: false")):
    body = d.one_of("", *old, *(f"normalization: {m}" for m in ("FULL", "VALID", "BATCH_SIZE", "NONE")))
    if d.one_of(False, True):
        body += " ignore_label: 1"
    return f" loss_param {{ {body} }} loss_weight: {d.number(0.5, 3)}" + " propagate_down: true propagate_down: false"


@case("SoftmaxWithLoss")
def softmax_loss(d):
    classes, shape = d.whole(2, 5), d.shape(4, 1, 4)
    axis = d.whole(1, 3)
    scores = [classes if at == axis else size for at, size in enumerate(shape)]
    labels = [size for at, size in enumerate(shape) if at != axis]
    body = f"softmax_param {{ axis: {axis} }}{loss_param(d)}"
    return Case(
        layer("SoftmaxWithLoss", "x t", "y", body), {"x": d.normal(*scores, scale=2), "t": d.labels(classes, *labels)}
    )


@case("SigmoidCrossEntropyLoss")
def sigmoid_loss(d):
    shape = d.shape(d.whole(2, 4))
    t = d.labels(2, *shape) if d.one_of(False, True) else d.rng.uniform(size=shape).astype(np.float32)
    return Case(layer("SigmoidCrossEntropyLoss", "x t", "y", loss_param(d)), {"x": d.normal(*shape, scale=3), "t": t})


@case("EuclideanLoss")
def euclidean_loss(d):
    shape = d.shape()
    return Case(layer("EuclideanLoss", "x t", "y", "loss_weight: 1.5"), {"x": d.normal(*shape), "t": d.normal(*shape)})


@case("HingeLoss")
def hinge_loss(d):
    rows, classes = d.whole(1, 5), d.whole(2, 5)
    body = f"hinge_loss_param {{ norm: {d.one_of('L1', 'L2')} }} propagate_down: true propagate_down: false"
    return Case(layer("HingeLoss", "x t", "y", body), {"x": d.normal(rows, classes), "t": d.labels(classes, rows)})


@case("ContrastiveLoss")
def contrastive_loss(d):
    rows, width = d.whole(1, 6), d.whole(1, 4)
    body = f"contrastive_loss_param {{ margin: {d.number(0.5, 3)} legacy_version: {d.one_of('true', 'false')} }}"
    body += " propagate_down: true propagate_down: true propagate_down: false"
    inputs = {"x": d.normal(rows, width), "z": d.normal(rows, width), "t": d.labels(2, rows)}
    return Case(layer("ContrastiveLoss", "x z t", "y", body), inputs)


@case("InfogainLoss")
def infogain_loss(d):
    rows, classes = d.whole(1, 5), d.whole(2, 4)
    # This one refuses loss_param.normalize.
    body = loss_param(d, old=()) + " propagate_down: false"
    inputs = {
        "x": d.normal(rows, classes, scale=2),
        "t": d.labels(classes, rows),
        "h": d.rng.uniform(size=(1, 1, classes, classes)).astype(np.float32),
    }
    first = 'layer { name: "first" type: "Bias" bottom: "x" top: "b" }\n'
    return Case(first + layer("InfogainLoss", "b t h", "y", body), inputs, forced=False)


@case("MultinomialLogisticLoss")
def multinomial_loss(d):
    rows, classes = d.whole(1, 5), d.whole(2, 4)
    x = d.rng.uniform(0.05, 1, (rows, classes)).astype(np.float32)
    body = "propagate_down: true propagate_down: false"
    return Case(layer("MultinomialLogisticLoss", "x t", "y", body), {"x": x, "t": d.labels(classes, rows)})


@case("Accuracy")
def accuracy(d):
    classes, shape, axis = d.whole(2, 5), d.shape(3, 1, 4), d.whole(0, 2)
    scores = [classes if at == axis else size for at, size in enumerate(shape)]
    labels = [size for at, size in enumerate(shape) if at != axis]
    x = d.normal(*scores)
    body = f"axis: {axis} top_k: {d.whole(1, 2)}" + d.one_of("", " ignore_label: 1")
    inputs = {"x": np.round(x) if d.one_of(False, True) else x, "t": d.labels(classes, *labels)}
    return Case(
        layer("Accuracy", "x t", d.one_of("y", "y each"), f"accuracy_param {{ {body} }}"), inputs, backward=False
    )


@case("DummyData")
def dummy_data(d):
    shape = " ".join(f"dim: {size}" for size in d.shape())
    body = f'dummy_data_param {{ data_filler {{ type: "constant" value: {d.number(-1, 1)} }} shape {{ {shape} }} }}'
    return Case(layer("DummyData", "", "y", body), {})


@case("Parameter")
def parameter(d):
    text = layer("Parameter", "", "y", f"parameter_param {{ shape {{ dim: {d.whole(1, 4)} dim: 2 }} }}")
    return Case(text + 'layer { name: "p" type: "Power" bottom: "y" top: "z" power_param { scale: 2 } }', {})
