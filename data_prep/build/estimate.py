"""Estimates of the bytes and minutes that a build takes, before anything is written."""

import collections
import time

import numpy as np

from data_prep.faces.aligner import NoFace

TRIED = 48  # records made of each kind, to measure their size and time
PAGE = 4096  # bytes of an LMDB's page

# The cost of one database: its records, bytes on the disk, and minutes on all cores.
Cost = collections.namedtuple("Cost", "name records bytes minutes")


def stored(size):
    """Bytes that a record of `size` bytes takes in an LMDB, which stores large records on pages of their own."""
    return size + 32 if size < PAGE // 2 else -(-(size + 16) // PAGE) * PAGE + 32


def costs(job, workers):
    """The Cost of each database of a Job, by a sample of its records, and the sum of all.

    Raises DataError when a record of the sample cannot be made.
    """
    rows = []
    for database in job.databases():
        count, sizes, start = len(database.items), [], time.perf_counter()
        for item in database.items[np.linspace(0, count - 1, min(TRIED, count)).astype(int)]:
            try:
                sizes.append(stored(len(database.record(item))))
            except NoFace:  # in a dry run; a build leaves these out first
                pass
        seconds = (time.perf_counter() - start) / max(len(sizes), 1) / workers
        rows.append(Cost(database.name, count, int(count * np.mean(sizes or [0])), count * seconds / 60))
    return [*rows, Cost("together", *(sum(column) for column in list(zip(*rows))[1:]))]


def table(rows):
    """Costs as a table, one line for each database."""
    return "\n".join(f"  {c.name:12} {c.records:>12,} records {human(c.bytes):>9} {c.minutes:8.1f} min" for c in rows)


def human(size):
    """A number of bytes as readable text, such as "1.7 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
