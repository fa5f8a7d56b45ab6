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

# Public name -> module of this package that defines it; None: the name is itself a module.
_MODULES = {
    **dict.fromkeys(("Net", "layer_type_list"), "pycaffe"),
    **dict.fromkeys(
        (
            "AdaDeltaSolver",
            "AdaGradSolver",
            "AdamSolver",
            "NesterovSolver",
            "RMSPropSolver",
            "SGDSolver",
            "Solver",
            "get_solver",
        ),
        "solver",
    ),
    **dict.fromkeys(("Timer",), "timer"),
    **dict.fromkeys(("Layer",), "layer_types.base"),
    **dict.fromkeys(("Blob",), "blob"),
    **dict.fromkeys(("CaffeError",), "errors"),
    **dict.fromkeys(("init_log", "log"), "glog"),
    **dict.fromkeys(
        (
            "set_decoded_budget",
            "set_device",
            "set_mode_cpu",
            "set_mode_gpu",
            "set_multiprocess",
            "set_precision",
            "set_random_seed",
            "set_shard",
            "set_solver_count",
            "set_solver_rank",
            "solver_count",
            "solver_rank",
        ),
        "context",
    ),
    **dict.fromkeys(("NetSpec", "layers", "params", "to_proto"), "net_spec"),
    **dict.fromkeys(("Classifier",), "classifier"),
    **dict.fromkeys(("Detector",), "detector"),
    **dict.fromkeys(("NCCL", "has_nccl"), "parallel"),
    **dict.fromkeys(("classifier", "detector", "io", "net_spec", "proto", "pycaffe"), None),
}
__all__ = ["TRAIN", "TEST", *_MODULES]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'caffe' has no attribute {name!r}")
    module = _MODULES[name]
    if module is None:
        return importlib.import_module(f".{name}", __name__)
    value = globals()[name] = getattr(importlib.import_module(f".{module}", __name__), name)
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
