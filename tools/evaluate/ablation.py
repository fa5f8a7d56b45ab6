"""Train and compare the variants of the method under one budget, over several seeds.

  face-cascade ablation --lmdb data/lmdb --run build/ablation --iterations 2000 --seeds 1,2,3
  face-cascade ablation --variants "cascade,whole face" --caffe torch --precision bfloat16
  face-cascade ablation --learning-rates 0.5,1,2      each variant with the rate that is best on validation

Variants: the cascade; task one alone; task two on the whole face; and the cascade without the average region, with
theoretical rectangles, with the whole map, another attribute's rectangles or random ones in place of the region (the
same network, so that these show what the region is worth), with L1 as printed in eq. 1 (linear), without early
stopping, and on natural batches.

All variants have one budget: each sees --iterations mini-batches in all its stages together. The cascade trains task
one for five eighths of them and both tasks for the rest. The learning rate is divided by 10 after 75 % of each stage.

Each variant is a run of its own, FOLDER/seed-S/VARIANT, with a record, so stages that are done with the same settings
are not repeated. To resume an interrupted ablation, run the same command again. Results: ablation.csv (means over the
seeds), differences.csv (the first variant less each other one, with intervals) and ablation.json (both).
"""

import copy
import dataclasses
import os
import pathlib
import shutil

import numpy as np

from data_prep import files
from data_prep.build.builder import build
from data_prep.sources.opening import reopen
from data_prep.spelling import suggestion
from data_prep.store import manifest
from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, comparison, results
from tools.evaluate.tables import show, write_csv
from tools.locking import HELD, locked
from tools.train import command, plan, stages
from tools.train.inputs import differences, inputs, last_iteration

# LMDBs with natural batches, a folder below the ablation's.
NATURAL = "natural_lmdb"
# Share of the budget for training task one before joint training.
ALONE = 5 / 8


@dataclasses.dataclass(frozen=True)
class Variant:
    """The differences of a variant from the default. stages: its training stages, of which the last is evaluated."""

    stages: tuple = ("region", "average", "cascade")
    network: dict = dataclasses.field(default_factory=dict)
    rectangles: str = None
    natural: bool = False


VARIANTS = {
    "cascade": Variant(),
    "task one alone": Variant(("region",)),
    "whole face": Variant(("whole_face",)),
    "no average region": Variant(network={"average_weight": 0.0}),
    "theoretical rectangles": Variant(rectangles="theoretical"),
    "whole map": Variant(rectangles="whole"),
    "rectangles of another attribute": Variant(rectangles="other"),
    "random rectangles": Variant(rectangles="random"),
    "linear L1": Variant(network={"l1": "linear"}),
    "no early stopping": Variant(network={"early_stopping_range": 0.0}),
    "natural batches": Variant(natural=True),
}


def schedule(variant, iterations):
    """Iterations of each training stage of a variant, dict stage -> iterations, whose sum is the budget."""
    trained = [name for name in variant.stages if name in record.TRAINED]
    if len(trained) == 1:
        return {trained[0]: iterations}
    first = round(ALONE * iterations)
    return {"region": first, "cascade": iterations - first}


def solver_changes(iterations):
    """The changed solver fields of a stage with a number of iterations: dict field -> text."""
    return {
        "max_iter": str(iterations),
        "stepsize": str(max(1, 3 * iterations // 4)),
        "snapshot": str(max(1, iterations // 4)),
        "test_interval": str(max(1, iterations // 4)),
        "test_iter": "5",
    }


class Ablation:
    """The runs of an ablation. folder: their parent; settings: record.Settings that all share; lmdb: their data."""

    def __init__(self, folder, lmdb, settings, iterations):
        self.folder, self.lmdb, self.settings, self.iterations = pathlib.Path(folder), lmdb, settings, iterations

    def run_of(self, name, seed, factor=1.0, trial=False):
        """The run of a variant: its record if there is one, with the settings that it must have now.

        factor: of the learning rates; trial: whether it is one of the search for them, in a folder of its own
        """
        variant = VARIANTS[name]
        folder = self.folder / (f"rate-{factor:g}" if trial else f"seed-{seed}") / name.replace(" ", "_")
        settings = copy.deepcopy(self.settings)
        settings.seed = seed
        settings.network.update(variant.network)
        settings.average.rectangles = variant.rectangles or settings.average.rectangles
        for stage, iterations in schedule(variant, self.iterations).items():
            settings.solver[stage] = {**solver_changes(iterations), **settings.solver.get(stage, {})}
        run = runs.Run.create(folder, self.folder / NATURAL if variant.natural else self.lmdb, settings)
        for stage in schedule(variant, self.iterations) if factor != 1 else ():
            rate = run.solver_fields(stage)["base_lr"] * factor
            run.settings.solver[stage]["base_lr"] = f"{rate:.6g}"
        if runs.Run.exists(folder):
            run.stages = runs.Run.read(folder).stages
        return run

    def make(self, name, seed, call, others, factor=1.0, trial=False):
        """Train and evaluate one variant; returns its Run. others: Runs whose finished stages it may share.

        A trial is evaluated on the validation split, others on the test split.
        """
        if VARIANTS[name].natural:
            natural_data(self.lmdb, self.folder / NATURAL)
        run = self.run_of(name, seed, factor, trial)
        rate = f", learning rates x {factor:g}" if trial or factor != 1 else ""
        print(f"\n{name}, seed {seed}{rate}: {run.folder}", flush=True)
        with locked(run.folder) as lock:
            # The folder belongs to this ablation: stages of other data, budgets or settings are repeated.
            for stage in plan.of_other_data(run):
                stages.clear(run, stage)
            for stage in VARIANTS[name].stages:
                share(run, stage, others)
                kept = stage in run.stages and not differences(run.stages[stage].inputs, inputs(run, stage))
                stages.train(run, [stage], dataclasses.replace(call, lock=lock), restart=not kept)
            split = ["--split", "val"] if trial else []
            stages.tool(run, call, ["evaluate", "--run", str(run.folder), *split])
        return runs.Run.read(run.folder)

    def search(self, names, seed, factors, call):
        """Try each variant with each factor of the learning rates: (dict variant -> best factor, rows, Runs made).

        The best one has the highest mean accuracy on the validation split, prior-corrected: thresholds tuned on
        the same faces would favour some by chance. rows: what was tried, list of dicts
        """
        chosen, rows, made = {}, [], []
        for name in names:
            scores = {}
            for factor in factors:
                run = self.make(name, seed, call, made, factor, trial=True)
                made.append(run)
                network = results.read(run.folder / "evaluation-val").networks[VARIANTS[name].stages[-1]]
                scores[factor] = results.rows(network, calibration.PRIOR_CORRECTED)[-1].accuracy.value
                rows.append({"variant": name, "learning rates x": factor, "validation accuracy": scores[factor]})
            chosen[name] = max(scores, key=scores.get)
        return chosen, rows, made


def share(run, stage, others):
    """Take over a stage that another run has finished with the same inputs; its weights are linked, not copied."""
    wanted = inputs(run, stage)
    if run.done(stage) and run.stages[stage].inputs == wanted:
        return
    for other in others:
        # The length of a training is not among its inputs, because it can be continued.
        long = stage == "average" or last_iteration(run, stage) == last_iteration(other, stage)
        if other.done(stage) and other.stages[stage].inputs == wanted and long:
            source = other.weights(stage)
            stages.clear(run, stage)
            target = run.folder / other.stages[stage].weights
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)
            if (source.parent / "train.log").exists():
                shutil.copyfile(source.parent / "train.log", target.parent / "train.log")
            run.stages[stage] = dataclasses.replace(other.stages[stage])
            if stage in record.TRAINED:
                stages.write_networks(run, [stage])
            run.write()
            print(f"{stage}: shared with {other.folder}", flush=True)
            return


def natural_data(lmdb, out):
    """Build LMDBs with natural batches from the data set that the manifest of an LMDB folder names.

    Raises ToolError when that data set is missing or has changed.
    """
    try:
        wanted = manifest.read(lmdb)
        if wanted.source is None:
            raise ToolError(f"{lmdb}: its manifest names no data set, so natural batches cannot be built from it")
        settings = dataclasses.replace(wanted.settings, sampling="natural", dropped=0)
        if manifest.exists(out):
            built = manifest.read(out)
            same = dataclasses.replace(built.settings, dropped=0) == settings
            if same and all(getattr(built, key) == getattr(wanted, key) for key in ("source", "attributes", "form")):
                return
            shutil.rmtree(out)  # built from other data or with other settings; the folder belongs to this ablation
        source = reopen(dataclasses.replace(wanted, settings=settings))
        build(source, out, wanted.attributes, wanted.form)
    except (ValueError, OSError) as error:
        raise ToolError(f"natural batches could not be built ({error}); leave out 'natural batches' with --variants")


def table(rows_of):
    """Rows of a dict variant -> list of Runs, one per seed: means over the seeds and standard deviations."""
    rows = []
    for name, made in rows_of.items():
        run = made[0]
        stage = VARIANTS[name].stages[-1]
        row = {"variant": name, "seeds": len(made), "images per attribute": run.stages[stage].images}
        row["images in all"] = run.stages[stage].images * len(run.attributes)
        networks = [results.read(one.place("evaluate")).networks[stage] for one in made]
        for decision in (calibration.PRIOR_CORRECTED, calibration.TUNED):
            means = [results.rows(network, decision)[-1] for network in networks]
            for measure in results.NAMES:
                values = np.array([getattr(mean, measure).value for mean in means], float)
                heading = measure.replace("_", " ")
                title = heading if measure == "average_precision" else f"{heading}, {decision}"
                row[title] = float(values.mean())
                row[f"{title}, spread"] = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def add_arguments(parser):
    """Add the options of `face-cascade ablation` to a parser."""
    command.add_run_arguments(parser, "build/ablation", "the runs of all variants and the tables")
    add = parser.add_argument
    add(
        "--iterations",
        type=int,
        default=2000,
        metavar="N",
        help="The mini-batches of each variant in all its stages together (default: 2000).",
    )
    add(
        "--seeds",
        default="1,2,3",
        metavar="S,S,...",
        help="The seeds of the initial weights, separated by commas (default: 1,2,3).",
    )
    add(
        "--variants",
        default=",".join(VARIANTS),
        metavar="NAMES",
        help=f"The variants to train, separated by commas, of: {', '.join(VARIANTS)} (default: all). The others are "
        "compared with the first.",
    )
    add(
        "--learning-rates",
        default="1",
        metavar="FACTORS",
        help="Factors of the solvers' learning rates to try for each variant with the first seed, separated by commas. "
        "The factor with the best accuracy on the validation split, prior-corrected, is used for all seeds "
        "(default: 1, no search).",
    )


def names_of(text):
    """The variants named in an option. Raises ToolError for an unknown name, or none."""
    names = list(dict.fromkeys(name.strip().replace("_", " ") for name in text.split(",") if name.strip()))
    for name in names:
        if name not in VARIANTS:
            raise ToolError(f"--variants: unknown variant {name!r}{suggestion(name, VARIANTS, 'variants')}")
    if not names:
        raise ToolError(f"--variants: give at least one; variants are {', '.join(VARIANTS)}")
    return names


def seeds_of(text):
    """The seeds named in an option. Raises ToolError unless they are whole numbers of at least 0."""
    try:
        seeds = list(dict.fromkeys(int(seed) for seed in text.split(",") if seed.strip()))
    except ValueError:
        raise ToolError(f"--seeds must be whole numbers separated by commas, not {text!r}")
    if not seeds or min(seeds) < 0:
        raise ToolError(f"--seeds must be whole numbers of at least 0, not {text!r}")
    return seeds


def factors_of(text):
    """The factors of the learning rates named. Raises ToolError."""
    try:
        factors = list(dict.fromkeys(float(word) for word in text.split(",") if word.strip()))
    except ValueError:
        factors = []
    if not factors or not all(0 < factor < 1e6 for factor in factors):
        raise ToolError(f"--learning-rates must be factors above 0 separated by commas, such as 0.5,1,2, not {text!r}")
    return factors


def run(arguments):
    """Run `face-cascade ablation`. Raises ToolError, OSError."""
    names, seeds = names_of(arguments.variants), seeds_of(arguments.seeds)
    factors = factors_of(arguments.learning_rates)
    if arguments.iterations < 8:
        raise ToolError(f"--iterations must be at least 8, not {arguments.iterations}")
    folder = pathlib.Path(arguments.run)
    pattern = runs.Run.create(folder, arguments.lmdb or "data/lmdb")
    call = command.apply(pattern, arguments)
    ablation = Ablation(folder, pattern.lmdb, pattern.settings, arguments.iterations)
    rows_of = {name: [] for name in names}
    with locked(folder):
        os.environ.pop(HELD, None)
        chosen, tried, trials = dict.fromkeys(names, factors[0]), [], []
        if len(factors) > 1:
            chosen, tried, trials = ablation.search(names, seeds[0], factors, call)
        for seed in seeds:
            others = list(trials)
            for name in names:
                made = ablation.make(name, seed, call, others, chosen[name])
                others.append(made)
                rows_of[name].append(made)
            # After each seed, so that an interruption leaves whole seeds.
            rows, differences = conclude(folder, rows_of, names[0])
            record_of = {"iterations": arguments.iterations, "seeds": seeds, "rows": rows, "differences": differences}
            files.write_json(folder / "ablation.json", {**record_of, "learning rates": tried})
    if tried:
        print("\nlearning rates tried, with the first seed; validation accuracy is prior-corrected")
        show(tried)
    print(f"\n{arguments.iterations} iterations per variant, {len(seeds)} seeds; thresholds tuned on validation")
    show(rows)
    if differences:
        print("\ndifferences, with 95 % intervals over resampled test and validation faces, and those of each seed")
        show(differences)
    print(f"{folder}: ablation.csv, differences.csv, ablation.json")
    return 0


def conclude(folder, rows_of, reference):
    """Write ablation.csv and differences.csv; returns the rows of both. reference: variant that others are held to."""
    rows = table(rows_of)
    write_csv(folder / "ablation.csv", rows)
    scored = {
        name: [comparison.scores_of(run, VARIANTS[name].stages[-1]) for run in made] for name, made in rows_of.items()
    }
    differences = comparison.rows(scored, reference)
    if differences:
        write_csv(folder / "differences.csv", differences)
    return rows, differences
