"""What a command has to do for the stages of a run: which are done, resumed or begun, and what must not be lost."""

from tools.errors import ToolError
from tools.run import NAME
from tools.train.inputs import differences, inputs, last_iteration

# The stage whose weights each stage starts from.
BEFORE = {"region": None, "average": "region", "cascade": "average", "whole_face": None}
ORDER = tuple(BEFORE)
DONE, RESUME, START = "done", "resume", "start"
ELSEWHERE = "or give another folder with --run"


def actions(run, names, restart=False):
    """The actions for stages of a run: dict name -> DONE, RESUME or START, in order.

    restart: repeat all of them. Raises ToolError if a stage was trained from other inputs, the stage that it starts
    from is not done or is the average region of other settings, or there is a training that the record does not know.
    """
    planned = {}
    for name in (name for name in ORDER if name in names):
        before = BEFORE[name]
        if before and before not in planned:
            check_before(run, name, before)
        if restart or not has_results(run, name):
            planned[name] = START
        else:
            changed = before in planned and planned[before] != DONE
            check_inputs(run, name, before if changed else None)
            planned[name] = DONE if is_complete(run, name) else RESUME
        if planned[name] == DONE:
            run.weights(name)  # raises ToolError if the file is missing or was changed
    left = [name for name in of_other_data(run) if name in ORDER and planned.get(name) != START]
    if left:
        raise ToolError(
            f"{run.folder}: stages of other data than {run.lmdb}: {', '.join(left)}; name them too, to repeat them, "
            f"{ELSEWHERE}"
        )
    return planned


def check_before(run, name, before):
    """Raise ToolError unless the stage that a stage starts from is done, with the settings that the run has now."""
    if not run.done(before):
        state = run.stages[before].state if before in run.stages else "not begun"
        raise ToolError(f"{run.folder}: {name} starts from {before}, which is {state}; run: {run.command(before)}")
    differing = differences(run.stages[before].inputs, inputs(run, before)) if before == "average" else []
    if differing:
        raise ToolError(
            f"{run.folder}: {name} starts from the average region, which was made with other settings: "
            f"{'; '.join(differing[:4])}. Repeat it first: {run.command('average')} --restart"
        )


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


def check_inputs(run, name, changed):
    """Raise ToolError where a stage was made from other inputs than it has now.

    changed: the stage that it starts from, if that is to be trained again or further
    """
    differing = differences(run.stages[name].inputs, inputs(run, name))
    if changed and not differing:
        differing = [f"{changed} is not the one it started from"]
    if differing:
        raise ToolError(
            f"{run.folder}: {name} was made with other settings: {'; '.join(differing[:4])}. "
            f"Give --restart to repeat it, {ELSEWHERE}"
        )


def is_complete(run, name):
    """Whether a stage is done, and not asked to go on to a later iteration."""
    stage = run.stages[name]
    return stage.state == "done" and (name == "average" or stage.iterations >= last_iteration(run, name))


def of_other_data(run):
    """The stages of a run's record that were made from other data than the run has now: list of names."""
    return [
        name for name, stage in run.stages.items() if stage.inputs and stage.inputs.get("data") != run.data.checksum
    ]
