"""The command line as a user runs it."""

import pathlib
import subprocess
import sys

from data_prep import start

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# What the small run of conftest.py is trained for.
ATTRIBUTES = ["Eyeglasses", "Male"]
# Enough iterations for two snapshots, far too few to learn anything.
SOLVER = "max_iter=4,snapshot=2,display=1,test_interval=2,test_iter=1,average_loss=1,base_lr=0.002"


def train_words(lmdb, run):
    """Options of `face-cascade train` for a run of seconds on the engine."""
    options = ["--lmdb", lmdb, "--run", run, "--batch", 2, "--width", "1/16", "--caffe", "torch", "--test-batch", 6]
    return [*options, "--rectangles", "theoretical", f"--solver={SOLVER}"]


def face_cascade(*words, **options):
    """Run the command line: a CompletedProcess with its output as text."""
    options = {"cwd": REPOSITORY, "capture_output": True, "text": True, **options}
    return subprocess.run(start.command(sys.executable, "tools.cli", *words), **options)
