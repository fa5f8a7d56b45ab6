"""Functions on NumPy arrays, which BVLC Caffe passes to layers, and on PyTorch tensors, which engine/caffe passes.

A layer sets `supports_tensors = True` if it uses only operations that both libraries have under the same name.
"""

import sys

import numpy as np


def library(array):
    """The module an array belongs to: numpy or torch."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def like(values, array):
    """Numbers as an array with the library, type and device of another array."""
    if isinstance(array, np.ndarray):
        return np.asarray(values, dtype=array.dtype)
    return sys.modules["torch"].tensor(np.asarray(values), dtype=array.dtype, device=array.device)


def double(array):
    """The array in double precision."""
    return array.astype(np.float64) if isinstance(array, np.ndarray) else array.double()


def places(array):
    """An array of the same shape that holds 0, 1, 2 ... along the last axis."""
    xp = library(array)
    return xp.cumsum(xp.ones_like(array), -1) - 1
