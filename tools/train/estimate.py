"""How long stages take: the multiply-adds of each, from which the time of one tells that of the others."""

from models import table1
from tools.train.inputs import images_of, last_iteration, solvers

# Training takes about three times the multiply-adds of a forward pass: forward, gradients of inputs and of weights.
TRAINING = 3


def multiply_adds(rows, channels):
    """Multiply-adds of a forward pass of one image through rows of table 1, given the channels of its input."""
    total = 0
    for row in rows:
        if not row.name.startswith("pool"):
            total += row.kernel**2 * channels * row.channels * row.output**2
            channels = row.channels
    return total


def parts(width=1):
    """Multiply-adds of a forward pass of one image: dict part -> number; all parts but `shared` are per attribute."""
    table = table1.scaled(width)
    return {
        "conv1": multiply_adds(table.shared[:1], 3),
        "shared": multiply_adds(table.shared, 3),
        "conv3": multiply_adds([table.conv3], table.shared[-1].channels),
        "task one": multiply_adds(table.task_one, table.conv3.channels),
        "task two": multiply_adds(table.task_two, table.conv3.channels),
    }


# Network -> its parts.
PARTS = {
    "region": ("shared", "conv3", "task one"),
    "cascade": ("shared", "conv3", "task one", "task two"),
    "whole_face": ("shared", "conv3", "task two"),
}


def work(run, stage, iterations=None):
    """Multiply-adds of a stage of a run, or of so many iterations of it."""
    attributes, of_parts = len(run.attributes), parts(run.network().width)
    if stage == "average":
        average, conv1 = run.settings.average, of_parts["conv1"]
        # Half of a batch is positive; negative faces need conv1 only. Measured rectangles need gradients of
        # activations behind it, not of weights.
        passes = 1 if average.rectangles in ("theoretical", "whole") else 2
        forward = sum(of_parts[part] for part in PARTS["region"])
        return average.faces * attributes * (2 * conv1 + passes * (forward - conv1))
    iterations = last_iteration(run, stage) if iterations is None else iterations
    images = images_of(run, stage, iterations) // solvers(run)
    return TRAINING * images * attributes * sum(of_parts[part] for part in PARTS[stage])


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
