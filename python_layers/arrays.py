"""Functions for NumPy arrays and PyTorch tensors alike: BVLC Caffe gives layers the former, engine/caffe the latter.

A layer whose maths uses only operations that both libraries have under the same name sets `supports_tensors = True`.
"""

import sys

import numpy as np


def library(array):
    """The module an array belongs to: numpy or torch."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def like(values, array):
    """Numbers as an array of the library, type and device of another."""
    if isinstance(array, np.ndarray):
        return np.asarray(values, dtype=array.dtype)
    return sys.modules["torch"].tensor(np.asarray(values), dtype=array.dtype, device=array.device)


def double(array):
    """The array in double precision."""
    return array.astype(np.float64) if isinstance(array, np.ndarray) else array.double()


def places(array):
    """0, 1, 2 ... along the last axis, in the shape of the array."""
    xp = library(array)
    return xp.cumsum(xp.ones_like(array), -1) - 1
