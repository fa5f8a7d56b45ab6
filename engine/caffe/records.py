"""Endless reading of the records of an LMDB in the order of their keys."""

import os
import weakref

from google.protobuf.message import DecodeError

from . import glog, lmdb_file
from .errors import CaffeError, optional_package
from .proto import caffe_pb2

# (device, inode) -> Database. A process must not open the same LMDB twice, so its nets share one.
_open = weakref.WeakValueDictionary()


class Database:
    """An LMDB, open for reading; count: number of its records. Raises CaffeError if it is missing, damaged or empty."""

    def __init__(self, path):
        lmdb = optional_package("lmdb", "Data layers need")
        file = os.path.join(path, "data.mdb") if os.path.isdir(path) else path
        try:
            if os.path.exists(file):
                lmdb_file.check_file(file)
            self.environment = lmdb.open(path, readonly=True, lock=False, subdir=os.path.isdir(path))
        except (lmdb.Error, OSError) as error:
            raise CaffeError(f"{path}: cannot be opened as LMDB: {getattr(error, 'strerror', None) or error}")
        except lmdb_file.Damage as error:
            raise CaffeError(f"{file}: damaged LMDB, {error}; copy or build it again")
        self.path, self.damage = path, lmdb.Error
        self.count = self.environment.stat()["entries"]
        if not self.count:
            raise CaffeError(f"{path}: the database is empty")

    def records(self, rank=0, ranks=1, block=1, skip=0):
        """Yield pairs (key, value) endlessly. Raises CaffeError for damaged pages.

        After `skip` records, the records are divided into blocks of `block` records; of every `ranks` blocks, only
        number `rank` is read.
        """
        number = -skip
        with self.environment.begin(buffers=False) as transaction:
            while True:
                try:
                    for record in transaction.cursor():
                        if number >= 0 and number // block % ranks == rank:
                            yield record
                        number += 1
                except self.damage as error:
                    raise CaffeError(f"{self.path}: damaged LMDB ({error}); copy or build it again")
                glog.info("Restarting data prefetching from start.")

    def image(self, record, decode):
        """(Datum, decode(Datum)) of a record (key, value). Raises CaffeError that names database and key."""
        key, value = record
        try:
            datum = caffe_pb2.Datum.FromString(value)
            return datum, decode(datum)
        except (CaffeError, DecodeError) as error:
            reason = error if isinstance(error, CaffeError) else "not a Datum"
            raise CaffeError(f"{self.path}: record {key.decode(errors='replace')!r}: {reason}")


def open_database(path):
    """The Database at a path; while it is in use, further calls return the same object. Raises CaffeError."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise CaffeError(f"{path}: {error.strerror}; a data layer reads its LMDB from here")
    key = (status.st_dev, status.st_ino)
    database = _open.get(key)
    if database is None:
        database = _open[key] = Database(path)
    return database
