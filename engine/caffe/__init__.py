"""A pycaffe-compatible engine on PyTorch: the prototxts, Python layers, snapshots and command line of BVLC Caffe 1.0.

Modules that need PyTorch are imported when one of their names is first used, so that programs that only read messages
or snapshots (caffe.proto, caffe.snapshot) start quickly and run without PyTorch.
"""

import importlib
import os

# Waiting threads of PyTorch spin briefly and then sleep. OpenMP's default, a long spin, makes small operators twenty
# times slower while other processes are busy; sleeping at once makes them a fifth slower on an idle machine. OpenMP
# (GCC's, which PyTorch uses on Linux) reads this once, when PyTorch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

__version__ = "1.0.0"

TRAIN, TEST = 0, 1

# Module of this package -> its public names. Modules without names are public themselves.
_NAMES = {
    "blob": "Blob",
    "classifier": "Classifier",
    "context": "set_decoded_budget set_device set_mode_cpu set_mode_gpu set_multiprocess set_precision set_random_seed "
    "set_shard set_solver_count set_solver_rank solver_count solver_mean solver_rank",
    "detector": "Detector",
    "errors": "CaffeError",
    "glog": "init_log log",
    "layer_types.base": "Layer",
    "net_spec": "NetSpec layers params to_proto",
    "parallel": "NCCL has_nccl",
    "pycaffe": "Net Timer layer_type_list",
    "solver": "AdaDeltaSolver AdaGradSolver AdamSolver NesterovSolver RMSPropSolver SGDSolver Solver get_solver",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = ("classifier", "detector", "io", "net_spec", "proto", "pycaffe")
__all__ = ["TRAIN", "TEST", *_MODULE_OF, *_MODULES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'caffe' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
