"""What a command has to do for the stages of a run: which are done, resumed or begun, and what must not be lost."""

import json

from tools.errors import ToolError
from tools.run import NAME, command

# The stage whose weights each stage starts from.
BEFORE = {"region": None, "average": "region", "cascade": "average", "whole_face": None}
ORDER = tuple(BEFORE)


def actions(run, names, restart=False):
    """The actions for stages of a run: list of (name, "done", "resume" or "start"), in order.

    restart: repeat all of them. Raises ToolError if a stage was trained from other inputs, the stage that it starts
    from is not done or is the average region of other settings, or there is a training that the record does not know.
    """
    planned = {}
    for name in (name for name in ORDER if name in names):
        before, stage = BEFORE[name], run.stages.get(name)
        changing = before in planned and planned[before] != "done"
        if before and before not in planned and not run.done(before):
            state = run.stages[before].state if before in run.stages else "not begun"
            raise ToolError(f"{run.folder}: {name} starts from {before}, which is {state}; run: {command(run, before)}")
        if not stage and not restart and unknown(run, name):
            raise ToolError(
                f"{run.place(name)}: holds files of a training that {run.folder / NAME} does not know; give --restart "
                "to discard them (make: RESTART=1), or another folder with --run (make: RUN=)"
            )
        kept = stage and (stage.state == "done" or any(run.place(name).glob("*_iter_*")))
        if restart or not kept:  # there are no results that could be lost
            planned[name] = "start"
        else:
            differing = differences(stage.inputs, normal(run.inputs(name)))
            if changing and not differing:
                differing = [f"{before} is not the one it started from"]
            if differing:
                raise ToolError(
                    f"{run.folder}: {name} was made with other settings: {'; '.join(differing[:4])}. "
                    f"Give --restart to repeat it (make: RESTART=1), or another folder with --run (make: RUN=)"
                )
            planned[name] = "done" if stage.state == "done" else "resume"
        if planned[name] == "done":
            run.weights(name)  # raises ToolError if the file is missing or was changed
        elif before == "average" and before not in planned:
            check_average(run, name)
    left = [name for name in of_other_data(run) if name in ORDER and planned.get(name) != "start"]
    if left:
        raise ToolError(
            f"{run.folder}: stages of other data than {run.data.lmdb}: {', '.join(left)}; name them too, to repeat "
            "them, or give another folder with --run (make: RUN=)"
        )
    return list(planned.items())


def check_average(run, name):
    """Raise ToolError if a stage would start from an average region of other settings or of another task one."""
    differing = differences(run.stages["average"].inputs, normal(run.inputs("average")))
    if differing:
        raise ToolError(
            f"{run.folder}: {name} starts from the average region, which was made with other settings: "
            f"{'; '.join(differing[:4])}. Repeat it first: {command(run, 'average')} --restart"
        )


def unknown(run, name):
    """Whether the folder of a stage without a record holds snapshots, or anything at all where there is no record."""
    kind = "*_iter_*" if run.exists(run.folder) else "*"
    return any(run.place(name).glob(kind))


def differences(recorded, now):
    """The differences of two dicts of inputs: list of sentences."""
    parts = []
    for key in dict.fromkeys([*recorded, *now]):
        before, after = recorded.get(key), now.get(key)
        if before != after:
            long = any(len(str(value)) > 40 for value in (before, after))
            parts.append(f"{key} differs" if long else f"{key} was {before}, now {after}")
    return parts


def normal(inputs):
    """Inputs in the types that they have when read back from JSON."""
    return json.loads(json.dumps(inputs))


def of_other_data(run):
    """The stages of a run's record that were made from other data than the run has now: list of names."""
    return [name for name, stage in run.stages.items() if stage.inputs.get("data") != run.data.checksum]
