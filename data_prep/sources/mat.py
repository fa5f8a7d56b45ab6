"""Reading MATLAB files: of version 7.3, which are HDF5, as LFWA's, and older ones.

Reading a damaged file can crash, hang or ask for all memory, so it is done in a process of its own: this module as a
program, started by read_mat.
"""

import pickle
import resource
import subprocess
import sys

import numpy as np

from data_prep import files, start
from data_prep.errors import DataError

TIMEOUT = 60  # seconds; LFWA's files take one
MEMORY = 2 << 30  # bytes; LFWA's files take a tenth
LARGEST = 1 << 28  # bytes of all variables; LFWA's are 7 MB


def read_mat(path):
    """The variables of a .mat file, dict of name -> value.

    Cells of strings are lists of str in MATLAB's (column) order, without padding blanks and zeros; matrices of real
    numbers are arrays (rows, columns). Other variables, such as structs, are left out.
    Raises DataError when the file is missing or is not a MATLAB file.
    """
    command = start.command(sys.executable, "data_prep.sources.mat", path)
    try:
        files.opened(path).close()
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}")
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: not a complete MATLAB file (its reader did not finish within {TIMEOUT} s)")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines and done.returncode > 0 else "its reader crashed"
        raise DataError(f"{path}: not a complete MATLAB file ({reason})")
    return pickle.loads(done.stdout)  # of this module


def variables(path):
    """What read_mat returns, read in this process. Raises errors of every kind for a damaged file."""
    import h5py
    import scipy.io

    found = {}
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            for name, value in file.items():
                if not isinstance(value, h5py.Dataset):
                    continue  # #refs# holds the strings that cells refer to
                # HDF5 holds MATLAB's arrays transposed, so its row order is MATLAB's column order.
                if value.dtype == h5py.ref_dtype:
                    found[name] = ["".join(map(chr, file[item][()].flatten())) for item in value[()].flatten()]
                else:
                    found[name] = np.atleast_2d(value[()]).T
    else:
        for name, value in scipy.io.loadmat(path).items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
                found[name] = [innermost(item) for item in value.flatten(order="F")]
            elif isinstance(value, np.ndarray):
                found[name] = value
    return {
        name: [text.strip(" \0\t\r\n") for text in value] if isinstance(value, list) else value
        for name, value in found.items()
        if isinstance(value, list) or value.dtype.kind in "biuf"
    }


def innermost(item):
    """The string of a cell, unwrapped from the arrays and cells around it."""
    while isinstance(item, np.ndarray):
        item = item.flat[0] if item.size else ""
    return str(item)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        written = pickle.dumps(variables(sys.argv[1]))
        if len(written) > LARGEST:
            raise ValueError(f"its variables take more than {LARGEST >> 20} MB")
        sys.stdout.buffer.write(written)
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300], file=sys.stderr)
        sys.exit(1)
