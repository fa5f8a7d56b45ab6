"""Before `caffe train` of BVLC Caffe: check that solver, data and first weights fit, and create the snapshots' folder.

Started by .caffe/bin/caffe. BVLC Caffe itself would end with a stack trace; this program ends with one line that says
what to do, and exit status 1. What it does not know is left to Caffe: other databases than LMDB, layers for a level or
a stage of the net's state, weights in HDF5 or of Caffe's first format.
"""

import argparse
import os
import sys

from caffe.proto import caffe_pb2

from data_prep.errors import words_of
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
        phases = [rule.phase for rule in layer.include]
        by_state = any(field.name != "phase" for rule in layer.include for field, _ in rule.ListFields())
        if not by_state and (solver.test_iter or phases != [caffe_pb2.TEST]):
            check_data(layer, phases[0] if phases else caffe_pb2.TRAIN)
    named = [weights] if weights else solver.weights
    for name in () if snapshot else (part.strip() for value in named for part in value.split(",")):
        if not os.path.isfile(name):
            hint = "; make average writes it" if os.path.basename(name) == AVERAGE else ""
            raise ToolError(f"{name}: no such file to start from{hint}")
        if not name.endswith(".h5") and not model_files.parsed(name).layers:
            model_files.check_fit(net, name)


def check_data(layer, phase):
    """Raise ValueError or OSError where the databases of a data layer cannot be read or are for other attributes."""
    if layer.python_param.layer == "BalancedData":
        given = parsed(layer.python_param.param_str, balanced_folder.Parameters, f"layer {layer.name}")
        split = given.split or SPLITS[phase]
        balanced_folder.read_folder(given.source, split, given.attributes)
    elif layer.type == "Data" and layer.data_param.backend == caffe_pb2.DataParameter.LMDB:
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
        sys.exit(f"error: {words_of(error)}")


if __name__ == "__main__":
    main()
