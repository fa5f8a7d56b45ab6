"""Opening LMDB files for reading, after a check that they are complete. Needs no Caffe."""

import pathlib

import lmdb

from data_prep.store.lmdb_file import Damage, check_file


def key(number):
    """The key (bytes) of a record: its number, zero-padded because Caffe reads in the order of the keys."""
    return f"{number:08d}".encode()


def open_lmdb(path, **options):
    """An LMDB opened for reading. Raises OSError with one line that names it, if it is missing or damaged."""
    data = pathlib.Path(path) / "data.mdb"
    try:
        if data.exists():
            check_file(data)
        return lmdb.open(str(path), readonly=True, lock=False, subdir=True, **options)
    except (lmdb.Error, OSError) as error:
        raise OSError(f"{path}: no readable LMDB ({getattr(error, 'strerror', None) or error})")
    except Damage as error:
        raise OSError(f"{data}: damaged LMDB, {error}; build it again")
