"""Estimates of the bytes and minutes that a build takes, before anything is written."""

import dataclasses
import time

import numpy as np

from data_prep.errors import DataError
from data_prep.geometry import PATCH_SIZE

TRIED = 48  # records made of each kind, to measure their size and time
PAGE = 4096  # bytes of an LMDB's page

# Used where there is no image to measure: bytes of a record and seconds of one core, for CelebA's aligned faces. The
# official zip has 7,100 bytes a face; patches are crops of such faces enlarged by a half, JPEG at quality 95.
TYPICAL = {
    "source": (7_100, 0.0006),
    "jpg": (17_000, 0.0012),
    "png": (85_000, 0.0030),
    "raw": (3 * PATCH_SIZE**2, 0.0008),
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one database: its records, bytes on the disk, and minutes on all cores."""

    name: str
    records: int
    bytes: int
    minutes: float


def stored(size):
    """Bytes that a record of `size` bytes takes in an LMDB, which stores large records on pages of their own."""
    return size + 32 if size < PAGE // 2 else -(-(size + 16) // PAGE) * PAGE + 32


def costs(job, workers, try_images=True):
    """The Cost of each database of a Job.

    try_images: whether a sample of the records is made and measured, or sizes typical of CelebA are used
    Raises DataError when a record of the sample cannot be made.
    """
    return [_cost(database, job, workers, try_images) for database in job.databases()]


def _cost(database, job, workers, try_images):
    name, items = database.name, database.items
    if name.endswith("_labels"):
        return Cost(name, len(items), len(items) * stored(len(items[0]) + 12), len(items) * 5e-6 / 60)
    if try_images:
        chosen = items[np.linspace(0, len(items) - 1, min(TRIED, len(items))).astype(int)]
        start = time.perf_counter()
        size = np.mean([stored(len(database.record(item))) for item in chosen])
        seconds = (time.perf_counter() - start) / len(chosen)
    else:
        size, seconds = TYPICAL["source" if job.form == "compact" else job.settings.encoding]
        size = stored(size)
    return Cost(name, len(items), int(len(items) * size), len(items) * seconds / workers / 60)


def total(parts):
    """The sum of several Costs."""
    sums = (sum(getattr(cost, field) for cost in parts) for field in ("records", "bytes", "minutes"))
    return Cost("together", *sums)


def table(parts):
    """The costs as a table, one line for each database."""
    rows = [*parts, total(parts)]
    return "\n".join(f"  {c.name:12} {c.records:>12,} records {human(c.bytes):>9} {c.minutes:8.1f} min" for c in rows)


def human(size):
    """A number of bytes as readable text, such as "1.7 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def refuse_when_full(parts, written, free, out):
    """Raises DataError when the disk cannot hold the build.

    written: bytes that an interrupted build has written already; free: bytes that are left on the disk
    """
    need = total(parts).bytes * 1.05 - written
    if need > free:
        raise DataError(
            f"{out}: too little disk: about {human(need)} are needed, {human(free)} are free; lower --records, "
            "take --form compact, or give another folder"
        )
