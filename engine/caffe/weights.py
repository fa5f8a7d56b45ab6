"""Parameters of nets: copied from files by layer name, shared between nets, and written in BVLC Caffe's formats."""

import numpy as np
import torch

from . import durable, glog, hdf5, model_file, wire
from .errors import check
from .proto import caffe_pb2


def copy_from(net, path, complete=False):
    """Copy the weights of the layers in a file to the layers of the same names in a net; ignore other layers.

    complete: whether all layers with parameters must be in the file, as in a snapshot
    Raises CaffeError, before any weight is changed, if shapes or numbers of blobs differ.
    """
    layers = model_file.read(path)
    stored = {name for name, _ in layers}
    missing = [node.name for node in net.nodes if complete and node.layer.blobs and node.name not in stored]
    check(not missing, f"{path}: has no layer {missing[0] if missing else ''!r}; weights of another net, or cut short")
    nodes = {node.name: node for node in net.nodes}
    owners = {id(blob) for blob in net.learnable}
    may_omit_shared = hdf5.is_hdf5(path)
    pairs = []
    for name, arrays in layers:
        node = nodes.get(name)
        if node is None:
            glog.info(f"Ignoring source layer {name}")
            continue
        blobs = node.layer.blobs
        if not arrays and not blobs:
            continue
        # HDF5 files store a shared blob only at its owner, so the last blobs of other layers may be missing.
        found = arrays + [None] * (len(blobs) - len(arrays)) if may_omit_shared else arrays
        check(
            len(found) == len(blobs),
            f"{path}: layer {name!r} has {len(arrays)} parameter blobs in the file, {len(blobs)} in the net",
        )
        for index, (blob, array) in enumerate(zip(blobs, found)):
            where = f"{path}: layer {name!r}: parameter {index}"
            if array is None:
                check(id(blob) not in owners, f"{where} is missing in the file, and in the net it is not shared")
                continue
            check(
                model_file.same_shape(array.shape, blob.shape),
                f"{where} has shape {tuple(array.shape)} in the file, {blob.shape} in the net; to train this layer "
                "from new weights, rename it",
            )
            pairs.append((blob, array))
    for blob, array in pairs:
        blob.put(torch.from_numpy(np.array(array, dtype=np.float32).reshape(blob.shape)))


def share_with(net, other):
    """Let layers of a net use the parameters of the layers of the same names in another (ShareTrainedLayersWith).

    Raises CaffeError if shapes or numbers of blobs differ.
    """
    nodes = {node.name: node for node in net.nodes}
    for source in other.nodes:
        node = nodes.get(source.name)
        if node is None:
            glog.info(f"Ignoring source layer {source.name}")
            continue
        blobs, theirs = node.layer.blobs, source.layer.blobs
        check(
            len(blobs) == len(theirs),
            f"layer {source.name!r}: {len(theirs)} parameter blobs in the net to share with, {len(blobs)} in this one",
        )
        for index, (blob, shared) in enumerate(zip(blobs, theirs)):
            check(
                blob.shape == shared.shape,
                f"layer {source.name!r}: parameter {index} has shape {shared.shape} in the net to share with, "
                f"{blob.shape} in this one",
            )
            blob.share_data(shared)


def array_of(memory, shape):
    """The content of a blob's memory as a float32 array of a shape, read only; the memory itself is not converted."""
    return memory.raw(shape).detach().reshape(shape).to("cpu", torch.float32).contiguous().numpy()


def write(net, path, with_diff=False):
    """Write a net's layers and parameters, with_diff also their diffs, as binary .caffemodel. Raises OSError."""

    def parts():
        yield caffe_pb2.NetParameter(name=net.name).SerializeToString()
        for node in net.nodes:
            layer = [node.param.SerializeToString()]
            for blob in node.layer.blobs:
                memories = [blob.data_memory] + [blob.diff_memory] * with_diff
                layer += wire.blob_field(wire.LAYER_BLOBS, *(array_of(memory, blob.shape) for memory in memories))
            yield from wire.nested(wire.NET_LAYER, layer)

    wire.write_parts(path, parts())


def write_hdf5(net, path, with_diff=False):
    """Write a net's parameters as HDF5: /data/<layer>/<index>, with_diff also /diff. Raises OSError, CaffeError.

    A shared blob is stored only at its owner, as BVLC Caffe does.
    """
    owners = {id(blob.data_memory): blob for blob in reversed(net.learnable)}

    def fill(file):
        for group_name in ("data", "diff") if with_diff else ("data",):
            group = file.create_group(group_name)
            for node in net.nodes:
                layer = group.create_group(node.name)
                for index, blob in enumerate(node.layer.blobs):
                    if owners.get(id(blob.data_memory)) is blob:
                        memory = blob.data_memory if group_name == "data" else blob.diff_memory
                        layer.create_dataset(str(index), data=array_of(memory, blob.shape))

    hdf5.write(path, fill)


def save(net, path, hdf5_file=False):
    """Write a net's parameters as binary .caffemodel or HDF5, completely or not at all. Raises CaffeError."""
    durable.write_files([(path, lambda partial: (write_hdf5 if hdf5_file else write)(net, partial))])
