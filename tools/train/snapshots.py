"""Finding the newest complete snapshot of a training, from which it can be resumed.

A kill, a power cut or a full disk can leave half a file, and a truncated protobuf message may still be a valid one. A
pair of files is complete if the weights hold every layer of the training net, with finite numbers, and the solver state
holds a history for each of their blobs, of the same shape. Uses the engine's reader, hence Python 3.11 or newer.
"""

import dataclasses
import pathlib
import re

from caffe import snapshot
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2

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
        state = snapshot.verify(pair.state, pair.weights, training_layers(net))
    except snapshot.NotFinite as error:
        raise Diverged(str(error))
    except CaffeError as error:
        raise ValueError(str(error))
    if state.iteration != pair.iteration:
        raise ValueError(f"{pair.state}: its iteration is {state.iteration}, not {pair.iteration}")


def training_layers(net):
    """Names of the layers of a prototxt's TRAIN phase. Raises ToolError."""
    return [
        layer.name
        for layer in model_files.read(net).layer
        if not layer.include or any(rule.phase == caffe_pb2.TRAIN for rule in layer.include)
    ]
