"""MATLAB files like LFWA's."""

import h5py
import numpy as np


def write_mat(path, variables):
    """A file as MATLAB's version 7.3 writes it: HDF5, arrays transposed, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        for name, value in variables.items():
            if isinstance(value, list):
                cell = file.create_dataset(name, (1, len(value)), h5py.ref_dtype)
                for number, text in enumerate(value):
                    item = references.create_dataset(f"{name}{number}", data=np.array([[ord(c)] for c in text], "u2"))
                    cell[0, number] = item.ref
            else:
                file.create_dataset(name, data=np.asarray(value).T)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
