"""The parameters of a solver: reading and checking a SolverParameter, and building the nets that it names."""

import os
import tempfile

from . import TEST, TRAIN, glog, prototxt
from .errors import CaffeError, check
from .proto import caffe_pb2
from .pycaffe import Net
from .upgrade import upgrade_solver

# Integer field -> its smallest valid value.
SMALLEST = {"average_loss": 1, "display": 0, "iter_size": 1, "max_iter": 0, "snapshot": 0, "test_interval": 0}


def read_solver(path):
    """A SolverParameter from a prototxt.

    As in BVLC Caffe, a missing snapshot_prefix becomes the path without its extension, and one that is a folder gets
    the file's name without its extension appended. "folder/" is one even before it is created. Raises CaffeError.
    """
    param = upgrade_solver(prototxt.read_text(path, caffe_pb2.SolverParameter()))
    prefix, own = param.snapshot_prefix, os.path.splitext(path)[0]
    if not prefix:
        param.snapshot_prefix = own
        glog.info(f"snapshot_prefix was not specified and is set to {param.snapshot_prefix}")
    elif os.path.isdir(prefix) or prefix.endswith("/"):
        param.snapshot_prefix = os.path.join(prefix, os.path.basename(own))
        glog.info(f"snapshot_prefix was a directory and is replaced to {param.snapshot_prefix}")
    return param


def check_solver(param):
    """Raise CaffeError for invalid values in a SolverParameter."""
    prototxt.check_finite(param, "solver")
    for field, smallest in SMALLEST.items():
        value = getattr(param, field)
        check(value >= smallest, f"{field} must be at least {smallest}, not {value}")
    for value in param.test_iter:
        check(value >= 1, f"test_iter must be at least 1, not {value}")
    check(
        param.regularization_type in ("L1", "L2"),
        f"regularization_type must be L1 or L2, not {param.regularization_type}",
    )


def check_prefix(param):
    """Raise CaffeError, before training, if snapshots cannot be written; creates their folder."""
    if not (param.snapshot or param.snapshot_after_train):
        return
    check(param.snapshot_prefix, "the solver writes snapshots, but has no snapshot_prefix; add snapshot_prefix")
    check("\0" not in param.snapshot_prefix, f"snapshot_prefix {param.snapshot_prefix!r} cannot be the name of a file")
    # Not pathlib, for which "folder/" is a file in the current folder.
    folder = os.path.split(param.snapshot_prefix)[0] or os.curdir
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CaffeError(f"snapshot_prefix {param.snapshot_prefix!r}: {folder}: {error.strerror}")


def check_weights(param, path):
    """Raise CaffeError, before nets are built, unless the files that a training starts from exist.

    path: of the solver's prototxt. The error quotes the comment behind its field `weights`, which may name the remedy.
    """
    for name in (part.strip() for value in param.weights for part in value.split(",")):
        if not os.path.isfile(name):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = [line for line in file if line.startswith("weights:") and name in line and "#" in line]
            hint = f"; {path} says: {lines[0].partition('#')[2].strip()}" if lines else ""
            raise CaffeError(f"{name}: no such file to start from{hint}")


def build(source, phase, state=None):
    """A net from a prototxt or a NetParameter.

    Its state is merged from the phase, the net's own level and stages, and the NetState `state`, which has precedence.
    Raises CaffeError.
    """
    if isinstance(source, str):
        source = prototxt.read_text(source, caffe_pb2.NetParameter())
    net = caffe_pb2.NetParameter()
    net.CopyFrom(source)
    merged = caffe_pb2.NetState(phase=phase)
    merged.MergeFrom(net.state)
    if state is not None:
        merged.MergeFrom(state)
    merged.phase = phase if state is None or not state.HasField("phase") else state.phase
    net.state.CopyFrom(merged)
    return Net.from_param(net)


def train_net(param):
    """The net that a solver trains. Raises CaffeError."""
    given = [field for field in ("net", "net_param", "train_net", "train_net_param") if param.HasField(field)]
    check(
        len(given) == 1,
        "a solver has one train net: net, train_net, net_param or train_net_param; this one has "
        f"{', '.join(given) or 'none'}",
    )
    where = getattr(param, given[0])
    glog.info(f"Creating training net from {given[0]}{f' file: {where}' if isinstance(where, str) else ''}")
    return build(where, TRAIN, param.train_state)


def test_nets(param):
    """Yield the test nets of a solver. Raises CaffeError."""
    own = [*param.test_net_param, *param.test_net]
    count = len(param.test_iter)
    generic = param.net_param if param.HasField("net_param") else param.net
    has_generic = param.HasField("net_param") or param.HasField("net")
    check(
        count >= len(own) if has_generic else count == len(own),
        f"test_iter must be specified for each test network ({len(own)}), not {count} times",
    )
    check(
        len(param.test_state) in (0, count),
        f"test_state must be given never or once per test net, not {count} times",
    )
    check(not count or param.test_interval > 0, "test nets need test_interval")
    for index, source in enumerate(own + [generic] * (count - len(own))):
        glog.info(f"Creating test net (#{index})")
        yield build(source, TEST, param.test_state[index] if param.test_state else None)
