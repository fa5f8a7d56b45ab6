"""Reading prototxts and .caffemodel files by protocol buffers alone, without a Caffe that computes."""

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from data_prep import files
from tools.errors import ToolError

# Network -> layer that only its weights have; the first of these that is there decides.
MARKS = {"cascade": "head", "whole_face": "head_whole", "region": "conv7"}


def read(path, kind=caffe_pb2.NetParameter):
    """A prototxt as a message, of a net by default. Raises ToolError."""
    net = kind()
    try:
        text_format.Merge(files.read_bytes(path).decode(), net)
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}")
    except (text_format.ParseError, ValueError) as error:
        raise ToolError(f"{path}: not a prototxt of Caffe's {kind.DESCRIPTOR.name} ({error})")
    return net


def parsed(path):
    """A .caffemodel as NetParameter, whatever is in it. Raises ToolError when it is missing or cut short."""
    try:
        return caffe_pb2.NetParameter.FromString(files.read_bytes(path))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}")
    except DecodeError:
        raise ToolError(f"{path}: not a .caffemodel, or cut short; use another snapshot")


def read_weights(path):
    """A .caffemodel as NetParameter. Raises ToolError when it is missing, cut short, damaged or holds no weights."""
    message = parsed(path)
    if not any(layer.blobs for layer in message.layer):
        raise ToolError(f"{path}: no weights in it; use another snapshot")
    # protobuf gives bytes for a name that is not UTF-8.
    if not all(isinstance(name, str) for name in (message.name, *(layer.name for layer in message.layer))):
        raise ToolError(f"{path}: damaged, a name in it is not text; use another snapshot")
    for layer in message.layer:
        for blob in layer.blobs:
            values = len(blob.data) or len(blob.double_data)
            if values != np.prod(blob.shape.dim, dtype=np.int64):
                raise ToolError(
                    f"{path}: damaged, layer {layer.name} has {values} values in a blob of shape "
                    f"{tuple(blob.shape.dim)}; use another snapshot"
                )
    return message


def network_of(weights):
    """The network a .caffemodel belongs to: "region", "cascade" or "whole_face". Raises ToolError."""
    layers = {layer.name for layer in read_weights(weights).layer if layer.blobs}
    for net, mark in MARKS.items():
        if mark in layers:
            return net
    raise ToolError(f"{weights}: of none of the project's networks; no layer {', '.join(MARKS.values())} in it")


def bare(weights, without):
    """A .caffemodel without some layers, a NetParameter of names, types and weights: Caffe stores paths, too.

    without: names of layers. Raises ToolError.
    """
    message = read_weights(weights)
    kept = [layer for layer in message.layer if layer.blobs and layer.name not in without]
    layers = [caffe_pb2.LayerParameter(name=layer.name, type=layer.type, blobs=layer.blobs) for layer in kept]
    return caffe_pb2.NetParameter(name=message.name, layer=layers)


def check_fit(net, weights):
    """Raise ToolError where weights cannot be those of a net: compares the channels of convolutions.

    net: NetParameter of a prototxt; weights: path of a .caffemodel
    """
    stored = {layer.name: layer for layer in read_weights(weights).layer}
    for layer in net.layer:
        channels = layer.convolution_param.num_output
        if layer.type == "Convolution" and layer.name in stored and stored[layer.name].blobs:
            found = stored[layer.name].blobs[0].shape.dim[0]
            if found != channels:
                raise ToolError(
                    f"{weights}: weights of another net, of other attributes or another width: layer {layer.name} has "
                    f"{found} channels, the net {channels}"
                )
