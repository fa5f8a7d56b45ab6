"""The state of the process: CPU or GPU, arithmetic precision, random numbers, rank among solvers."""

import ctypes
import os

import torch

from .errors import CaffeError, check

TRAIN, TEST = 0, 1
PRECISIONS = ("float32", "tf32", "bfloat16")


class _State:
    gpu = False
    device_id = 0
    precision = "float32"
    solver_count = 1
    solver_rank = 0
    multiprocess = False
    shard = "records"
    decoded_budget = None
    generator = None


_state = _State()


def keep_freed_memory():
    """Make the C library keep freed memory instead of returning it to the system.

    Every pass allocates and frees the same sizes, and memory that was returned costs page faults on the next use.
    """
    try:
        library = ctypes.CDLL(None)
        # M_MMAP_MAX = 0: large blocks come from the heap too; M_TRIM_THRESHOLD: the heap does not shrink.
        library.mallopt(-4, 0)
        library.mallopt(-1, 1 << 30)
    except (OSError, AttributeError):  # not glibc
        pass


keep_freed_memory()


def set_mode_cpu():
    """Compute on the CPU from now on, as by default."""
    _state.gpu = False


def set_mode_gpu():
    """Compute from now on on the GPU of set_device, by default 0. Raises CaffeError if there is no GPU."""
    check(torch.cuda.is_available(), "Cannot use GPU: PyTorch finds none on this machine; use set_mode_cpu")
    _state.gpu = True


def set_device(device_id):
    """Choose the GPU by number. Raises CaffeError if there is no such GPU."""
    count = torch.cuda.device_count()
    check(0 <= device_id < count, f"Cannot use GPU {device_id}: PyTorch finds {count} on this machine")
    _state.device_id = device_id
    torch.cuda.set_device(device_id)


def device():
    """Where tensors live now."""
    return torch.device("cuda", _state.device_id) if _state.gpu else torch.device("cpu")


def on_gpu():
    return _state.gpu


def set_precision(precision):
    """Arithmetic of convolutions and inner products: "float32", "tf32" (GPU) or "bfloat16".

    Parameters, their gradients and the losses stay float32 with each. Raises CaffeError for another name.
    """
    if precision not in PRECISIONS:
        raise CaffeError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    _state.precision = precision
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"


def precision():
    return _state.precision


def compute_type():
    """Type of the operands of convolutions and inner products."""
    return torch.bfloat16 if _state.precision == "bfloat16" else torch.float32


def set_random_seed(seed):
    """Seed fillers, dropout, crops and mirrors; a negative seed takes one from the system."""
    if seed < 0:
        seed = int.from_bytes(os.urandom(4), "little")
    torch.manual_seed(seed)
    _state.generator = torch.Generator().manual_seed(seed)


def generator():
    """The CPU's random numbers."""
    if _state.generator is None:
        set_random_seed(-1)
    return _state.generator


def solver_count():
    """How many solvers train the net together."""
    return _state.solver_count


def set_solver_count(count):
    _state.solver_count = count


def solver_rank():
    """Which of them this process is."""
    return _state.solver_rank


def set_solver_rank(rank):
    _state.solver_rank = rank


def set_multiprocess(multiprocess):
    """For compatibility with pycaffe; it has no effect, because every solver here is a process of its own."""
    _state.multiprocess = multiprocess


def shard():
    """The unit in which solvers share a database alternately: "records", as in Caffe, or "batches"."""
    return _state.shard


def set_shard(unit):
    if unit not in ("records", "batches"):
        raise CaffeError(f"shard must be records or batches, not {unit!r}")
    _state.shard = unit


def decoded_budget():
    """Bytes a decoded data set may take on the device; by default a third of what is free on a GPU, none on a CPU."""
    if _state.decoded_budget is not None:
        return _state.decoded_budget
    return torch.cuda.mem_get_info()[0] // 3 if _state.gpu else 0


def set_decoded_budget(size):
    _state.decoded_budget = size
