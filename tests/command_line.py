"""What tests of the command line share."""

import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# What the small run of conftest.py is trained for.
ATTRIBUTES = ["Eyeglasses", "Male"]
# Enough iterations for two snapshots, far too few to learn anything.
SOLVER = "max_iter=4,snapshot=2,display=1,test_interval=2,test_iter=1,average_loss=1,base_lr=0.002"


def train_words(lmdb, run):
    """What follows `face-cascade train` for task one of a run of seconds on the engine."""
    options = ["--lmdb", lmdb, "--run", run, "--batch", 2, "--width", "1/16", "--caffe", "torch", "--test-batch", 6]
    return list(map(str, ["region", *options, f"--solver={SOLVER}"]))
