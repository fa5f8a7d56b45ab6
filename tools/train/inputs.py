"""What the result of a stage depends on, and how many training images it sees: the arithmetic of a run."""

import dataclasses
import json

from models import options

# Solver fields that change what is shown or kept, not the weights.
NOT_WEIGHTS = (
    *("display", "average_loss", "debug_info", "snapshot", "snapshot_format", "snapshot_after_train", "snapshot_diff"),
    *("test_iter", "test_interval", "test_initialization", "test_compute_loss", "max_iter"),
)


def inputs(run, name):
    """The inputs that the result of a training stage or of the average region depends on: flat dict of JSON values."""
    found = {"data": run.data.checksum}
    if name == "average":
        found.update((f"average.{key}", value) for key, value in dataclasses.asdict(run.settings.average).items())
        found["network.threshold"] = run.network().threshold
        found["weights of region"] = start(run, "region")
        return found
    network = run.network()
    fields = (field for field in options.FIELDS_OF[name] if field not in ("attributes", "lmdb", "test_batch", "form"))
    found.update((f"network.{field}", getattr(network, field)) for field in fields)
    found.update((f"{name}.{key}", v) for key, v in run.solver_fields(name).items() if key not in NOT_WEIGHTS)
    found.update(caffe=run.settings.engine, precision=run.settings.precision, solvers=solvers(run))
    if name == "cascade":
        found["weights with the average region"] = start(run, "average")
    elif run.settings.start_from:
        found["initial weights"] = run.settings.start_checksum
    return json.loads(json.dumps(found))


def start(run, name):
    """Checksum of the weights of a stage that another one starts from; None if there are none yet."""
    return run.stages[name].checksum if run.done(name) else None


def differences(recorded, now):
    """The differences of two dicts of inputs: list of sentences."""
    parts = []
    for key in dict.fromkeys([*recorded, *now]):
        before, after = recorded.get(key), now.get(key)
        if before != after:
            long = any(len(str(value)) > 40 for value in (before, after))
            parts.append(f"{key} differs" if long else f"{key} was {before}, now {after}")
    return parts


def solvers(run):
    """How many solvers train together: the number of GPUs, 1 on the CPU."""
    return run.settings.device.count(",") + 1


def last_iteration(run, name):
    """The iteration at which a training stage ends."""
    return int(run.solver_fields(name)["max_iter"])


def images_of(run, name, iterations):
    """Training images per attribute that so many iterations of a stage see."""
    return iterations * int(run.solver_fields(name)["iter_size"]) * run.network().batch * solvers(run)


def images(run, name, iterations):
    """Training images per attribute behind the weights of a stage: those of the stages that it starts from, too."""
    before = run.stages["region"].images if name in ("average", "cascade") and "region" in run.stages else 0
    return images_of(run, name, iterations) + before
