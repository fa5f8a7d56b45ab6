"""Kill `make train` at random moments, start it again, and compare the weights with those of an undisturbed run.

    .venv/bin/python tests/robustness/kill_training.py --engine torch --form compact --kills 10

Some kills wait for a snapshot that is being written. Every kill is SIGKILL to make, the command and Caffe at once; the
same `make train` follows, with no flag. On the compact form the weights must be equal; Caffe's own Data layer
starts again at the first record, so on the stream form the training must only end.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from caffe import wire

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ATTRIBUTES = "Eyeglasses,Male"
SOLVER = "max_iter=12,snapshot=3,display=1,test_interval=6,test_iter=1,average_loss=1,base_lr=0.002"


def environment():
    """The environment without settings of a make that runs these tests."""
    drop = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    return {key: value for key, value in os.environ.items() if key not in drop}


def data(folder, form):
    """A small folder of LMDBs of synthetic faces."""
    python = [sys.executable, "-m"]
    faces = folder / "faces"
    if not faces.exists():
        words = ["--images", "60", "--seed", "4", "--prevalence", "Eyeglasses=0.4,Male=0.5"]
        subprocess.run([*python, "data_prep.synthetic.synthetic_faces", str(faces), *words], check=True, cwd=REPOSITORY)
    words = ["--out", str(folder / form), "--form", form, "--attributes", ATTRIBUTES, "--records", "40"]
    subprocess.run([*python, "tools.cli", "data", str(faces), *words], check=True, cwd=REPOSITORY)
    return folder / form


def start(lmdb, run, engine):
    """Start `make train` in a new session."""
    words = ["make", "train", f"LMDB={lmdb}", f"RUN={run}", f"SOLVER={SOLVER}", "BATCH=2", f"CAFFE={engine}"]
    words += ["GENERATE=--test-batch=6", "RECTANGLES=theoretical"]
    output = open(f"{run}.log", "ab")
    return subprocess.Popen(
        words, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=environment()
    )


def unfinished(run):
    """Names of unfinished files in a run: partial files, and weights without their solver state."""
    found = set()
    for stage in ("region", "cascade"):
        names = {path.name for path in [*run.glob(f"{stage}/.*"), *run.glob(f"{stage}/*")]}
        weights = {name[: -len(".caffemodel")] for name in names if name.endswith(".caffemodel")}
        found |= {f"{stage}/{name}" for name in names if name.endswith(".partial")}
        found |= {f"{stage}/{name}" for name in weights if f"{name}.solverstate" not in names}
    return found


def kill_sometime(process, run, rng, inside_snapshot, longest):
    """Kill all of a `make train` at a random moment, or while a snapshot is written.

    Returns whether it was alive, and whether a snapshot was being written. What an earlier kill left unfinished does
    not count: the training sweeps it away when it has started.
    """
    left = unfinished(run)
    until = time.monotonic() + (2 * longest if inside_snapshot else rng.uniform(0.5, longest))
    while process.poll() is None and time.monotonic() < until:
        if inside_snapshot and unfinished(run) - left:
            break
        time.sleep(0.001 if inside_snapshot else 0.05)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive, alive and bool(unfinished(run) - left)


def finish(lmdb, run, engine):
    """Let `make train` run to its end. Raises AssertionError with its log where it fails."""
    process = start(lmdb, run, engine)
    assert process.wait() == 0, pathlib.Path(f"{run}.log").read_text()[-3000:]


def weights(run):
    """All arrays of the final weights of both stages, by name."""
    arrays = {}
    for stage in ("region", "cascade"):
        for name, blobs in wire.read_weights(run / stage / f"{stage}_iter_12.caffemodel"):
            arrays.update({f"{stage} {name}[{index}]": blob for index, blob in enumerate(blobs)})
    return arrays


def compare(straight, disturbed):
    """Names of the arrays that differ between two runs."""
    first, second = weights(straight), weights(disturbed)
    assert first.keys() == second.keys()
    return [name for name in first if not np.array_equal(first[name], second[name])]


def run(folder, engine, form, kills, seed=0, longest=12.0):
    """An undisturbed run and killed ones; returns (kills, those while a snapshot was written, names that differ)."""
    lmdb, rng = data(folder, form), random.Random(seed)
    straight = folder / f"straight {engine} {form}"
    finish(lmdb, straight, engine)
    hits, inside_hits, differing, number = 0, 0, [], 0
    while hits < kills:
        disturbed = folder / f"killed {engine} {form} {number}"
        number += 1
        while hits < kills:
            process = start(lmdb, disturbed, engine)
            alive, inside = kill_sometime(process, disturbed, rng, hits % 2 == 1, longest)
            if not alive:
                break  # it ended before the kill: the next kills are for another run
            hits, inside_hits = hits + 1, inside_hits + inside
        finish(lmdb, disturbed, engine)
        differing += compare(straight, disturbed)
    return hits, inside_hits, differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--engine", choices=("bvlc", "torch"), default="torch", help="The Caffe to train with (default: torch).")
    add(
        "--form",
        choices=("compact", "stream"),
        default="compact",
        help="The form of the training data (default: compact).",
    )
    add("--kills", type=int, default=10, metavar="N", help="The number of kills (default: 10).")
    add("--seed", type=int, default=0, help="The seed of the random moments (default: 0).")
    add(
        "--longest",
        type=float,
        default=12.0,
        metavar="SECONDS",
        help="The longest time in seconds from a start to its kill (default: 12).",
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(pathlib.Path(folder), given.engine, given.form, given.kills, given.seed, given.longest)
    hits, inside, differing = found
    words = f"{hits} kills, {inside} of them while a snapshot was written, {len(differing)} arrays differ"
    print(f"{given.engine}, {given.form}: {words} {differing[:3]}")
    sys.exit(1 if given.form == "compact" and differing else 0)


if __name__ == "__main__":
    main()
