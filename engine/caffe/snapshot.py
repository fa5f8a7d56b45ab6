"""Snapshots: reading and writing solver states in BVLC Caffe's formats, binary and HDF5, and verifying them.

This module does not import PyTorch, so that a program can quickly find the snapshot from which to resume.
"""

import collections.abc
import dataclasses
import os
import pathlib
import re

import numpy as np

from . import hdf5, model_file, wire
from .errors import CaffeError, check
from .proto import caffe_pb2


@dataclasses.dataclass
class State:
    """The content of a .solverstate.

    iteration: number of updates; step: number of learning-rate steps (current_step); learned_net: path of the weights
    histories: arrays, of all first histories of the parameters, then, for solvers with two kinds, of all second ones
    """

    iteration: int
    step: int
    learned_net: str
    histories: collections.abc.Iterable


def write(path, state):
    """Write a State as binary .solverstate. Raises OSError."""

    def parts():
        yield caffe_pb2.SolverState(iter=state.iteration, learned_net=state.learned_net).SerializeToString()
        for history in state.histories:
            yield from wire.blob_field(wire.STATE_HISTORY, history)
        # Last, as in BVLC Caffe, so that a file that was cut short between two histories lacks it.
        yield caffe_pb2.SolverState(current_step=state.step).SerializeToString()

    wire.write_parts(path, parts())


def write_hdf5(path, state):
    """Write a State as HDF5. Raises OSError, CaffeError."""

    # BVLC Caffe reads the name as a C string, so its zero byte must be in the file. NumPy drops it without a dtype.
    name = state.learned_net.encode()
    name = np.array(name, dtype=f"S{len(name) + 1}")

    def fill(file):
        file.create_dataset("iter", data=np.array([state.iteration], dtype=np.int32))
        file.create_dataset("learned_net", data=name)
        file.create_dataset("current_step", data=np.array([state.step], dtype=np.int32))
        group = file.create_group("history")
        for index, history in enumerate(state.histories):
            group.create_dataset(str(index), data=history)

    hdf5.write(path, fill)


def read(path):
    """The State in a .solverstate, binary or HDF5. Raises CaffeError."""
    path = str(path)
    if hdf5.is_hdf5(path):
        return State(*hdf5.read_state(path))
    message, histories = wire.read_state(path)
    check(
        message.HasField("iter") and message.HasField("current_step") and min(message.iter, message.current_step) >= 0,
        f"{path}: not a .solverstate, or a damaged one",
    )
    return State(message.iter, message.current_step, message.learned_net, histories)


class NotFinite(CaffeError):
    """The weights of a snapshot are not finite: the training has diverged."""


def verify(path, weights=None, layers=()):
    """Read a .solverstate and its file of weights completely, and return its State.

    weights: their path, if it is not the one in the state; layers: names of layers that they must hold
    Raises CaffeError for files that are truncated or damaged, NotFinite, and CaffeError if the histories do not have
    the shapes of the weights, which then belong to another net. Works for snapshots of BVLC Caffe as well.
    """
    state = read(path)
    check(state.learned_net, f"{path}: names no file of weights")
    weights = state.learned_net if weights is None else os.fspath(weights)
    named, found = (os.path.basename(name) for name in (state.learned_net, weights))
    check(named == found, f"{path}: belongs to the weights {named}, not {found}")
    try:
        stored = model_file.read(weights)
    except CaffeError as error:
        raise CaffeError(f"{path}: the weights that it names cannot be read: {error}")
    missing = sorted(set(layers) - {name for name, _ in stored})
    check(not missing, f"{weights}: cut short, layer {missing[0] if missing else None} is missing")
    arrays = [(name, array) for name, arrays in stored for array in arrays if array is not None]
    for name, array in arrays:
        if not np.isfinite(array).all():
            raise NotFinite(f"{weights}: holds numbers that are not finite in layer {name}")
    blobs, shapes = [array.shape for _, array in arrays], [array.shape for array in state.histories]
    half = len(shapes) // 2
    # Some solvers have two histories for each parameter: all first ones, then all second ones.
    two = len(shapes) % 2 == 0 and shapes[:half] == shapes[half:]
    check(
        covers(blobs, shapes) or (two and covers(blobs, shapes[:half])),
        f"{path}: the weights that it names, {weights}, are of another net, or cut short",
    )
    return state


def covers(blobs, shapes):
    """Whether the shapes of histories are, in order, shapes of the blobs; a blob that shares another's memory has none.

    HDF5 sorts the layers by name, so it is also enough if each shape occurs equally often.
    """
    remaining = iter(blobs)
    if all(any(model_file.same_shape(blob, shape) for blob in remaining) for shape in shapes):
        return True
    return sorted(blobs) == sorted(shapes)


def states(prefix):
    """The .solverstate files with a snapshot_prefix: list of (iteration, path), highest iteration first."""
    folder, name = os.path.split(prefix)
    folder = pathlib.Path(folder)
    pattern = re.compile(re.escape(name) + r"_iter_(\d+)\.solverstate(\.h5)?")
    if not folder.is_dir():
        return []
    matches = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), str(path)) for match, path in matches if match), reverse=True)


def newest(prefix, passed_over=None):
    """The path of the newest .solverstate with a snapshot_prefix that `verify` accepts, or None.

    passed_over: a list to which the error message of each newer one that it rejects is appended
    """
    for _, path in states(prefix):
        try:
            verify(path)
            return path
        except CaffeError as error:
            if passed_over is not None:
                passed_over.append(str(error))
    return None
