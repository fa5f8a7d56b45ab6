"""Opening LMDB files for reading, after a check that they are complete. Needs no Caffe."""

import importlib.util
import pathlib

import lmdb

from data_prep.files import opened
from data_prep.start import REPOSITORY

# The engine's own module, which needs no Caffe, by its path: `caffe` may be BVLC's here.
_spec = importlib.util.spec_from_file_location("lmdb_file", f"{REPOSITORY}/engine/caffe/lmdb_file.py")
lmdb_file = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lmdb_file)


def key(number):
    """The key (bytes) of a record: its number, zero-padded because Caffe reads in the order of the keys."""
    return f"{number:08d}".encode()


def open_lmdb(path):
    """An LMDB opened for reading. Raises OSError with one line that names it, if it is missing or damaged."""
    data = pathlib.Path(path) / "data.mdb"
    try:
        if data.exists():
            opened(data).close()  # raises OSError for a pipe or device, which may never end
            lmdb_file.check_file(data)
        return lmdb.open(str(path), readonly=True, lock=False)
    except (lmdb.Error, OSError) as error:
        raise OSError(f"{path}: no readable LMDB ({getattr(error, 'strerror', None) or error})")
    except lmdb_file.Damage as error:
        raise OSError(f"{data}: damaged LMDB, {error}; build it again")
