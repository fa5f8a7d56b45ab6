"""MATLAB files: through scipy.io up to version 7, and through h5py for version 7.3, which is HDF5 (LFWA's own are)."""

import numpy as np

from data_prep.sources.images import DataError

NUMBERS = "biuf"  # kinds of NumPy's types that are real numbers


def read_mat(path):
    """The variables of a .mat file: cells of strings and character matrices as lists of str, trimmed of blanks and
    zero padding, in MATLAB's (column) order; real numbers as arrays (rows, columns) as MATLAB shows them. Variables of
    other kinds, such as structs, are left out.

    Raises DataError when it is missing or no MATLAB file.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(520)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")
    try:
        return _version_73(path) if b"\x89HDF\r\n\x1a\n" in (start[:8], start[512:]) else _version_7(path)
    except Exception as error:  # the readers raise of every kind on damaged files
        raise DataError(f"{path}: not a whole MATLAB file ({type(error).__name__}: {error})")


def _text(characters):
    return str(characters).strip(" \0\t\r\n")


def _version_7(path):
    import scipy.io

    variables = {}
    for name, value in scipy.io.loadmat(str(path)).items():
        if name.startswith("__") or not isinstance(value, np.ndarray):
            continue
        if value.dtype == object:
            variables[name] = [_text(_innermost(item)) for item in value.flatten(order="F")]
        elif value.dtype.kind == "U":
            variables[name] = [_text(item) for item in value.flatten(order="F")]
        elif value.dtype.kind in NUMBERS:
            variables[name] = value
    return variables


def _innermost(item):
    """A cell's string, out of the arrays and cells it may be wrapped in."""
    while isinstance(item, np.ndarray):
        item = item.flat[0] if item.size else ""
    return item


def _version_73(path):
    import h5py

    variables = {}
    with h5py.File(str(path), "r") as file:
        for name, value in file.items():
            if not isinstance(value, h5py.Dataset):
                continue  # #refs#, what cells refer to
            if value.dtype == h5py.ref_dtype:
                # HDF5 holds MATLAB's arrays transposed, so its row order is MATLAB's column order.
                variables[name] = [_text(_characters(file, file[item])) for item in value[()].flatten()]
            elif value.attrs.get("MATLAB_class", b"") == b"char":
                variables[name] = [_text("".join(map(chr, row))) for row in np.atleast_2d(value[()].T)]
            elif value.dtype.kind in NUMBERS:
                variables[name] = np.atleast_2d(value[()]).T
    return variables


def _characters(file, item):
    if item.attrs.get("MATLAB_empty", 0):
        return ""
    values = item[()].flatten()
    if item.dtype.kind == "O":  # a cell in a cell
        return _characters(file, file[values[0]])
    return "".join(map(chr, values))
