"""Records of an LMDB in the order of their keys, round and round."""

import os
import weakref

import lmdb

from . import glog
from .errors import CaffeError

# lmdb opens an environment once per process; nets of one process share it here.
_open = weakref.WeakValueDictionary()


class Database:
    """An LMDB, open for reading. Raises CaffeError when there is none."""

    def __init__(self, path):
        try:
            self.environment = lmdb.open(path, readonly=True, lock=False, subdir=os.path.isdir(path))
        except lmdb.Error as error:
            raise CaffeError(f"{path}: cannot be opened as LMDB: {error}")
        self.path = path
        self.count = self.environment.stat()["entries"]
        if not self.count:
            raise CaffeError(f"{path}: the database is empty")

    def values(self, rank=0, ranks=1, run=1, skip=0):
        """The values, without end, after the first `skip`: of every `ranks` runs of `run` the one numbered `rank`."""
        number = -skip
        with self.environment.begin(buffers=False) as transaction:
            while True:
                for value in transaction.cursor().iternext(keys=False):
                    if number >= 0 and number // run % ranks == rank:
                        yield value
                    number += 1
                glog.info("Restarting data prefetching from start.")

    def first(self):
        with self.environment.begin() as transaction:
            return next(transaction.cursor().iternext(keys=False))


def open_database(path):
    """The Database at a path, the same object for the same place as long as somebody uses it."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise CaffeError(f"{path}: {error.strerror}; a data layer reads its LMDB from here")
    key = (status.st_dev, status.st_ino)
    database = _open.get(key)
    if database is None:
        database = _open[key] = Database(path)
    return database
