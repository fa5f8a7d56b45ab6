"""How long stages take: the multiply-adds of each, from which the time of one tells that of the others."""

from models import table1
from tools.train.plan import images_of, last_iteration, solvers

# Passes over a network, each of about as many multiply-adds: forward, gradients of activations and of weights.
TRAINING, MEASURING, FORWARD = 3, 2, 1


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
    of_parts, net, passes = parts(run.network().width), stage, TRAINING
    if stage == "average":  # half of a batch is positive
        average, net = run.settings.average, "region"
        images, passes = 2 * average.faces, FORWARD if average.rectangles in ("theoretical", "whole") else MEASURING
    else:
        iterations = last_iteration(run, stage) if iterations is None else iterations
        images = images_of(run, stage, iterations) // solvers(run)
    return passes * images * len(run.attributes) * sum(of_parts[part] for part in PARTS[net])


def duration(seconds):
    """Seconds as readable text: "40 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    value, unit = (seconds / 3600, "h") if seconds < 48 * 3600 else (seconds / 86400, "days")
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
