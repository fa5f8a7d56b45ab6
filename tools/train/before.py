"""Before `caffe train` of BVLC Caffe: check that solver, data and first weights fit, and create the snapshots' folder.

Started by .caffe/bin/caffe. BVLC Caffe itself would end with a stack trace; this program ends with one line that says
what to do, and exit status 1. Whatever it does not know is left to Caffe.
"""

import argparse
import os
import sys

from caffe.proto import caffe_pb2

from data_prep.store import environment
from data_prep.store.manifest import SPLITS
from models.generate import AVERAGE
from python_layers import balanced_folder
from python_layers.parameters import parsed
from tools import model_files
from tools.errors import ToolError


def check(path, weights, snapshot):
    """Raise ToolError, ValueError or OSError where a training cannot begin.

    path: of its solver; weights, snapshot: what it is to start from, "" where the command line says nothing of it
    """
    solver = model_files.read(path, caffe_pb2.SolverParameter)
    os.makedirs(os.path.dirname(solver.snapshot_prefix) or ".", exist_ok=True)
    if not solver.net:
        return
    net = model_files.read(solver.net)
    for layer in net.layer:
        check_data(layer)
    for name in () if snapshot else weights.split(",") if weights else solver.weights:
        if not os.path.isfile(name):
            hint = "; make average writes it" if os.path.basename(name) == AVERAGE else ""
            raise ToolError(f"{name}: no such file to start from{hint}")
        model_files.check_fit(net, name)


def check_data(layer):
    """Raise ValueError or OSError where the databases of a data layer cannot be read or are for other attributes."""
    phases = [rule.phase for rule in layer.include]
    if layer.python_param.layer == "BalancedData":
        given = parsed(layer.python_param.param_str, balanced_folder.Parameters, f"layer {layer.name}")
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
