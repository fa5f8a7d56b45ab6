"""Initial weights for a training, from a training on other data."""

import pathlib

from caffe.proto import caffe_pb2

from data_prep import files
from models.networks import STATE_LAYERS
from tools import networks
from tools.errors import ToolError


def copy(source, checksum, target):
    """Copy weights without the layers that hold the state of the training they come from.

    source: a .caffemodel; checksum: its SHA-256; target: the file to write. Raises ToolError, OSError.
    """
    if not pathlib.Path(source).is_file():
        raise ToolError(f"{source}: missing; the run starts from these weights (--start-from)")
    if files.sha256(source) != checksum:
        raise ToolError(f"{source}: changed since --start-from named it; give --start-from again")
    net = networks.read_weights(source)
    kept = caffe_pb2.NetParameter(name=net.name, layer=[layer for layer in net.layer if layer.name not in STATE_LAYERS])
    files.write_bytes(target, kept.SerializeToString())
