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

from data_prep.errors import one_line
from tools import model_files


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A pair of files of one iteration: Path of the solver state, Path of the weights."""

    iteration: int
    state: pathlib.Path
    weights: pathlib.Path


class Diverged(ValueError):
    """The weights of a snapshot are not finite."""


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


def newest(folder, prefix, net, report=False):
    """The newest complete Snapshot, or None.

    net: path of the train_val prototxt; report: print a line about each newer one that is damaged. Raises ToolError.
    """
    for pair in pairs(folder, prefix):
        try:
            check(pair, net)
            return pair
        except ValueError as error:
            if report:
                print(f"passed over a snapshot: {error}", flush=True)
    return None


def divergence(folder, prefix, net):
    """What is wrong with the newest snapshot if its weights are not finite, one line; else None."""
    try:
        for pair in pairs(folder, prefix)[:1]:
            check(pair, net)
    except Diverged as error:
        return str(error)
    except ValueError:
        pass
    return None


def check(pair, net):
    """Raise ValueError, a sentence that names the file, unless a Snapshot is complete."""
    try:
        layers, state = model_file.read(pair.weights), snapshot.read(pair.state)
    except CaffeError as error:
        raise ValueError(str(error))
    missing = sorted(set(training_layers(net)) - {name for name, _ in layers})
    if missing:
        raise ValueError(f"{pair.weights}: cut short, layer {missing[0]} is missing")
    for name, blobs in layers:
        if not all(np.isfinite(blob).all() for blob in blobs):
            raise Diverged(f"{pair.weights}: holds numbers that are not finite in layer {name}")
    if state.iteration != pair.iteration:
        raise ValueError(f"{pair.state}: its iteration is {state.iteration}, not {pair.iteration}")
    if pathlib.Path(state.learned_net).name != pair.weights.name:
        raise ValueError(one_line(f"{pair.state}: belongs to other weights, {state.learned_net}"))
    shapes, half = [history.shape for history in state.histories], len(state.histories) // 2
    blobs = [blob.shape for _, arrays in layers for blob in arrays]
    # Solvers such as Adam keep two histories of each parameter.
    doubled = shapes[:half] == shapes[half:] and snapshot.covers(blobs, shapes[:half])
    if not doubled and not snapshot.covers(blobs, shapes):
        raise ValueError(f"{pair.state}: cut short, or of another net")


def training_layers(net):
    """Names of the layers of a prototxt's TRAIN phase. Raises ToolError."""
    return [
        layer.name
        for layer in model_files.read(net).layer
        if not layer.include or any(rule.phase == caffe_pb2.TRAIN for rule in layer.include)
    ]
