"""Estimates of the time that stages take, from their number of multiply-adds and a short test of the CPU's speed."""

import time

import numpy as np

from models import table1

# Training takes about three times the multiply-adds of a forward pass: forward, gradients of inputs and of weights.
TRAINING = 3
# Share of the rate of one large float32 matrix product that a whole iteration reaches (docs/benchmarks.md), measured.
EFFICIENCY = {("bvlc", "float32"): 0.45, ("torch", "float32"): 0.8, ("torch", "tf32"): 0.8, ("torch", "bfloat16"): 1.5}
# A stage that takes longer than this is announced with its estimate.
LONG = 600


def multiply_adds(rows, channels):
    """Multiply-adds of a forward pass of one image through rows of table 1, given the channels of its input."""
    total = 0
    for row in rows:
        if not row.name.startswith("pool"):
            total += row.kernel**2 * channels * row.channels * row.output**2
            channels = row.channels
    return total


CONV1 = multiply_adds(table1.SHARED[:1], 3)
SHARED = multiply_adds(table1.SHARED, 3)
CONV3 = multiply_adds([table1.CONV3], table1.SHARED[-1].channels)
TASK_ONE = multiply_adds(table1.TASK_ONE, table1.CONV3.channels)
TASK_TWO = multiply_adds(table1.TASK_TWO, table1.CONV3.channels)
PER_IMAGE = {
    "region": SHARED + CONV3 + TASK_ONE,
    "cascade": SHARED + CONV3 + TASK_ONE + TASK_TWO,
    "whole_face": SHARED + CONV3 + TASK_TWO,
}


def work(run, stage, iterations=None):
    """Multiply-adds of a stage of a run, or of so many iterations of it."""
    attributes = len(run.attributes)
    if stage == "average":
        average = run.settings.average
        # Half of a batch is positive; negative faces need conv1 only. Measured rectangles need gradients of
        # activations behind it, not of weights.
        passes = 2 if average.rectangles == "measured" else 1
        return average.faces * attributes * (2 * CONV1 + passes * (PER_IMAGE["region"] - CONV1))
    if iterations is None:
        iterations = int(run.solver_fields(stage)["max_iter"])
    images = run.images_of(stage, iterations) // run.solvers()
    return TRAINING * images * attributes * PER_IMAGE[stage]


def seconds(run, stages):
    """A rough estimate of the seconds that stages take on this machine's CPU; None on a GPU."""
    if run.settings.device != "cpu":
        return None
    rate = matrix_rate() * EFFICIENCY[run.settings.engine, run.settings.precision]
    return sum(work(run, stage) for stage in stages) / rate


def matrix_rate(size=1024):
    """Multiply-adds per second of a float32 matrix product of NumPy, in a fraction of a second."""
    a = np.ones((size, size), np.float32)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return size**3 / best


def duration(seconds):
    """Seconds as readable text: "40 s", "12 min", "3.5 h", "2.1 days"."""
    for limit, unit, words in (
        (100, 1, "s"),
        (100 * 60, 60, "min"),
        (48 * 3600, 3600, "h"),
        (float("inf"), 86400, "days"),
    ):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {words}" if value < 10 and unit > 60 else f"{value:.0f} {words}"
