"""Databases and trained networks for the tests on a real Caffe; its start-up log is suppressed."""

import os
import pathlib
import sys

os.environ["GLOG_minloglevel"] = "2"  # before any test imports Caffe
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))  # helpers that other tests have, too

import pytest  # noqa: E402
from noise import write_noise  # noqa: E402
from shared import ATTRIBUTES, BATCHES, ENGINE, B, caffe_train  # noqa: E402

from data_prep.store import manifest  # noqa: E402
from models import generate, solvers  # noqa: E402
from models.options import NETWORKS, NetworkOptions  # noqa: E402
from tools import cli  # noqa: E402

# Caffe's reader of prototxts finds databases, nets and snapshots at such a path, too.
ODD = """a "b" 'c' \\d é"""


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A folder for Caffe's own commands, with an early stopping that acts within a few iterations.

    Its lmdb has databases of noise: positives brighter than negatives.
    """
    folder = tmp_path_factory.mktemp("run") / ODD
    (folder / "lmdb").mkdir(parents=True)
    write_noise(folder / "lmdb", len(ATTRIBUTES), BATCHES * B, [[0, 1], [1, 0], [1, 1], [0, 0], [1, 1]])
    manifest.write(folder / "lmdb", manifest.Manifest(ATTRIBUTES, form="stream"))
    options = NetworkOptions(ATTRIBUTES, folder / "lmdb", "stream", batch=B, test_batch=5, width=1 / 16)
    changes = f"max_iter=6,snapshot={BATCHES},display=1,test_interval=6,test_iter=1,average_loss=1"
    generate.write(folder, options, solvers.parse_changes(changes), places=generate.in_repository)
    for net in NETWORKS:
        path = folder / "models" / net / "train_val.prototxt"
        text = path.read_text()
        assert '"range": 0.1' in text
        path.write_text(text.replace('"range": 0.1', '"window": 2, "range": 10, "ceiling": 1'))
    return folder


def trained(folder, net):
    done = caffe_train("-solver", f"solver/{net}.prototxt", folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / f"build/{net}.log").write_text(done.stderr)
    return folder / f"build/{net}_iter_6.caffemodel"


@pytest.fixture(scope="session")
def region_weights(run_folder):
    """Weights of task one after six iterations."""
    return trained(run_folder, "region")


@pytest.fixture(scope="session")
def start(run_folder, region_weights):
    """Weights of task one with measured regions: what the cascade is trained from."""
    words = ["--caffe", ENGINE, "--run", str(run_folder), "--min-firings", "1", "--faces", "6"]
    assert cli.main(["average", *words]) == 0
    return run_folder / "build/average.caffemodel"


@pytest.fixture(scope="session")
def cascade_weights(run_folder, start):
    """Weights of the cascade after six iterations."""
    return trained(run_folder, "cascade")
