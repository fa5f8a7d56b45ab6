"""The global settings of the process: device, precision, random numbers, and its rank among several solvers."""

import ctypes
import os

import numpy as np
import torch
import torch.distributed as distributed

from . import TEST
from .errors import check

PRECISIONS = ("float32", "tf32", "bfloat16")
SHARDS = ("records", "batches")


class State:
    """The settings; functions below set those that need more than an assignment."""

    gpu = False
    device_id = 0
    precision = "float32"
    solver_count = 1
    solver_rank = 0
    shard = "records"
    decoded_budget = None
    generator = None


state = State()


def keep_freed_memory():
    """Make the C library keep freed memory instead of returning it to the system.

    Every pass allocates and frees the same sizes; memory that was returned causes page faults when it is next used.
    """
    try:
        library = ctypes.CDLL(None)
        # M_MMAP_MAX = 0: large blocks are on the heap too. M_TRIM_THRESHOLD = 1 GiB: the heap does not shrink.
        library.mallopt(-4, 0)
        library.mallopt(-1, 1 << 30)
    except (OSError, AttributeError):  # not glibc
        pass


keep_freed_memory()


def set_mode_cpu():
    """Compute on the CPU from now on; this is the default."""
    state.gpu = False


def set_mode_gpu():
    """Compute from now on on the GPU that set_device chose, 0 by default. Raises CaffeError if there is no GPU."""
    check(torch.cuda.is_available(), "Cannot use GPU: PyTorch finds none on this machine; use set_mode_cpu")
    state.gpu = True
    set_precision(state.precision)  # PyTorch's own default for convolutions on a GPU is tf32


def set_device(device_id):
    """Choose the GPU by number. Raises CaffeError if there is no such GPU."""
    count = torch.cuda.device_count()
    check(0 <= device_id < count, f"Cannot use GPU {device_id}: PyTorch finds {count} on this machine")
    state.device_id = device_id
    torch.cuda.set_device(device_id)


def device():
    """The torch.device to compute on."""
    return torch.device("cuda", state.device_id) if state.gpu else torch.device("cpu")


def set_precision(precision):
    """Set the arithmetic of convolutions and inner products: "float32", "tf32" (effective on GPUs) or "bfloat16".

    Parameters, their gradients and losses are float32 with each of them. Raises CaffeError for another name.
    """
    check(precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    state.precision = precision
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"


def compute_type():
    """The torch.dtype of the operands of convolutions and inner products."""
    return torch.bfloat16 if state.precision == "bfloat16" else torch.float32


def set_random_seed(seed):
    """Seed the random numbers of fillers, dropout, crops and mirroring; for a negative seed the system supplies one.

    The numbers differ from those of BVLC Caffe with the same seed.
    """
    if seed < 0:
        seed = int.from_bytes(os.urandom(4), "little")
    torch.manual_seed(seed)
    state.generator = torch.Generator().manual_seed(seed)


def generator():
    """The torch.Generator of random numbers on the CPU."""
    if state.generator is None:
        set_random_seed(-1)
    return state.generator


def solver_count():
    """The number of solvers (ranks) that train the net together."""
    return state.solver_count


def set_solver_count(count):
    """Set the number of solvers that train the net together."""
    state.solver_count = count


def solver_rank():
    """The rank of this process among the solvers, from 0."""
    return state.solver_rank


def set_solver_rank(rank):
    """Set the rank of this process among the solvers, from 0."""
    state.solver_rank = rank


def set_multiprocess(multiprocess):
    """Has no effect, because every solver is a process of its own; it exists for scripts that call pycaffe's."""


def solver_mean(array):
    """The mean of an array or tensor over all solvers that train the net together; with one solver the array itself.

    For decisions of a Python layer that all ranks must take alike. Each of them calls it equally often, in TRAIN only.
    """
    if state.solver_count == 1:
        return array
    tensor = torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray) else array.clone()
    tensor = tensor.to(device())
    distributed.all_reduce(tensor)
    tensor /= distributed.get_world_size()
    return tensor.cpu().numpy() if isinstance(array, np.ndarray) else tensor


def ranks_of(phase):
    """(rank, ranks) by which a data layer divides what it reads: in TEST every solver reads everything."""
    return (0, 1) if phase == TEST else (state.solver_rank, state.solver_count)


def set_shard(unit):
    """Set what solvers read alternately from a database: "records" or "batches". Raises CaffeError."""
    check(unit in SHARDS, f"shard must be {' or '.join(SHARDS)}, not {unit!r}")
    state.shard = unit


def decoded_budget():
    """The most bytes of a decoded data set to keep on the device. Default: a third of a GPU's free memory, CPU: 0."""
    if state.decoded_budget is not None:
        return state.decoded_budget
    return torch.cuda.mem_get_info()[0] // 3 if state.gpu else 0


def set_decoded_budget(size):
    """Set the most bytes of a decoded data set that are kept on the device; 0 keeps none."""
    state.decoded_budget = size
