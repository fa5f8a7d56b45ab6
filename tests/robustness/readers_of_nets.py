"""Readers of nets, solvers, weights and snapshots."""

import functools
import io

import caffe
import h5py
import mutations
import numpy as np
from caffe import model_file, prototxt, snapshot, solver_param
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from originals import NET
from reading import Reader, Refused, sane

from models import solvers
from tools import networks
from tools.errors import ToolError
from tools.train import snapshots

# The largest blob, in numbers, with which a net is still run.
SMALL = 1_000_000


def as_text(message_type):
    """Damage of a prototxt: of its message, or of its text."""

    def mutate(rng, data, others=()):
        if rng.random() < 0.4:
            return mutations.of_text(rng, data, others)
        message = text_format.Parse(data, message_type())
        mutations.of_message(rng, message)
        return text_format.MessageToString(message).encode()

    return mutate


def as_binary(rng, data, others=()):
    """Damage of weights or of a solver state: of the message, or of its bytes."""
    if rng.random() < 0.6:
        return mutations.of_bytes(rng, data, others)
    message = next(kind() for kind in (caffe_pb2.NetParameter, caffe_pb2.SolverState) if fits(kind, data))
    mutations.of_message(rng, message)
    return message.SerializePartialToString()


def fits(kind, data):
    """Whether bytes are a message of a kind: its own fields come first."""
    return (data[:1] == b"\n") == (kind is caffe_pb2.NetParameter)


def as_hdf5(rng, data, others=()):
    """Damage of an HDF5 file: of its members, or of its bytes."""
    if rng.random() < 0.5:
        return mutations.of_bytes(rng, data, others)
    held = io.BytesIO(data)
    with h5py.File(held, "r+") as file:
        names = []
        file.visit(names.append)
        name, kind = rng.choice(names), rng.randrange(5)
        if kind == 0:
            file.move(
                name, rng.choice(("data/x", "data/ip/7", "history/99999999999", "data/-1", "other", "data/a/b/0"))
            )
            return flushed(file, held)
        del file[name]
        if kind == 1:
            file[name] = rng.choice((np.zeros((3, 4)), np.int8(-1), np.bytes_(b"x"), np.array([np.nan]), "é"))
        elif kind == 2:
            file.create_group(name)
        elif kind == 3:
            shape = rng.choice(((), (0,), (3, 0), (1 << 40,), (1 << 31, 4)))
            file.create_dataset(name, shape, rng.choice("fdiq"), chunks=True if shape and np.prod(shape) else None)
        elif rng.random() < 0.5:
            file[name] = h5py.SoftLink(rng.choice(("/", "/data", "/nowhere", f"/{name}")))
        return flushed(file, held)


def flushed(file, held):
    file.flush()
    return held.getvalue()


# Nets and solvers -------------------------------------------------------------------------------------------


def changes(path):
    """Changes to solvers, and the solvers' prototxts."""
    made = solvers.parse_changes(path.read_bytes().decode("utf-8", "surrogateescape"))
    for stage in solvers.STAGES:
        text = solvers.text(stage, "folder", made, 2)
        message = text_format.Parse(text, caffe_pb2.SolverParameter())
        prototxt.check_finite(message, stage)
        solver_param.check_solver(message)
        solvers.fields(stage, made, 2)
    return made


def solver(path):
    caffe.get_solver(str(path))
    return prototxt.to_text(solver_param.read_solver(str(path)))


def net(path):
    """A net of either phase, and a forward pass if it is small."""
    found = []
    for phase in (caffe.TRAIN, caffe.TEST):
        built = caffe.Net(str(path), phase)
        shapes = {name: tuple(blob.data.shape) for name, blob in built.blobs.items()}
        sane(all(min(shape, default=0) >= 0 for shape in shapes.values()), f"shapes {shapes}")
        if sum(np.prod(shape, dtype=float) for shape in shapes.values()) < SMALL:
            built.forward()
            built.backward()
        found.append((shapes, [[blob.data.shape for blob in blobs] for blobs in built.params.values()]))
    return found


def described(path):
    return text_format.MessageToString(networks.description(path)), snapshots.training_layers(path)


# Weights and snapshots --------------------------------------------------------------------------------------


def parsed_weights(path):
    message = networks.read_weights(path)
    return message.SerializeToString()


def layers(path):
    found = model_file.read(path)
    arrays = [array for _, blobs in found for array in blobs if array is not None]
    sane(all(array.dtype.kind in "fiu" for array in arrays), "no numbers")
    return found


@functools.lru_cache(maxsize=1)
def trained_net():
    """A net with known weights, once per process."""
    return caffe.Net("net.prototxt", caffe.TRAIN)


def copied(path):
    """Weights copied into a net, which is unchanged if the file is refused."""
    built = trained_net()
    for blob in blobs_of(built):
        blob.data[...] = 0.5
    try:
        built.copy_from(str(path))
    except caffe.CaffeError:
        sane(all((blob.data == 0.5).all() for blob in blobs_of(built)), "weights were changed, then the file refused")
        raise
    return [blob.data.copy() for blob in blobs_of(built)]


def blobs_of(net):
    return [blob for blobs in net.params.values() for blob in blobs]


def state(path):
    read = snapshot.read(path)
    sane(read.iteration >= 0 and read.step >= 0, "a negative iteration or step")
    return read.iteration, read.step, read.learned_net, read.histories


def verified(path):
    """A solver state with the weights it names."""
    ending = ".h5" if path.suffix == ".h5" else ""
    read = snapshot.verify(f"tiny_iter_2.solverstate{ending}")
    return read.iteration, read.step, read.learned_net, read.histories


@functools.lru_cache(maxsize=1)
def trainer():
    return caffe.get_solver("solver.prototxt")


def restored(path):
    """A training that is resumed from a snapshot, or is unchanged."""
    ending = ".h5" if path.suffix == ".h5" else ""
    one = trainer()
    one.restore(f"{path.parent}/tiny_iter_2.solverstate")
    before = [blob.data.copy() for blob in blobs_of(one.net)]
    try:
        one.restore(f"tiny_iter_2.solverstate{ending}")
    except caffe.CaffeError:
        same = all(np.array_equal(blob.data, other) for blob, other in zip(blobs_of(one.net), before))
        sane(same and one.iter == 2, "the training was changed, then the snapshot refused")
        raise
    return one.iter, [blob.data.copy() for blob in blobs_of(one.net)]


def pair(path):
    """The pair of files of a snapshot, which a resumed training checks for completeness."""
    made = snapshots.pairs(path.parent, "tiny")
    fault = snapshots.damage(made[0], path.parent / "net.prototxt")
    if fault is not None:
        raise Refused(fault)
    return [np.array(array) for _, arrays in model_file.read(made[0].weights) for array in arrays]


def database(path):
    """An LMDB, read by the engine's Data layer."""
    text = f"""
    layer {{ name: "data" type: "Data" top: "data" data_param {{ source: "{path.parent.name}" batch_size: 3
            backend: LMDB }} }}
    """
    path.parent.with_name("data.prototxt").write_text(text)
    return caffe.Net(str(path.parent.with_name("data.prototxt")), caffe.TEST).forward()


WEIGHTS, STATE = ("*.caffemodel",), ("*.solverstate",)
HDF5_WEIGHTS, HDF5_STATE = ("*.caffemodel.h5",), ("*.solverstate.h5",)
ERRORS = (caffe.CaffeError,)
TEXT, SOLVER_TEXT = as_text(caffe_pb2.NetParameter), as_text(caffe_pb2.SolverParameter)
sane(text_format.Parse(NET, caffe_pb2.NetParameter()).layer, "no net")
READERS = [
    Reader("net prototxt", "net", ("net.prototxt",), net, ERRORS, TEXT, share=3, names=False),
    Reader("net prototxt, the tools", "net", ("net.prototxt",), described, (ToolError,), TEXT),
    Reader("solver prototxt", "net", ("solver.prototxt",), solver, ERRORS, SOLVER_TEXT, names=False),
    Reader("changes to solvers", "changes", ("changes.txt",), changes, (ValueError,), mutations.of_text, names=False),
    Reader("caffemodel", "net", WEIGHTS, layers, ERRORS, as_binary),
    Reader("caffemodel, the tools", "net", WEIGHTS, parsed_weights, (ToolError,), as_binary),
    Reader("caffemodel into a net", "net", WEIGHTS, copied, ERRORS, as_binary),
    Reader("HDF5 weights", "net", HDF5_WEIGHTS, layers, ERRORS, as_hdf5),
    Reader("HDF5 weights into a net", "net", HDF5_WEIGHTS, copied, ERRORS, as_hdf5),
    Reader("solverstate", "net", STATE, state, ERRORS, as_binary),
    Reader("HDF5 solverstate", "net", HDF5_STATE, state, ERRORS, as_hdf5),
    Reader("snapshot", "net", (*WEIGHTS, *STATE), verified, ERRORS, as_binary),
    Reader("HDF5 snapshot", "net", (*HDF5_WEIGHTS, *HDF5_STATE), verified, ERRORS, as_hdf5),
    Reader("snapshot to resume from", "net", (*WEIGHTS, *STATE), restored, ERRORS, as_binary),
    Reader("HDF5 snapshot to resume from", "net", (*HDF5_WEIGHTS, *HDF5_STATE), restored, ERRORS, as_hdf5),
    Reader("snapshot, the tools", "net", (*WEIGHTS, *STATE), pair, (), as_binary),
    Reader("LMDB, the engine", "databases", ("*.mdb",), database, ERRORS),
]
