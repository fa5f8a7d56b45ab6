"""Nets of one Python layer, and numeric gradients through them."""

import json

import caffe
import numpy as np

LAYERS = {
    "RegionMapper": "region_mapper",
    "RoIWarp": "roi_warp",
    "EarlyStopping": "early_stopping",
}


def build(tmp_path, cls, shapes, tops=1, parameters=None, phase=caffe.TRAIN, text=None):
    """A net of one Python layer on Input layers of these shapes; every blob gets gradients."""
    param_str = json.dumps(parameters or {}) if text is None else text
    names = [f"in{index}" for index in range(len(shapes))]
    lines = ["force_backward: true"]
    for name, shape in zip(names, shapes):
        dims = " ".join(f"dim: {d}" for d in shape)
        lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    outs = " ".join(f'top: "out{index}"' for index in range(tops))
    lines.append(
        f'layer {{ name: "layer" type: "Python" {bottoms} {outs} python_param {{ '
        f"module: 'python_layers.{LAYERS[cls]}' layer: '{cls}' param_str: '{param_str}' }} }}"
    )
    path = tmp_path / "net.prototxt"
    path.write_text("\n".join(lines))
    return caffe.Net(str(path), phase)


def forward(net, *inputs):
    for index, array in enumerate(inputs):
        net.blobs[f"in{index}"].data[...] = array
    net.forward()
    return net.blobs["out0"].data.copy()


def numeric_gradient(net, inputs, index, top_diff, step=1e-2):
    """Central differences of sum(out0 * top_diff) with respect to one input, summed in float64."""
    gradient = np.zeros(inputs[index].shape)
    for place in np.ndindex(*inputs[index].shape):
        values = []
        for sign in (1, -1):
            moved = [array.copy() for array in inputs]
            moved[index][place] += sign * step
            values.append((forward(net, *moved).astype(np.float64) * top_diff).sum())
        gradient[place] = (values[0] - values[1]) / (2 * step)
    return gradient


def backward(net, top_diff):
    net.blobs["out0"].diff[...] = top_diff
    net.backward()
