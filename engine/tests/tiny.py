"""A tiny net and its solver, and runs of the program `caffe`, of both engines, in a folder."""

import os
import signal
import subprocess
import sys

import pytest
from caffe import cli
from parity import BVLC_PYTHON

OURS = [sys.executable, "-m", "caffe.cli"]
THEIRS = [str(BVLC_PYTHON.with_name("caffe"))]
TRAIN = ["train", "-solver", "solver.prototxt"]
needs_bvlc = pytest.mark.skipif(not BVLC_PYTHON.exists(), reason="no BVLC Caffe in .caffe: make caffe")
# A snapshot at iteration 2, 4, 6; what a resumed training computes depends on weights and momentum alone.
SHORT = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 6 snapshot: 2 snapshot_prefix: "tiny"
random_seed: 1
"""
HDF5 = "snapshot_format: HDF5\n"
NET = """
name: "tiny"
layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
        data_filler { type: "constant" value: 0.7 } data_filler { type: "constant" value: 1 }
        shape { dim: 4 dim: 5 } shape { dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 3 weight_filler { type: "constant" value: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" loss_weight: 2 }
layer { name: "accuracy" type: "Accuracy" bottom: "y" bottom: "t" top: "accuracy" include { phase: TEST } }
layer { name: "prob" type: "Softmax" bottom: "y" top: "prob" include { phase: TRAIN } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 4 momentum: 0.9 max_iter: 6 display: 2
test_iter: 2 test_interval: 3 snapshot: 3 snapshot_prefix: "tiny" average_loss: 2 random_seed: 1 test_compute_loss: true
"""


def write(folder, solver=SOLVER, net=NET):
    """Write the prototxts into a folder."""
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(solver)


def run(command, folder, *arguments, stderr=subprocess.PIPE, log=0):
    """Run a command, OURS or THEIRS, to its end in a process of its own."""
    environment = dict(os.environ, GLOG_minloglevel=str(log), OMP_NUM_THREADS="1")
    return subprocess.run([*command, *arguments], stderr=stderr, text=True, cwd=folder, env=environment, timeout=200)


@pytest.fixture
def program(tmp_path, monkeypatch, capsys):
    """Runs the engine's program in this process, in tmp_path: (exit status, standard output, standard error)."""
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments, log=2):
        monkeypatch.setenv("GLOG_minloglevel", str(log))
        try:
            status = cli.main([*map(str, arguments)])
        except SystemExit as exit:
            status = exit.code
        output = capsys.readouterr()
        return status, output.out, output.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
