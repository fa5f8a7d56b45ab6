"""Functions on NumPy arrays, which BVLC Caffe passes to layers, and on PyTorch tensors, which engine/caffe passes.

A layer sets `supports_tensors = True` if it uses only operations that both libraries have under the same name. The
export to ONNX traces the same arithmetic on tensors (tools/export/model.py).
"""

import functools
import sys

import numpy as np


def library(array):
    """The module whose functions take an array: numpy or torch."""
    return np if hasattr(array, "__array_function__") else sys.modules["torch"]


def like(values, array):
    """Numbers as an array with the library, type and device of another array; to be read only."""
    values = np.asarray(values)
    if library(array) is np:
        return values.astype(array.dtype)
    return _constant(values.tobytes(), values.dtype.str, values.shape, array.dtype, array.device)


@functools.lru_cache(maxsize=64)
def _constant(content, dtype, shape, *kind):
    """A tensor of constants of a type on a device. It is kept, because a copy to a GPU would wait for the GPU."""
    values = np.frombuffer(content, dtype).reshape(shape)
    return sys.modules["torch"].tensor(values, dtype=kind[0], device=kind[1])


def fill(target, values):
    """Copy an array of NumPy into an array or tensor of the same shape, of any type.

    Returns a function that waits until `values` has been read: on a GPU, memory locked by lock_pages is read later.
    """
    if isinstance(target, np.ndarray):
        target[...] = values
        return lambda: None
    torch = sys.modules["torch"]
    # First to the device, which converts to another type faster.
    target.copy_(torch.from_numpy(values).to(target.device, non_blocking=True))
    if target.device.type != "cuda":
        return lambda: None
    copied = torch.cuda.Event()
    copied.record()
    return copied.synchronize


def lock_pages(array, target):
    """Lock an array's memory in place, so that a GPU copies it five times as fast and while the CPU goes on.

    target: where `fill` will copy it; nothing is done unless that is on a GPU. Returns a function that releases the
    memory.
    """
    if isinstance(target, np.ndarray) or target.device.type != "cuda":
        return lambda: None
    torch = sys.modules["torch"]
    runtime, address = torch.cuda.cudart(), array.ctypes.data
    torch.cuda.check_error(runtime.cudaHostRegister(address, array.nbytes, 0))
    return lambda: runtime.cudaHostUnregister(address)


def double(array):
    """The array in double precision."""
    return array.astype(np.float64) if isinstance(array, np.ndarray) else array.double()


def places(array):
    """An array of the same shape that holds 0, 1, 2 ... along the last axis."""
    xp = library(array)
    return xp.cumsum(xp.ones_like(array), -1) - 1
