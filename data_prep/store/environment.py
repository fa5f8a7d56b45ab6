"""LMDB files opened for reading, after a look at whether they are whole. Needs no Caffe."""

import pathlib

import lmdb

from data_prep.store.lmdb_file import Damage, check_file


def key(number):
    """The key of a record: Caffe reads in key order, so numbers are zero-padded."""
    return f"{number:08d}".encode()


def open_lmdb(path, **options):
    """An LMDB for reading. Raises OSError, in one line that names it, where there is none or it is damaged."""
    data = pathlib.Path(path) / "data.mdb"
    try:
        if data.exists():
            check_file(data)
        return lmdb.open(str(path), readonly=True, lock=False, subdir=True, **options)
    except (lmdb.Error, OSError) as error:
        raise OSError(f"{path}: no readable LMDB ({getattr(error, 'strerror', None) or error})")
    except Damage as error:
        raise OSError(f"{data}: damaged LMDB, {error}; build it again")
