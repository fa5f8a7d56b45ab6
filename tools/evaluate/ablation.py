"""Train and compare the variants of the method under one budget, over several seeds; resumable.

    .venv/bin/python -m tools.evaluate.ablation --lmdb data/lmdb --out build/ablation --iterations 2000 --seeds 1,2,3

Variants: the cascade as it is; task one alone; whole face; the cascade without the average region, with theoretical
rectangles, with the linear form of eq. 1, without early stopping, on natural instead of balanced batches (the data of
--lmdb is prepared once more for these, from where its manifest says it came). Every stage gets the same number of
iterations. A step that has ended is not run again: after a stop the same command goes on with the step it was in, from
that step's start. Written to OUT: ablation.csv and ablation.json, means and spread over seeds; OUT/seed-S/VARIANT holds
the runs.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from data_prep.store import manifest
from tools.evaluate.tables import show, write_csv

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Folder of the natural batches, below OUT.
NATURAL = "natural_lmdb"
# start: the variant whose task one the cascade starts from; stage: the last one, which is evaluated
Variant = collections.namedtuple("Variant", "stage start settings")
VARIANTS = {
    "cascade": Variant("cascade", "cascade", {}),
    "task one alone": Variant("region", "cascade", {}),
    "whole face": Variant("whole_face", None, {}),
    "no average region": Variant("cascade", "cascade", {"GENERATE": "--average-weight=0"}),
    "theoretical rectangles": Variant("cascade", "cascade", {"RECTANGLES": "theoretical"}),
    "linear L1": Variant("cascade", "linear L1", {"GENERATE": "--l1=linear"}),
    "no early stopping": Variant("cascade", "no early stopping", {"GENERATE": "--early-stopping-range=0"}),
    "natural batches": Variant("cascade", "natural batches", {"LMDB": NATURAL}),
}
MEASURES = ("accuracy", "balanced", "f1", "average_precision")


class StepError(Exception):
    """A step that failed."""


def run_make(target, settings):
    """One of the Makefile's steps. Raises StepError."""
    command = ["make", "--no-print-directory", target, *(f"{key}={value}" for key, value in settings.items())]
    print("+ " + " ".join(f"'{word}'" if " " in word else word for word in command), flush=True)
    # Logs are kept and shown, though the tools themselves silence Caffe.
    environment = {**os.environ, "GLOG_minloglevel": "0"}
    if subprocess.run(command, cwd=str(REPOSITORY), env=environment).returncode:
        raise StepError(f"make {target} failed for {settings['RUN']}; the same command goes on from here")


def natural_build(lmdb):
    """What `make lmdb` is to be given so that it makes a folder of LMDBs again, with natural batches: dict.

    Raises OSError, ValueError for a folder without a manifest.
    """
    told = manifest.read(lmdb)
    source, chosen = told["source"], told["settings"]
    build = ["--sampling natural", f"--seed {chosen['seed']}", f"--encoding {chosen['encoding']}"]
    build += [f"--shards {chosen['shards']}", *(["--convert"] if chosen["convert"] else [])]
    build += [f"--{name} {value}" for name, value in source["options"].items() if name != "seed" and value is not None]
    build += ["--drop-duplicates"] if chosen["dropped"] else []
    return {
        {"celeba": "CELEBA", "lfwa": "LFWA"}[source["kind"]]: source["path"],
        "FORM": told["form"],
        "ATTRIBUTES": ",".join(told["attributes"]),
        "RECORDS": chosen["records"],
        "AUGMENT": chosen["augment"],
        "BUILD": " ".join(build),
    }


class Ablation:
    """All steps. out, lmdb: folders; solver: dict of changes to the solvers; caffe, train: as of the Makefile."""

    def __init__(self, out, lmdb, solver, batch=4, caffe="auto", train="", make=run_make):
        self.out, self.lmdb, self.solver, self.make = pathlib.Path(out), lmdb, solver, make
        self.shared = {"LMDB": str(lmdb), "BATCH": str(batch), "CAFFE": caffe}
        self.train = train

    def folder(self, name, seed):
        return self.out / f"seed-{seed}" / name.replace(" ", "_")

    def settings(self, name, seed):
        solver = {"random_seed": seed, **self.solver}
        words = ",".join(f"{field}={value}" for field, value in solver.items())
        found = {**self.shared, **VARIANTS[name].settings, "RUN": str(self.folder(name, seed)), "SOLVER": words}
        if "LMDB" in VARIANTS[name].settings:
            found["LMDB"] = str(self.out / found["LMDB"])
        return found

    def step(self, name, seed, target, **more):
        """Run a step of the Makefile for a variant unless it has ended before."""
        mark = self.folder(name, seed) / f".{target}.done"
        if not mark.exists():
            self.make(target, {**self.settings(name, seed), **more})
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def task_one(self, name, seed):
        """Task one of a variant: trained, or linked from the variant it shares it with."""
        start = VARIANTS[name].start
        self.step(start, seed, "train-region", TRAIN=self.train)
        if start != name:
            self.step(name, seed, "nets")
            self.link(start, name, seed, "region")

    def average(self, name, seed):
        """Average region of a variant: measured, or linked from the variant it shares task one and rectangles with."""
        start, settings = VARIANTS[name].start, VARIANTS[name].settings
        if start == name or "RECTANGLES" in settings:
            self.step(name, seed, "average")
        else:
            self.step(start, seed, "average")
            self.link(start, name, seed, ".")

    def link(self, start, name, seed, place):
        """Link the weights in a folder of one variant's run into the same folder of another's."""
        for path in (self.folder(start, seed) / place).glob("*.caffemodel"):
            link = self.folder(name, seed) / place / path.name
            if not link.exists():
                os.link(str(path), str(link))

    def variant(self, name, seed):
        """Train and evaluate one variant; its means over attributes, thresholds tuned on validation."""
        stage, run = VARIANTS[name].stage, self.folder(name, seed)
        if "LMDB" in VARIANTS[name].settings and not manifest.exists(self.out / NATURAL):
            self.make("lmdb", {**natural_build(self.lmdb), "LMDB": str(self.out / NATURAL), "RUN": str(run)})
        if stage == "whole_face":
            self.step(name, seed, "train-whole-face", TRAIN=self.train)
        else:
            self.task_one(name, seed)
        if stage == "cascade":
            self.average(name, seed)
            self.step(name, seed, "train-cascade", TRAIN=self.train)
        weights = max((run / stage).glob("*.caffemodel"), key=os.path.getmtime, default=None)
        self.step(name, seed, "evaluate", WEIGHTS=f"{stage}={weights}")
        told = json.loads((run / "evaluation/evaluation.json").read_text())["weights"][stage]["accuracy"]
        return [row for row in told if row["attribute"] == "mean" and row["rule"] == "tuned"][-1]


def table(found):
    """Rows of a dict variant -> list of mean rows, one per seed: mean and standard deviation over seeds."""
    rows = []
    for name, means in found.items():
        row = {"variant": name, "seeds": len(means)}
        for measure in MEASURES:
            values = np.array([mean[measure] for mean in means])
            row[measure] = float(values.mean())
            row[f"{measure} spread"] = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def run(ablation, variants, seeds):
    """Everything, seed by seed, so that a stop leaves whole seeds; the table after each is written and returned."""
    found = {name: [] for name in variants}
    for seed in seeds:
        for name in variants:
            found[name].append(ablation.variant(name, seed))
        rows = table(found)
        (ablation.out / "ablation.json").write_text(json.dumps({"seeds": seeds, "rows": rows}, indent=1) + "\n")
        write_csv(ablation.out / "ablation.csv", rows)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--lmdb", default="data/lmdb", help="folder of the LMDBs (default data/lmdb)")
    add("--out", default="build/ablation", help="folder to write to (default build/ablation)")
    add("--iterations", type=int, default=2000, help="of every stage (default 2000)")
    add("--seeds", default="1,2,3", help="comma-separated (default 1,2,3)")
    add("--variants", default=",".join(VARIANTS), help="comma-separated (default all)")
    add("--batch", type=int, default=4, help="b, images per attribute and batch (default 4)")
    add("--caffe", default="auto", help="which Caffe, as of make (default auto)")
    add("--train", default="", help="more options of caffe train, e.g. '-gpu 0'")
    arguments = parser.parse_args()
    variants, seeds = arguments.variants.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        sys.exit(f"error: no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    iterations = arguments.iterations
    solver = {"max_iter": iterations, "stepsize": max(1, 2 * iterations // 3), "snapshot": 0}
    solver.update(test_interval=max(1, iterations // 4), test_iter=5)
    ablation = Ablation(arguments.out, arguments.lmdb, solver, arguments.batch, arguments.caffe, arguments.train)
    try:
        rows = run(ablation, variants, seeds)
    except (StepError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; the same command goes on with the step that was running")
    print(f"\n{iterations} iterations per stage, {len(seeds)} seeds; thresholds tuned on validation")
    show(rows)
    print(f"{ablation.out}: ablation.csv, ablation.json")


if __name__ == "__main__":
    main()
