"""Run the networks: load deploy nets safely, feed them faces of an LMDB folder. Needs a Caffe (.caffe/bin/python)."""

import json
import pathlib
import re
import tempfile

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from data_prep.geometry import PATCH_SIZE
from data_prep.store import databases
from data_prep.store import manifest as manifests
from models import table1
from python_layers import regions
from tools.errors import ToolError

PATCH_AREA = PATCH_SIZE**2
CONV3_CHANNELS = table1.CONV3.channels
# Network -> layer that only its weights have; the first of these that is there decides.
MARKS = {"cascade": "head", "whole_face": "head_whole", "region": "conv7"}
# Layers whose weights a file may lack.
OPTIONAL = ("early_stopping", "region_mapper", "balanced_data")
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
    number = int(match[1] or 0)
    if is_bvlc():
        if not built_for_gpus():
            raise ToolError(
                f"--device {device}: this BVLC Caffe computes on the CPU only; use --device cpu, or the engine on "
                "PyTorch (--caffe torch)"
            )
        caffe.set_mode_gpu()
        caffe.set_device(number)
        return
    try:
        caffe.set_device(number)
        caffe.set_mode_gpu()
    except RuntimeError as error:
        raise ToolError(f"--device {device}: {error}")


def is_bvlc():
    """Whether the Caffe of this Python is BVLC's; else it is the engine on PyTorch."""
    return hasattr(caffe, "_caffe")


def built_for_gpus():
    """Whether BVLC Caffe was built with CUDA: only then has this process loaded CUDA's run-time library."""
    return "libcudart" in pathlib.Path("/proc/self/maps").read_text()


# Weights and nets -------------------------------------------------------------------------------------------


def read_weights(path):
    """A .caffemodel as NetParameter. Raises ToolError when it is missing, cut short, damaged or holds no weights."""
    message = caffe_pb2.NetParameter()
    try:
        message.ParseFromString(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}")
    except DecodeError:
        raise ToolError(f"{path}: not a .caffemodel, or cut short; use another snapshot")
    if not any(layer.blobs for layer in message.layer):
        raise ToolError(f"{path}: no weights in it; use another snapshot")
    for layer in message.layer:
        for blob in layer.blobs:
            values = len(blob.data) or len(blob.double_data)
            if values != np.prod(blob.shape.dim, dtype=np.int64):
                raise ToolError(
                    f"{path}: damaged, layer {layer.name} has {values} values in a blob of shape "
                    f"{tuple(blob.shape.dim)}; use another snapshot"
                )
    return message


def net_of(weights):
    """The network a .caffemodel belongs to: "region", "cascade" or "whole_face". Raises ToolError."""
    layers = {layer.name for layer in read_weights(weights).layer if layer.blobs}
    for net, mark in MARKS.items():
        if mark in layers:
            return net
    raise ToolError(f"{weights}: of none of the project's networks; no layer {', '.join(MARKS.values())} in it")


def deploy(models, weights):
    """The deploy prototxt for a .caffemodel in a folder of networks such as models/. Raises ToolError."""
    return pathlib.Path(models) / net_of(weights) / "deploy.prototxt"


def load(model, weights, phase=caffe.TEST, weight_gradients=True):
    """A net with its weights. Raises ToolError where Caffe would end the interpreter, or ignore it.

    Every layer of the net that has weights must be in the file, with blobs of the same shapes and finite values,
    except those of Python layers: they start from values of their own.

    weight_gradients: whether backward computes gradients of all weights. Without, it takes half the time: only the
    first convolution keeps its own, so that gradients reach down to it.
    """
    if not pathlib.Path(model).exists():
        raise ToolError(f"{model}: no such file")
    stored = {layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in read_weights(weights).layer}
    net = caffe.Net(str(model), phase) if weight_gradients else frozen(model, phase)
    for name, blobs in net.params.items():
        shapes = [tuple(blob.data.shape) for blob in blobs]
        if name not in stored and name in OPTIONAL:
            continue
        if name not in stored:
            raise ToolError(f"{weights}: weights of another net: {model} needs layer {name}, which is not in it")
        if stored[name] != shapes:
            raise ToolError(
                f"{weights}: weights of another net: layer {name} has blobs {stored[name]}, {model} has {shapes}"
            )
    net.copy_from(str(weights))
    for name, blobs in net.params.items():
        if not all(np.isfinite(blob.data).all() for blob in blobs):
            raise ToolError(f"{weights}: layer {name} holds values that are not finite; use an earlier snapshot")
    return net


def frozen(model, phase):
    """A net whose layers after the first that learns have learning rates of 0, so that Caffe skips their gradients."""
    net = description(model)
    learning = [layer for layer in net.layer if any(param.lr_mult for param in layer.param)]
    for layer in learning[1:]:
        for param in layer.param:
            param.lr_mult = 0
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net))
        file.flush()
        return caffe.Net(file.name, phase)


def description(model):
    """A prototxt as NetParameter. Raises ToolError."""
    net = caffe_pb2.NetParameter()
    try:
        text_format.Merge(pathlib.Path(model).read_text(), net)
    except OSError as error:
        raise ToolError(f"{model}: {error.strerror}")
    except (text_format.ParseError, ValueError) as error:
        raise ToolError(f"{model}: not a prototxt of a net ({error})")
    return net


def layer_parameters(layer, defaults):
    """Parameters of a Python layer of a prototxt (LayerParameter), defaults filled in: a dict. Raises ToolError."""
    try:
        return {**defaults, **json.loads(layer.python_param.param_str or "{}")}
    except (ValueError, TypeError) as error:
        raise ToolError(f"layer {layer.name}: param_str must be a JSON object ({error})")


def region_mapper_parameters(model):
    """Parameters of a deploy prototxt's RegionMapper, defaults filled in: a dict. Raises ToolError."""
    for layer in description(model).layer:
        if layer.python_param.layer == "RegionMapper":
            return layer_parameters(layer, regions.DEFAULTS)
    raise ToolError(f"{model}: no layer RegionMapper in it")


def attributes_of(net):
    """The number of attributes of a deploy net."""
    return net.blobs["conv3"].data.shape[1] // CONV3_CHANNELS


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
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# Faces of an LMDB folder ------------------------------------------------------------------------------------


def manifest(folder):
    """The Manifest of an LMDB folder. Raises ToolError."""
    try:
        return manifests.read(folder)
    except (OSError, ValueError) as error:
        raise ToolError(str(error))


def patches(folder, split, numbers=None):
    """The centre patches of a split, uint8 (224, 224, 3) B G R, in order or of the given numbers. Raises ToolError."""
    cut, path = manifest(folder).patch, pathlib.Path(folder) / f"{split}_images"
    try:
        for image in databases.images(path, numbers):
            patch = cut(image)
            if patch.shape != (PATCH_SIZE, PATCH_SIZE, 3):
                raise ToolError(
                    f"{path}: an image is {patch.shape[1]} x {patch.shape[0]} pixels, not {PATCH_SIZE} x {PATCH_SIZE}; "
                    "build the database again"
                )
            yield patch
    except OSError as error:
        raise ToolError(str(error))


def chosen_patches(folder, split, numbers):
    """`patches` of the faces that have these numbers, in a list. Raises ToolError."""
    return list(patches(folder, split, numbers))


def read_labels(folder, split, attributes):
    """All labels of a split of an LMDB folder, (N, A) bool for A attributes. Raises ToolError."""
    path = pathlib.Path(folder) / f"{split}_labels"
    try:
        labels = databases.read_labels(path, attributes)
    except OSError as error:
        raise ToolError(str(error))
    if not len(labels):
        raise ToolError(f"{path}: no labels in it; build the database again")
    return labels
