"""Run the networks: load deploy nets safely, feed them faces, read LMDBs. Needs a Caffe (.caffe/bin/python)."""

import json
import pathlib

import caffe
import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from data_prep.geometry import face, patch
from data_prep.store.databases import key
from models import table1
from tools.errors import ToolError

PATCH_AREA = table1.INPUT_SIZE**2
CONV3_CHANNELS = table1.CONV3.channels
# Network -> layer that only its weights have; of these the first that is there tells.
MARKS = {"cascade": "head", "whole_face": "head_whole", "region": "conv7"}
# Layers whose weights a file may lack.
OPTIONAL = ("early_stopping", "region_mapper", "balanced_data")


def read_weights(path):
    """A .caffemodel as NetParameter. Raises ToolError when it is missing or none."""
    message = caffe_pb2.NetParameter()
    try:
        message.ParseFromString(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}")
    except DecodeError:
        raise ToolError(f"{path}: not a .caffemodel")
    if not any(layer.blobs for layer in message.layer):
        raise ToolError(f"{path}: no weights in it")
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


def load(model, weights, phase=caffe.TEST):
    """A net with its weights. Raises ToolError where Caffe would end the interpreter, or ignore it.

    Every layer of the net that has weights must be in the file, with blobs of the same shapes, but for
    those of Python layers: they start from values of their own.
    """
    if not pathlib.Path(model).exists():
        raise ToolError(f"{model}: no such file")
    stored = {layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in read_weights(weights).layer}
    net = caffe.Net(str(model), phase)
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
    return net


def manifest(folder):
    """The manifest of an LMDB folder. Raises ToolError."""
    path = pathlib.Path(folder) / "manifest.json"
    try:
        return json.loads(path.read_text())
    except OSError:
        raise ToolError(f"{path}: missing; make lmdb writes it")


def open_lmdb(path):
    """An LMDB for reading. Raises ToolError when there is none."""
    try:
        return lmdb.open(str(path), readonly=True, lock=False, subdir=True)
    except lmdb.Error as error:
        raise ToolError(f"{path}: {error}; make lmdb builds it")


def records(path):
    """The Datum messages of an LMDB in key order. Raises ToolError when there is none."""
    with open_lmdb(path) as environment, environment.begin() as transaction:
        for _, value in transaction.cursor():
            yield caffe_pb2.Datum.FromString(value)


def patches(folder, split):
    """The centre patches of a split in order, uint8 (224, 224, 3) B G R. Raises ToolError."""
    cut = cutter(folder)
    for datum in records(pathlib.Path(folder) / f"{split}_images"):
        yield cut(datum_image(datum))


def chosen_patches(folder, split, numbers):
    """The centre patches of the faces of a split that have these numbers. Raises ToolError."""
    cut = cutter(folder)
    with open_lmdb(pathlib.Path(folder) / f"{split}_images") as environment, environment.begin() as transaction:
        return [cut(datum_image(caffe_pb2.Datum.FromString(transaction.get(key(number))))) for number in numbers]


def cutter(folder):
    """What makes a centre patch of a stored image: the compact form holds whole faces, the stream form patches."""
    whole = manifest(folder).get("form") == "compact"
    return lambda image: patch(face(image)) if whole else image


def datum_image(datum):
    """The image of a Datum, uint8 (height, width, 3), B G R."""
    data = np.frombuffer(datum.data, dtype=np.uint8)
    if datum.encoded:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    return data.reshape(datum.channels, datum.height, datum.width).transpose(1, 2, 0)


def read_labels(path):
    """All labels of a labels LMDB, (N, A) bool."""
    return np.array([np.frombuffer(datum.data, dtype=np.uint8) for datum in records(path)]) == 1


def forward(net, images, blobs):
    """Blobs of a deploy net for a batch of patches: list of (224, 224, 3) uint8 -> dict name -> array."""
    batch = np.stack(images).transpose(0, 3, 1, 2)
    if net.blobs["data"].data.shape != batch.shape:
        net.blobs["data"].reshape(*batch.shape)
    net.blobs["data"].data[...] = batch
    net.forward()
    return {name: net.blobs[name].data.copy() for name in blobs}


def batches(items, size):
    """Lists of `size` items, the last one shorter."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
