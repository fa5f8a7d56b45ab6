"""Reading and writing of blobs in protobuf's wire format, as arrays.

Weights are hundreds of megabytes of packed floats. The protobuf package would copy them several times and return them
as Python numbers one by one, so this module decodes and encodes the fields around them itself. A field is a varint
(number << 3 | kind) and a value; kinds are 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
"""

import mmap
import os

import numpy as np

from .errors import CaffeError, check
from .proto import caffe_pb2

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
BLOB = {name: field.number for name, field in caffe_pb2.BlobProto.DESCRIPTOR.fields_by_name.items()}
NET_LAYER = caffe_pb2.NetParameter.DESCRIPTOR.fields_by_name["layer"].number
NET_V1_LAYER = caffe_pb2.NetParameter.DESCRIPTOR.fields_by_name["layers"].number
LAYER_BLOBS = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name["blobs"].number
V1_LAYER_BLOBS = caffe_pb2.V1LayerParameter.DESCRIPTOR.fields_by_name["blobs"].number
STATE_HISTORY = caffe_pb2.SolverState.DESCRIPTOR.fields_by_name["history"].number


class Malformed(Exception):
    """The bytes are no valid message."""


def read_varint(data, at):
    """(value, position after it) of the varint at position `at`. Raises Malformed."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data):
    """Yield the fields of a message: (number, kind, int or memoryview, position, end position). Raises Malformed."""
    at, end = 0, len(data)
    while at < end:
        first = at
        key, at = read_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
        elif kind in (EIGHT, FOUR, BYTES):
            size = 8 if kind == EIGHT else 4
            if kind == BYTES:
                size, at = read_varint(data, at)
            if at + size > end:
                raise Malformed
            value = data[at : at + size]
            at += size
        else:
            raise Malformed
        if not number:
            raise Malformed
        yield number, kind, value, first, at


def read_blob(data):
    """The data of a BlobProto as an array, in its shape or that of the old fields num to width. Raises Malformed."""
    parts, shape, old = {}, None, {}
    for number, kind, value, _, _ in fields(data):
        if number == BLOB["shape"]:
            shape = tuple(caffe_pb2.BlobShape.FromString(bytes(value)).dim)
        elif number in (BLOB["data"], BLOB["double_data"]) and kind != VARINT:
            parts.setdefault(number, []).append(value)
        elif number <= BLOB["height"] + 1 and kind == VARINT:
            old[number] = value
    if BLOB["double_data"] in parts:
        arrays = [np.frombuffer(part, "<f8") for part in parts[BLOB["double_data"]]]
    else:
        arrays = [np.frombuffer(part, "<f4") for part in parts.get(BLOB["data"], [b""])]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    if shape is None and old:
        shape = tuple(old.get(BLOB[name], 0) for name in ("num", "channels", "height", "width"))
    if shape is None:
        shape = array.shape
    if array.size != np.prod(shape, dtype=np.int64):
        raise Malformed
    return array.reshape(shape)


def split_blobs(data, blobs_number):
    """(bytes of a message without its blobs, its blobs as arrays). Raises Malformed.

    blobs_number: number of the field that contains the blobs
    """
    rest, arrays = [], []
    for number, kind, value, first, end in fields(data):
        if number == blobs_number and kind == BYTES:
            arrays.append(read_blob(value))
        else:
            rest.append(bytes(data[first:end]))
    return b"".join(rest), arrays


def text(value):
    """Return a text of a message. Raises Malformed for bytes, which protobuf returns for text that is not UTF-8."""
    if not isinstance(value, str):
        raise Malformed
    return value


def open_bytes(path):
    """The bytes of a file, mapped into memory as long as arrays refer to them. Raises CaffeError."""
    check(not os.path.exists(path) or os.path.isfile(path), f"{path}: not a file")
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL, from a damaged solver state
        raise CaffeError(f"{path}: {getattr(error, 'strerror', error)}")


def read_blob_file(path):
    """The data of the BlobProto in a binary file, a float32 array. Raises CaffeError."""
    try:
        return read_blob(open_bytes(path)).astype(np.float32)
    except Malformed:
        raise CaffeError(f"{path}: not a BlobProto, or a damaged one")


def read_weights(path):
    """The layers in a binary .caffemodel: list of (name, list of arrays). Raises CaffeError."""
    data = open_bytes(path)
    layers = []
    kinds = {
        NET_LAYER: (caffe_pb2.LayerParameter, LAYER_BLOBS),
        NET_V1_LAYER: (caffe_pb2.V1LayerParameter, V1_LAYER_BLOBS),
    }
    try:
        for number, kind, value, _, _ in fields(data):
            if number in kinds and kind == BYTES:
                message, blobs_number = kinds[number]
                rest, arrays = split_blobs(value, blobs_number)
                layers.append((text(message.FromString(rest).name), arrays))
    except Exception as error:
        raise CaffeError(f"{path}: not a .caffemodel, or a damaged one") from error
    check(layers, f"{path}: no layer in it; not a .caffemodel")
    return layers


def read_state(path):
    """(SolverState without its histories, the histories as arrays) of a binary .solverstate. Raises CaffeError."""
    data = open_bytes(path)
    try:
        rest, arrays = split_blobs(data, STATE_HISTORY)
        state = caffe_pb2.SolverState.FromString(rest)
        text(state.learned_net)
        return state, arrays
    except Exception as error:
        raise CaffeError(f"{path}: not a .solverstate, or a damaged one") from error


def varint(value):
    """A non-negative integer encoded as a varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number):
    """The encoded key of field `number` with kind 2, length and bytes."""
    return varint(number << 3 | BYTES)


def blob_field(number, data, diff=None):
    """The parts, bytes and memoryviews, of field `number` that contains a BlobProto of one array or two."""
    shape = caffe_pb2.BlobShape(dim=data.shape).SerializeToString()
    parts = [key(BLOB["shape"]), varint(len(shape)), shape]
    for name, array in (("data", data), ("diff", diff)):
        if array is not None and array.size:
            array = np.ascontiguousarray(array, "<f4")
            parts += [key(BLOB[name]), varint(array.nbytes), array.reshape(-1).view(np.uint8).data]
    return nested(number, parts)


def nested(number, parts):
    """The parts of field `number` that contains a message with the given parts."""
    return [key(number), varint(sum(map(len, parts))), *parts]


def write_parts(path, parts):
    """Write an iterable of bytes and memoryviews to a file. Raises OSError."""
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
