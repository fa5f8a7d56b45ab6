"""Finding the newest complete snapshot of a training, from which it can be resumed.

A kill, a power cut or a full disk can leave half a file, and a truncated protobuf message may still be a valid one. The
two files of an iteration are complete if the weights hold every layer of the training net, with finite numbers, and the
solver state holds a history for each of their blobs, of the same shape. Uses the engine's reader, hence Python 3.11 or
newer.
"""

from caffe import snapshot
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2

from tools import model_files


def files(folder, prefix, iteration):
    """The solver state and the weights of an iteration, as paths."""
    return [folder / f"{prefix}_iter_{iteration}.{ending}" for ending in ("solverstate", "caffemodel")]


def iterations(folder, prefix):
    """The iterations of which a folder has both files, newest first; unchecked."""
    found = [iteration for iteration, _ in snapshot.states(str(folder / prefix))]
    return [number for number in found if all(path.exists() for path in files(folder, prefix, number))]


def prune(folder, prefix, keep, iteration):
    """Of the snapshots up to an iteration, delete all but the `keep` newest; 0 keeps all. Raises OSError."""
    older = [number for number in iterations(folder, prefix) if number <= iteration]
    for number in older[keep:] if keep else []:
        for path in files(folder, prefix, number):
            path.unlink(missing_ok=True)


def newest(folder, prefix, net):
    """The iteration of the newest complete snapshot, or None, and what is wrong with newer ones: list of CaffeError.

    net: path of the train_val prototxt. Raises ToolError.
    """
    layers = [
        layer.name
        for layer in model_files.read(net).layer
        if not layer.include or any(rule.phase == caffe_pb2.TRAIN for rule in layer.include)
    ]
    faults = []
    for iteration in iterations(folder, prefix):
        state, weights = files(folder, prefix, iteration)
        try:
            found = snapshot.verify(state, weights, layers).iteration
            if found != iteration:
                raise CaffeError(f"{state}: its iteration is {found}, not {iteration}")
            return iteration, faults
        except CaffeError as error:
            faults.append(error)
    return None, faults
