"""Parameters of nets in files: .caffemodel, binary or HDF5, read by layer name and written as BVLC Caffe does."""

import contextlib
import pathlib

import numpy as np
import torch

from . import glog, wire
from .errors import CaffeError, check
from .proto import caffe_pb2

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def parameters(node):
    """The parameter blobs of a layer."""
    return list(list.__iter__(node.layer.blobs))


def h5py():
    """The package h5py. Raises CaffeError where it is not installed."""
    try:
        import h5py as package
    except ImportError:
        raise CaffeError("HDF5 needs the package h5py: pip install h5py")
    return package


def is_hdf5(path):
    try:
        with open(path, "rb") as file:
            return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC
    except OSError as error:
        raise CaffeError(f"{path}: {error.strerror}")


def read_hdf5(path):
    """The layers of an HDF5 file of weights: list of (name, arrays); a missing blob, one that is shared, is None."""
    with h5py().File(path, "r") as file:
        check("data" in file, f"{path}: no group `data` in it; not weights in HDF5")
        layers = []
        for name, group in file["data"].items():
            count = max((int(index) + 1 for index in group), default=0)
            arrays = [group[str(index)][()] if str(index) in group else None for index in range(count)]
            layers.append((name, arrays))
        return layers


def read(path):
    """The layers of a file of weights of either format: list of (name, arrays). Raises CaffeError."""
    path = str(path)
    return read_hdf5(path) if is_hdf5(path) else wire.read_weights(path)


def same_shape(found, wanted):
    """Whether a stored shape fits; one of 4 axes may be that of old files, padded with ones in front."""
    found, wanted = tuple(found), tuple(wanted)
    if len(found) == 4 and len(wanted) < 4:
        return found == (1,) * (4 - len(wanted)) + wanted
    return found == wanted


def put(blob, array):
    """Set a blob's data to an array's numbers."""
    blob.put(torch.from_numpy(np.array(array, dtype=np.float32).reshape(blob.shape)))


def copy_from(net, path):
    """Copy the weights of layers whose names a net and a file share. Raises CaffeError where shapes differ."""
    nodes = {node.name: node for node in net.nodes}
    for name, arrays in read(path):
        node = nodes.get(name)
        if node is None:
            glog.info(f"Ignoring source layer {name}")
            continue
        blobs = parameters(node)
        if not arrays and not blobs:
            continue
        check(
            len(arrays) == len(blobs),
            f"{path}: layer {name!r} has {len(arrays)} parameter blobs there, {len(blobs)} in the net",
        )
        for index, (blob, array) in enumerate(zip(blobs, arrays)):
            if array is None:
                continue
            check(
                same_shape(array.shape, blob.shape),
                f"{path}: layer {name!r}: parameter {index} has shape {tuple(array.shape)} there, {blob.shape} in the "
                "net; a layer that is to start afresh needs a name of its own",
            )
            put(blob, array)


def share_with(net, other):
    """Let a net's parameters be the memory of those of another's layers of the same names. Raises CaffeError."""
    nodes = {node.name: node for node in net.nodes}
    for source in other.nodes:
        node = nodes.get(source.name)
        if node is None:
            glog.info(f"Ignoring source layer {source.name}")
            continue
        blobs, theirs = parameters(node), parameters(source)
        check(
            len(blobs) == len(theirs), f"layer {source.name!r}: {len(theirs)} parameter blobs there, {len(blobs)} here"
        )
        for index, (blob, shared) in enumerate(zip(blobs, theirs)):
            check(
                blob.shape == shared.shape,
                f"layer {source.name!r}: parameter {index} has shape {shared.shape} there, {blob.shape} here",
            )
            blob.share_data(shared)


def host(memory, shape):
    """A memory's numbers as an array to read, without making them the memory."""
    return memory.raw(shape).detach().reshape(shape).to("cpu", torch.float32).contiguous().numpy()


def save(net, path, with_diff=False):
    """Write a net's layers and parameters as binary .caffemodel."""
    parts = [caffe_pb2.NetParameter(name=net.name).SerializeToString()]
    for node in net.nodes:
        blobs = [
            wire.BlobParts(host(b.data_memory, b.shape), host(b.diff_memory, b.shape) if with_diff else None)
            for b in parameters(node)
        ]
        parts += wire.nested(wire.NET_LAYER, node.param.SerializeToString(), wire.LAYER_BLOBS, blobs)
    wire.write_parts(path, parts)


@contextlib.contextmanager
def new_hdf5(path):
    """An HDF5 file to write, which appears whole or not at all. Raises CaffeError."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with h5py().File(partial, "w") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise CaffeError(f"{path}: {error.strerror or error}")
    finally:
        partial.unlink(missing_ok=True)


def save_hdf5(net, path, with_diff=False):
    """Write a net's parameters as HDF5: /data/<layer>/<index>, a shared blob only where its owner is."""
    owners = {id(blob.data_memory): blob for blob in reversed(net.learnable)}
    with new_hdf5(path) as file:
        for group_name in ("data", "diff") if with_diff else ("data",):
            group = file.create_group(group_name)
            for node in net.nodes:
                layer = group.create_group(node.name)
                for index, blob in enumerate(parameters(node)):
                    if owners.get(id(blob.data_memory)) is blob:
                        memory = blob.data_memory if group_name == "data" else blob.diff_memory
                        layer.create_dataset(str(index), data=host(memory, blob.shape))
