"""Reading MATLAB files: with scipy.io up to version 7, with h5py for version 7.3, which is HDF5 (as in LFWA).

Both readers can crash, hang or ask for all memory on a damaged file, so they run in a process of their own: this module
as a program, started by read_mat.
"""

import io
import resource
import subprocess
import sys

import numpy as np

from data_prep import files, start
from data_prep.errors import DataError

NUMBERS = "biuf"  # kinds of NumPy's types that are real numbers
TIMEOUT = 60  # seconds; LFWA's files take one
MEMORY = 2 << 30  # bytes; LFWA's files take a tenth
LARGEST = 1 << 28  # bytes of all variables; LFWA's are 7 MB


def read_mat(path):
    """The variables of a .mat file, dict of name -> value.

    Cells of strings and character matrices are lists of str in MATLAB's (column) order, without padding blanks and
    zeros; matrices of real numbers are arrays (rows, columns). Other variables, such as structs, are left out.
    Raises DataError when the file is missing or is not a MATLAB file.
    """
    try:
        files.opened(path).close()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")
    command = start.command(sys.executable, "data_prep.sources.mat", path)
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: not a complete MATLAB file (its reader did not finish within {TIMEOUT} s)")
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["its reader crashed"]
        reason = reason[-1] if done.returncode > 0 else "its reader crashed"
        raise DataError(f"{path}: not a complete MATLAB file ({reason})")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as variables:
        return {name[1:]: value.tolist() if value.dtype.kind == "U" else value for name, value in variables.items()}


def write_variables(path, stream):
    """Write the variables of a .mat file to a binary stream, as an .npz; lists of str become arrays of text."""
    import h5py

    variables = _version_73(path) if h5py.is_hdf5(path) else _version_7(path)
    arrays = {name: np.array(value, str) if isinstance(value, list) else value for name, value in variables.items()}
    if sum(value.nbytes for value in arrays.values()) > LARGEST:
        raise ValueError(f"its variables take more than {LARGEST >> 20} MB")
    written = io.BytesIO()
    np.savez(written, **{f"_{name}": value for name, value in arrays.items()})  # savez has an argument "file"
    stream.write(written.getvalue())


def _text(characters):
    return str(characters).strip(" \0\t\r\n")


def _version_7(path):
    import scipy.io

    variables = {}
    for name, value in scipy.io.loadmat(str(path)).items():
        if name.startswith("__") or not isinstance(value, np.ndarray):
            continue
        if value.dtype.kind in "OU":
            variables[name] = [_text(_innermost(item)) for item in value.flatten(order="F")]
        elif value.dtype.kind in NUMBERS:
            variables[name] = value
    return variables


def _innermost(item):
    """The string of a cell, unwrapped from the arrays and cells around it."""
    while isinstance(item, np.ndarray):
        item = item.flat[0] if item.size else ""
    return item


def _version_73(path):
    import h5py

    variables = {}
    with h5py.File(str(path), "r") as file:
        for name, value in file.items():
            if not isinstance(value, h5py.Dataset):
                continue  # #refs# holds the strings that cells refer to
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


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        write_variables(sys.argv[1], sys.stdout.buffer)
    except Exception as error:  # the readers raise errors of every kind for damaged files
        print(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300], file=sys.stderr)
        sys.exit(1)
