"""Run the networks: load deploy nets safely, feed them faces of an LMDB folder. Needs a Caffe."""

import dataclasses
import itertools
import json
import pathlib
import re
import tempfile

import caffe
import numpy as np
from google.protobuf import text_format

from data_prep import geometry
from data_prep.geometry import PATCH_SIZE
from data_prep.store import databases, manifest
from models.networks import POSITION, STATE_LAYERS
from python_layers import balanced_folder
from python_layers.parameters import parsed
from python_layers.regions import Parameters
from tools import model_files
from tools.errors import ToolError

# Kinds of the layers that the generator writes, see kind_of.
KINDS = {
    *("AbsVal Concat Convolution Data Eltwise Input Pooling Power ReLU Reduction Reshape Sigmoid".split()),
    *("SigmoidCrossEntropyLoss Slice Threshold Tile".split()),
    "Python python_layers.balanced_data BalancedData",
    "Python python_layers.early_stopping EarlyStopping",
    "Python python_layers.region_mapper RegionMapper",
    "Python python_layers.roi_warp RoIWarp",
}
# Layers whose weights a file may lack.
OPTIONAL = (*STATE_LAYERS, POSITION)
DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")


# Devices ----------------------------------------------------------------------------------------------------


def use_device(device):
    """Select the device of all nets loaded later: "cpu", "cuda" (the first GPU) or "cuda:N".

    Raises ToolError for an unknown device, for a GPU with a Caffe built for the CPU only, and for a missing GPU.
    """
    match = DEVICE.fullmatch(device)
    if not match:
        raise ToolError(f"--device {device}: must be cpu, cuda or cuda:N (one GPU by its number, from 0)")
    if device == "cpu":
        caffe.set_mode_cpu()
        return
    # BVLC Caffe was built with CUDA only if this process has loaded CUDA's run-time library.
    if is_bvlc() and "libcudart" not in pathlib.Path("/proc/self/maps").read_text():
        raise ToolError(
            f"--device {device}: this BVLC Caffe computes on the CPU only; use --device cpu, or the engine on "
            "PyTorch (--caffe torch)"
        )
    try:
        caffe.set_device(int(match[1] or 0))
        caffe.set_mode_gpu()
    except RuntimeError as error:
        raise ToolError(f"--device {device}: {error}")


def is_bvlc():
    """Whether the Caffe of this Python is BVLC's; else it is the engine on PyTorch."""
    return hasattr(caffe, "_caffe")


# Weights and nets -------------------------------------------------------------------------------------------


def load(model, weights, phase=caffe.TEST, measuring=False):
    """A net with its weights. Raises ToolError where Caffe would end the interpreter, or ignore it.

    Every layer of the net that has weights must be in the file, with blobs of the same shapes and finite values,
    except those of Python layers: they start from values of their own.

    measuring: for the average region. BalancedData cuts training faces at their centres, as evaluation does, and
    backward computes no gradients of weights, which takes half the time: only the first convolution keeps its own,
    so that gradients reach down to it.
    """
    description = checked(model)
    stored = {
        layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in model_files.read_weights(weights).layer
    }
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        try:
            if measuring:
                for_measuring(description)
            file.write(text_format.MessageToString(description))
            file.flush()
            net = caffe.Net(file.name, phase)
        except (RuntimeError, ValueError) as error:
            raise ToolError(f"{model}: no net can be made of it ({error})")
    for name in net._layer_names:
        shapes = [tuple(blob.data.shape) for blob in net.params.get(name, ())]
        if name not in stored and shapes and name not in OPTIONAL:
            raise ToolError(f"{weights}: weights of another net: {model} needs layer {name}, which is not in it")
        if stored.get(name, shapes) != shapes:
            raise ToolError(
                f"{weights}: weights of another net or another width: layer {name} has blobs {stored[name]}, "
                f"{model} has {shapes}"
            )
    try:
        net.copy_from(str(weights))
    except RuntimeError as error:
        raise ToolError(f"{error}; use another snapshot")
    for name, blobs in net.params.items():
        if not all(np.isfinite(blob.data).all() for blob in blobs):
            raise ToolError(f"{weights}: layer {name} holds values that are not finite; use an earlier snapshot")
    return net


def for_measuring(description):
    """Change a NetParameter as `load` says. Raises ValueError for parameters that BalancedData does not take."""
    for layer in description.layer:
        if layer.python_param.layer == "BalancedData":
            given = parsed(layer.python_param.param_str, balanced_folder.Parameters, f"layer {layer.name}")
            layer.python_param.param_str = json.dumps({**dataclasses.asdict(given), "augment": "none"})
    learning = [layer for layer in description.layer if any(param.lr_mult for param in layer.param)]
    for param in (param for layer in learning[1:] for param in layer.param):
        param.lr_mult = 0  # so that Caffe skips the gradient


def checked(model):
    """A prototxt as NetParameter whose layers are only those of the project's networks. Raises ToolError.

    Others could write files (HDF5Output) or run any Python module, and a run may come from a stranger.
    """
    net = model_files.read(model)
    for layer in net.layer:
        if kind_of(layer) not in KINDS:
            what = f"layer {layer.name} is of type {kind_of(layer)}"
            raise ToolError(f"{model}: {what}, which no network of the project has")
    return net


def kind_of(layer):
    """Type of a layer, with module and class of a Python layer."""
    return " ".join(filter(None, (layer.type, layer.python_param.module, layer.python_param.layer)))


def region_mapper_parameters(model):
    """Parameters of the RegionMapper of a deploy prototxt that could be loaded, defaults filled in: a dict.

    Raises ToolError where there is none.
    """
    for layer in model_files.read(model).layer:
        if layer.python_param.layer == "RegionMapper":
            return dataclasses.asdict(parsed(layer.python_param.param_str, Parameters, layer.name))
    raise ToolError(f"{model}: no layer RegionMapper in it")


def forward(net, images, blobs):
    """Blobs of a deploy net for a batch of patches: list of (224, 224, 3) uint8 -> dict name -> array."""
    batch = np.stack(images).transpose(0, 3, 1, 2)
    if net.blobs["data"].data.shape != batch.shape:
        net.blobs["data"].reshape(*batch.shape)
    net.blobs["data"].data[...] = batch
    net.forward()
    return {name: net.blobs[name].data.copy() for name in blobs}


def batches(items, size):
    """Yield lists of `size` items; the last one may be shorter."""
    items = iter(items)
    yield from iter(lambda: list(itertools.islice(items, size)), [])


# Faces of an LMDB folder ------------------------------------------------------------------------------------


def patches(folder, split, numbers=None):
    """The centre patches of a split, uint8 (224, 224, 3) B G R, in order or of the given numbers.

    Raises DataError, OSError.
    """
    prepared, path = manifest.read(folder), pathlib.Path(folder) / f"{split}_images"
    for image in databases.images(path, numbers):
        patch = geometry.patch(geometry.framed(image, prepared.frame)) if prepared.form == "compact" else image
        if patch.shape != (PATCH_SIZE, PATCH_SIZE, 3):
            raise ToolError(
                f"{path}: an image is {patch.shape[1]} x {patch.shape[0]} pixels, not {PATCH_SIZE} x {PATCH_SIZE}; "
                "build the database again"
            )
        yield patch
