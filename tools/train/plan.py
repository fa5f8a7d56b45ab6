"""What a stage depends on, what a command has to do for it, how many training images and multiply-adds it takes."""

import dataclasses
import json

from models import options, table1
from tools.errors import ToolError
from tools.record import STAGES
from tools.run import NAME, STARTS_FROM

DONE, RESUME, START = "done", "resume", "start"
ELSEWHERE = "or give another folder with --run"
# Solver fields that change what is shown or kept, not the weights.
NOT_WEIGHTS = (
    *("display", "average_loss", "debug_info", "snapshot", "snapshot_format", "snapshot_after_train", "snapshot_diff"),
    *("test_iter", "test_interval", "test_initialization", "test_compute_loss", "max_iter"),
)


def actions(run, names, restart=False):
    """The actions for stages of a run: dict name -> DONE, RESUME or START, in order.

    restart: repeat all of them. Raises ToolError if a stage was trained from other inputs, the stage that it starts
    from is not done or is the average region of other settings, or there is a training that the record does not know.
    """
    planned, names = {}, {*names}
    if {"region", "cascade"} <= names:  # between them
        names.add("average")
    for name in (name for name in STAGES if name in names):
        before, _ = STARTS_FROM.get(name, (None, None))
        if before and before not in planned:
            if before == "average" and before in run.stages:
                what, remedy = f"{name} starts from the average region, which", f"{run.command(before)} --restart"
                check_inputs(run, before, what, f"Repeat it first: {remedy}")
            if not run.done(before):
                state, command = run.state(before), run.command(before)
                raise ToolError(f"{run.folder}: {name} starts from {before}, which is {state}; run: {command}")
        if restart or not has_results(run, name):
            planned[name] = START
            continue
        again = planned.get(before, DONE) != DONE
        changed = [f"{before} is not the one it started from"] if again else []
        remedy = f"Give --restart to repeat it, {ELSEWHERE}"
        if planned.get("region") == RESUME:  # which --restart would begin again
            remedy = f"Continue region alone: {run.command('region')}; then repeat average and cascade with --restart"
        check_inputs(run, name, name, remedy, changed)
        stage = run.stages[name]
        whole = name == "average" or stage.iterations >= last_iteration(run, name)
        planned[name] = DONE if stage.state == "done" and whole else RESUME
        if planned[name] == DONE:
            run.weights(name)  # raises ToolError if the file is missing or was changed
    return planned


def check_inputs(run, name, what, remedy, changed=()):
    """Raise ToolError where a stage was made from other inputs than it has now, or something else about it changed."""
    differing = differences(run, name) or changed
    if differing:
        raise ToolError(f"{run.folder}: {what} was made with other settings: {'; '.join(differing[:4])}. {remedy}")


def has_results(run, name):
    """Whether a stage has results that could be lost. Raises ToolError for files that the record does not know."""
    stage, folder = run.stages.get(name), run.place(name)
    if stage:
        return stage.state == "done" or any(folder.glob("*_iter_*"))
    if any(folder.glob("*_iter_*" if run.exists(run.folder) else "*")):
        raise ToolError(
            f"{folder}: holds files of a training that {run.folder / NAME} does not know; give --restart to discard "
            f"them, {ELSEWHERE}"
        )
    return False


# Inputs -----------------------------------------------------------------------------------------------------


def inputs(run, name):
    """The inputs that the result of a training stage or of the average region depends on: flat dict of JSON values."""
    found = {"data": run.data.checksum}
    before, key = STARTS_FROM.get(name, (None, None))
    if before:
        found[key] = run.stages[before].checksum if run.done(before) else None
    if name == "average":
        found.update((f"average.{key}", value) for key, value in dataclasses.asdict(run.settings.average).items())
        found["network.threshold"] = run.network().threshold
        return found
    network = run.network()
    fields = (field for field in options.FIELDS_OF[name] if field not in ("attributes", "lmdb", "test_batch", "form"))
    found.update((f"network.{field}", getattr(network, field)) for field in fields)
    solver = run.solver_fields(name)
    left_out = set(NOT_WEIGHTS) - ({"max_iter"} if solver["lr_policy"] == "poly" else set())  # its rate ends there
    found.update((f"{name}.{key}", value) for key, value in solver.items() if key not in left_out)
    found.update(caffe=run.settings.engine, precision=run.settings.precision, solvers=solvers(run))
    if run.settings.start_from and name != "cascade":
        found["initial weights"] = run.settings.start_checksum
    return json.loads(json.dumps(found))


def differences(run, name):
    """What differs between the recorded inputs of a stage and those that it has now: list of sentences."""
    recorded, now, parts = run.stages[name].inputs, inputs(run, name), []
    for key in dict.fromkeys([*recorded, *now]):
        before, after = recorded.get(key), now.get(key)
        if before != after:
            long = any(len(str(value)) > 40 for value in (before, after))
            parts.append(f"{key} differs" if long else f"{key} was {before}, now {after}")
    return parts


# Images -----------------------------------------------------------------------------------------------------


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


# Multiply-adds ----------------------------------------------------------------------------------------------


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
