"""Before `caffe train` of BVLC Caffe: check that solver, data and first weights fit, and create the snapshots' folder.

Started by .caffe/bin/caffe. BVLC Caffe itself would end with a stack trace; this program ends with one line that says
what to do, and exit status 1. Whatever it does not know is left to Caffe.
"""

import argparse
import os
import sys

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep import files
from data_prep.store import environment
from data_prep.store.manifest import SPLITS
from python_layers import balanced_folder
from tools import model_files
from tools.errors import ToolError


def check(path, weights, snapshot):
    """Raise ToolError, ValueError or OSError where a training cannot begin.

    path: of its solver; weights, snapshot: what it is to start from, "" where the command line says nothing of it
    """
    solver = caffe_pb2.SolverParameter()
    try:
        text = files.read_bytes(path).decode()
        text_format.Merge(text, solver)
    except (OSError, ValueError, text_format.ParseError) as error:
        raise ToolError(f"{path}: not a readable solver ({getattr(error, 'strerror', None) or error})")
    os.makedirs(os.path.dirname(solver.snapshot_prefix) or ".", exist_ok=True)
    if not solver.net:
        return
    net = model_files.read(solver.net)
    for layer in net.layer:
        check_data(layer)
    for name in () if snapshot else weights.split(",") if weights else solver.weights:
        if not os.path.isfile(name):
            comments = [line.partition("#")[2] for line in text.splitlines() if line.startswith("weights:")]
            hint = f"; {path} says: {comments[0].strip()}" if any(comments) and not weights else ""
            raise ToolError(f"{name}: no such file to start from{hint}")
        wrong = model_files.misfit(net, name)
        if wrong:
            raise ToolError(wrong)


def check_data(layer):
    """Raise ValueError or OSError where the databases of a data layer cannot be read or are for other attributes."""
    phases = [rule.phase for rule in layer.include]
    if layer.python_param.layer == "BalancedData":
        given = model_files.parameters(layer, balanced_folder.Parameters)
        split = given.split or SPLITS[phases[0] if phases else 0]
        balanced_folder.read_folder(given.source, split, given.attributes)
    elif layer.type == "Data":
        environment.open_lmdb(layer.data_param.source).close()


def main():
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("solver", "weights", "snapshot"):
        parser.add_argument(f"-{name}", f"--{name}", nargs="?", const="", default="")
    given, _ = parser.parse_known_args(sys.argv[2:])
    try:
        if given.solver:
            check(given.solver, given.weights, given.snapshot)
    except (ToolError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
