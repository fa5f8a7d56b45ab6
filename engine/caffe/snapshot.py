"""Solver states in files, binary or HDF5, as BVLC Caffe reads and writes them."""

import numpy as np

from . import wire
from .errors import CaffeError, check
from .proto import caffe_pb2
from .weights import h5py, new_hdf5


class State:
    """Iteration, current step of the learning rate, file of the weights, and the histories as arrays."""

    def __init__(self, iteration, step, learned_net, histories):
        self.iteration, self.step, self.learned_net, self.histories = iteration, step, learned_net, histories


def write(path, state):
    """Write a State as binary .solverstate."""
    head = caffe_pb2.SolverState(iter=state.iteration, learned_net=state.learned_net, current_step=state.step)
    parts = [head.SerializeToString()]
    for history in state.histories:
        parts += wire.BlobParts(history).field(wire.STATE_HISTORY)
    wire.write_parts(path, parts)


def write_hdf5(path, state):
    with new_hdf5(path) as file:
        file.create_dataset("iter", data=np.array([state.iteration], dtype=np.int32))
        file.create_dataset("learned_net", data=np.bytes_(state.learned_net + "\0"))
        file.create_dataset("current_step", data=np.array([state.step], dtype=np.int32))
        group = file.create_group("history")
        for index, history in enumerate(state.histories):
            group.create_dataset(str(index), data=history)


def read(path):
    """The State in a binary .solverstate, or in HDF5 where the name ends in .h5. Raises CaffeError."""
    if str(path).endswith(".h5"):
        return read_hdf5(path)
    message, histories = wire.read_state(path)
    check(message.HasField("iter"), f"{path}: not a .solverstate")
    return State(message.iter, message.current_step, message.learned_net, histories)


def read_hdf5(path):
    try:
        with h5py().File(path, "r") as file:
            check("iter" in file and "history" in file, f"{path}: not a solver state in HDF5")
            learned = file["learned_net"][()] if "learned_net" in file else b""
            learned = learned.decode() if isinstance(learned, bytes) else str(learned)
            histories = [file["history"][str(index)][()] for index in range(len(file["history"]))]
            iteration, step = (int(np.ravel(file[name][()])[0]) for name in ("iter", "current_step"))
            return State(iteration, step, learned.rstrip("\0"), histories)
    except OSError as error:
        raise CaffeError(f"{path}: not a readable HDF5 file ({error})")
