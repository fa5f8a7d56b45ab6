"""Initial weights for a training, from a training on other data."""

import pathlib

from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from data_prep import files
from models.networks import STATE_LAYERS
from tools.errors import ToolError


def copy(source, checksum, target):
    """Copy weights without the layers that hold the state of the training they come from.

    source: a .caffemodel; checksum: its SHA-256; target: the file to write. Raises ToolError, OSError.
    """
    if not pathlib.Path(source).is_file():
        raise ToolError(f"{source}: missing; the run starts from these weights (--start-from)")
    if files.sha256(source) != checksum:
        raise ToolError(f"{source}: changed since --start-from named it; give --start-from again")
    net = caffe_pb2.NetParameter()
    try:
        net.ParseFromString(pathlib.Path(source).read_bytes())
    except DecodeError:
        raise ToolError(f"{source}: not a .caffemodel, or cut short")
    if not any(layer.blobs for layer in net.layer):
        raise ToolError(f"{source}: no weights in it")
    kept = caffe_pb2.NetParameter(name=net.name, layer=[layer for layer in net.layer if layer.name not in STATE_LAYERS])
    files.write_bytes(target, kept.SerializeToString())
