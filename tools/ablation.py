"""Train and compare the variants of the method under one budget, over several seeds.

  face-cascade ablation --lmdb data/lmdb --run build/ablation --iterations 2000 --seeds 1,2,3
  face-cascade ablation --variants "cascade,whole map,whole face" --caffe torch --precision bfloat16

The whole map, another attribute's rectangles and random ones in place of the region show what the region is worth; the
whole face is task two without task one and its scores. All variants have one budget: each sees --iterations
mini-batches in all its stages together. The cascade trains task one for five eighths of them and both tasks for the
rest. The learning rate is divided by 10 after 75 % of each stage.

Each variant is a run of its own, FOLDER/seed-S/VARIANT, with a record, so stages that are done with the same settings
are not repeated. To resume an interrupted ablation, run the same command again. Results: means.csv (over the seeds) and
differences.csv (the first variant less each other one, with intervals), with all measures, and differences.svg. There
is no record of the ablation itself: give its options with every call.
"""

import copy
import dataclasses
import os
import shutil

from data_prep.settings import add_options, given, setting
from tools import record
from tools import run as runs
from tools.locking import locked
from tools.report.seeds import conclude, scores_of
from tools.train import command, plan, stages

# Share of the budget for training task one before joint training.
ALONE = 5 / 8


@dataclasses.dataclass(frozen=True)
class Variant:
    """The differences of a variant from the default.

    stages: its training stages, of which the last is evaluated; network: options; solver: dict stage -> dict field ->
    text; rectangles: of record.Average
    """

    stages: tuple = ("region", "average", "cascade")
    network: dict = dataclasses.field(default_factory=dict)
    solver: dict = dataclasses.field(default_factory=dict)
    rectangles: str = None


VARIANTS = {
    "cascade": Variant(),
    "whole map": Variant(rectangles="whole"),
    "rectangles of another attribute": Variant(rectangles="other"),
    "random rectangles": Variant(rectangles="random"),
    "theoretical rectangles": Variant(rectangles="theoretical"),
    "task one alone": Variant(("region",)),
    "whole face": Variant(("whole_face",)),
    "no average region": Variant(network={"average_weight": 0.0}),
    "average region alone": Variant(network={"average_weight": 1.0}),
    "linear L1": Variant(network={"l1": "linear"}),
    "loss of task two's own": Variant(network={"task_two_loss": 1.0}),
    "no decay in task one": Variant(solver={"region": {"weight_decay": "0"}}),
    "no early stopping": Variant(network={"early_stopping_range": 0.0}),
}


def _distinct_fault(values):
    return None if values and len(set(values)) == len(values) else "must be at least one, and none twice"


@dataclasses.dataclass
class AblationSettings:
    """What is trained and compared."""

    iterations: int = setting(2000, "The mini-batches of each variant in all its stages together", least=8)
    seeds: tuple[int, ...] = setting(
        (1, 2, 3),
        "The seeds: of initial weights, order, crops and mirroring",
        least=0,
        fault=_distinct_fault,
        shown="1,2,3",
        metavar="S,S,...",
    )
    variants: tuple[str, ...] = setting(
        tuple(VARIANTS),
        f"The variants to train, of: {', '.join(VARIANTS)}. The others are compared with the first",
        choices=tuple(VARIANTS),
        fault=_distinct_fault,
        shown="all",
        metavar="NAME,NAME,...",
    )


# Runs -------------------------------------------------------------------------------------------------------


def run_of(pattern, iterations, name, seed):
    """The run of a variant: its record if there is one, with the settings that it must have now.

    pattern: a Run with the ablation's folder, data and common settings; iterations: the budget
    """
    variant, folder = VARIANTS[name], pattern.folder / f"seed-{seed}" / name.replace(" ", "_")
    settings = copy.deepcopy(pattern.settings)
    settings.seed = seed
    settings.network.update(variant.network)
    settings.average.rectangles = variant.rectangles or settings.average.rectangles
    trained = [stage for stage in variant.stages if stage in record.TRAINED]
    first = iterations if len(trained) == 1 else round(ALONE * iterations)
    for stage, number in zip(trained, (first, iterations - first)):
        quarter = str(max(1, number // 4))
        steps = {"max_iter": str(number), "stepsize": str(max(1, 3 * number // 4))}
        steps.update(snapshot=quarter, test_interval=quarter, test_iter="5")
        settings.solver[stage] = {**steps, **settings.solver.get(stage, {}), **variant.solver.get(stage, {})}
    run = runs.Run.create(folder, pattern.lmdb, settings)
    if runs.Run.exists(folder):
        run.stages = runs.Run.read(folder).stages
    return run


def make(run, variant, finished, restart=False):
    """Train and evaluate the run of a Variant; returns it as it is then.

    finished: Runs whose stages it may share; restart: repeat stages of other data, budgets or settings
    Raises ToolError for such stages otherwise, OSError.
    """
    with locked(run.folder):
        for stage in variant.stages:
            if restart or stage not in run.stages or not plan.differences(run, stage):
                share(run, stage, finished)
            kept = stage in run.stages and not plan.differences(run, stage)
            stages.train(run, [stage], restart and not kept)
        stages.tool(run, ["evaluate", "--run", str(run.folder)])
    return runs.Run.read(run.folder)


def share(run, stage, finished):
    """Take over a stage that another run has finished with the same inputs; its weights are linked, not copied."""
    wanted = plan.inputs(run, stage)
    if run.done(stage) and run.stages[stage].inputs == wanted:
        return
    for other in finished:
        # The length of a training is not among its inputs, because it can be continued.
        long = stage == "average" or plan.last_iteration(run, stage) == plan.last_iteration(other, stage)
        if other.done(stage) and other.stages[stage].inputs == wanted and long:
            other.weights(stage)  # raises ToolError if they are missing or were changed
            stages.clear(run, stage)
            shutil.copytree(other.place(stage), run.place(stage), copy_function=linked)
            run.stages[stage] = dataclasses.replace(other.stages[stage])
            run.write()
            print(f"{stage}: shared with {other.folder}", flush=True)
            return


def linked(source, target):
    """Link a file, but copy a log: that of a training which goes on would grow in both places."""
    (shutil.copyfile if source.endswith(".log") else os.link)(source, target)


# The command ------------------------------------------------------------------------------------------------


def add_arguments(parser):
    """Add the options of `face-cascade ablation` to a parser."""
    command.add_run_arguments(parser, "build/ablation", "the runs of all variants and the tables", "data/lmdb")
    add_options(parser, AblationSettings)
    parser.add_argument(
        "--restart",
        action="store_true",
        help="Repeat the stages that were trained with other settings, and discard them (default: stop with an error).",
    )


def run(arguments):
    """Run `face-cascade ablation`. Raises ToolError, OSError."""
    asked = AblationSettings(**given(arguments, AblationSettings))
    names, seeds = asked.variants, asked.seeds
    pattern = runs.Run.create(arguments.run, arguments.lmdb or "data/lmdb")
    command.apply(pattern, arguments)
    scored, images = {name: [] for name in names}, {}
    with locked(pattern.folder):
        for seed in seeds:
            finished = []
            for name in names:
                variant, current = VARIANTS[name], run_of(pattern, asked.iterations, name, seed)
                print(f"\n{name}, seed {seed}: {current.folder}", flush=True)
                made, answering = make(current, variant, finished, arguments.restart), variant.stages[-1]
                finished.append(made)
                scored[name].append(scores_of(made, answering))
                images[name] = made.stages[answering].images
            # After each seed, so that an interruption leaves whole seeds.
            text = conclude(pattern.folder, scored, images)
    print(f"\n{len(seeds)} seeds, {asked.iterations} iterations per variant\n{text}")
    tables = (name for name in ("means.csv", "differences.csv", "differences.svg") if (pattern.folder / name).exists())
    print(f"{pattern.folder}: {', '.join(tables)}")
    return 0
