"""Finding the newest complete snapshot of a training, from which it can be resumed.

A kill, a power cut or a full disk can leave half a file, and a truncated protobuf message may still be a valid one. A
pair of files is complete if the weights hold every layer of the training net, with finite numbers, and the solver state
holds a history for each of their blobs, of the same shape. Uses the engine's reader, hence Python 3.11 or newer.
"""

import dataclasses
import pathlib
import re

import numpy as np
from caffe import model_file, snapshot
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep import files
from tools.errors import ToolError


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A pair of files of one iteration: Path of the solver state, Path of the weights."""

    iteration: int
    state: pathlib.Path
    weights: pathlib.Path


def pairs(folder, prefix):
    """The pairs PREFIX_iter_N.solverstate and .caffemodel in a folder, newest iteration first; unchecked."""
    snapshots = []
    for state in pathlib.Path(folder).glob(f"{prefix}_iter_*.solverstate"):
        number = re.fullmatch(rf"{re.escape(prefix)}_iter_(\d+)", state.stem)
        if number and state.with_suffix(".caffemodel").exists():
            snapshots.append(Snapshot(int(number[1]), state, state.with_suffix(".caffemodel")))
    return sorted(snapshots, key=lambda pair: -pair.iteration)


def prune(folder, prefix, keep, iteration):
    """Of the pairs up to an iteration, delete all but the `keep` newest; 0 keeps all. Raises OSError."""
    older = [pair for pair in pairs(folder, prefix) if pair.iteration <= iteration]
    for pair in older[keep:] if keep else []:
        pair.state.unlink(missing_ok=True)
        pair.weights.unlink(missing_ok=True)


def newest_whole(folder, prefix, net):
    """The newest complete Snapshot (None if there is none), and a list of sentences about the newer, damaged ones.

    net: path of the train_val prototxt
    """
    damaged = []
    for pair in pairs(folder, prefix):
        fault = damage(pair, net)
        if fault is None:
            return pair, damaged
        damaged.append(fault)
    return None, damaged


def damage(pair, net):
    """The fault of a Snapshot, a sentence that names the file; None if it is complete."""
    try:
        layers, state = model_file.read(pair.weights), snapshot.read(pair.state)
    except CaffeError as error:
        return str(error)
    missing = sorted(set(training_layers(net)) - {name for name, _ in layers})
    if missing:
        return f"{pair.weights}: cut short, layer {missing[0]} is missing"
    for name, blobs in layers:
        if not all(np.isfinite(blob).all() for blob in blobs):
            return f"{pair.weights}: holds numbers that are not finite in layer {name}"
    if state.iteration != pair.iteration:
        return f"{pair.state}: its iteration is {state.iteration}, not {pair.iteration}"
    if pathlib.Path(state.learned_net).name != pair.weights.name:
        return files.one_line(f"{pair.state}: belongs to other weights, {state.learned_net}")
    shapes, half = [history.shape for history in state.histories], len(state.histories) // 2
    blobs = [blob.shape for _, arrays in layers for blob in arrays]
    # Solvers such as Adam keep two histories of each parameter.
    if not snapshot.covers(blobs, shapes) and not (
        shapes[:half] == shapes[half:] and snapshot.covers(blobs, shapes[:half])
    ):
        return f"{pair.state}: cut short, or of another net"
    return None


def training_layers(net):
    """Names of the layers of a prototxt's TRAIN phase. Raises ToolError."""
    described = caffe_pb2.NetParameter()
    try:
        text_format.Merge(pathlib.Path(net).read_text(), described)
    except (OSError, text_format.ParseError) as error:
        raise ToolError(f"{net}: {error}")
    return [
        layer.name
        for layer in described.layer
        if not layer.include or any(rule.phase == caffe_pb2.TRAIN for rule in layer.include)
    ]
