"""Parameters of nets: copied from files by layer name, shared between nets, written as BVLC Caffe does."""

import numpy as np
import torch

from . import durable, glog, hdf5, model_file, wire
from .errors import check
from .proto import caffe_pb2


def parameters(node):
    """The parameter blobs of a layer."""
    return list(list.__iter__(node.layer.blobs))


def put(blob, array):
    """Set a blob's data to an array's numbers."""
    blob.put(torch.from_numpy(np.array(array, dtype=np.float32).reshape(blob.shape)))


def copy_from(net, path):
    """Copy the weights of layers whose names a net and a file share.

    Raises CaffeError where shapes differ; then no weight was changed.
    """
    copy_layers(net, path, model_file.read(path))


def restore(net, path):
    """The same from the weights of a snapshot: every layer of the net that has parameters must be in them."""
    layers = model_file.read(path)
    stored = {name for name, _ in layers}
    missing = [node.name for node in net.nodes if parameters(node) and node.name not in stored]
    check(not missing, f"{path}: has no layer {missing[0] if missing else ''!r}; weights of another net, or cut short")
    copy_layers(net, path, layers)


def copy_layers(net, path, layers):
    """Copy the parameters of layers, list of (name, arrays), to those of the same names; path: for errors."""
    nodes = {node.name: node for node in net.nodes}
    owners = {id(blob) for blob in net.learnable}
    may_lack = hdf5.is_hdf5(path)
    pairs = []
    for name, arrays in layers:
        node = nodes.get(name)
        if node is None:
            glog.info(f"Ignoring source layer {name}")
            continue
        blobs = parameters(node)
        if not arrays and not blobs:
            continue
        # HDF5 leaves out blobs that are shared, so the last ones may be missing.
        stored = arrays + [None] * (len(blobs) - len(arrays)) if may_lack else arrays
        check(
            len(stored) == len(blobs),
            f"{path}: layer {name!r} has {len(arrays)} parameter blobs there, {len(blobs)} in the net",
        )
        for index, (blob, array) in enumerate(zip(blobs, stored)):
            where = f"{path}: layer {name!r}: parameter {index}"
            if array is None:
                check(id(blob) not in owners, f"{where} is missing there, and the net's is not shared")
                continue
            check(
                model_file.same_shape(array.shape, blob.shape),
                f"{where} has shape {tuple(array.shape)} there, {blob.shape} in the net; a layer that is to start "
                "afresh needs a name of its own",
            )
            pairs.append((blob, array))
    for blob, array in pairs:
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


def write(net, path, with_diff=False):
    """Write a net's layers and parameters as binary .caffemodel. Raises OSError."""
    parts = [caffe_pb2.NetParameter(name=net.name).SerializeToString()]
    for node in net.nodes:
        blobs = [
            wire.BlobParts(host(b.data_memory, b.shape), host(b.diff_memory, b.shape) if with_diff else None)
            for b in parameters(node)
        ]
        parts += wire.nested(wire.NET_LAYER, node.param.SerializeToString(), wire.LAYER_BLOBS, blobs)
    wire.write_parts(path, parts)


def write_hdf5(net, path, with_diff=False):
    """Write a net's parameters as HDF5: /data/<layer>/<index>, shared blobs only at their owners. Raises OSError."""
    owners = {id(blob.data_memory): blob for blob in reversed(net.learnable)}

    def fill(file):
        for group_name in ("data", "diff") if with_diff else ("data",):
            group = file.create_group(group_name)
            for node in net.nodes:
                layer = group.create_group(node.name)
                for index, blob in enumerate(parameters(node)):
                    if owners.get(id(blob.data_memory)) is blob:
                        memory = blob.data_memory if group_name == "data" else blob.diff_memory
                        layer.create_dataset(str(index), data=host(memory, blob.shape))

    hdf5.write(path, fill)


def save(net, path):
    """Write a net's parameters as binary .caffemodel, which appears whole or not at all. Raises CaffeError."""
    durable.write_files([(path, lambda partial: write(net, partial))])


def save_hdf5(net, path):
    """The same as HDF5."""
    durable.write_files([(path, lambda partial: write_hdf5(net, partial))])
