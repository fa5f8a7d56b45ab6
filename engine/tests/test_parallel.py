"""Several ranks on the CPU train like one process with a larger batch, and no other machine can reach them."""

import json
import sys

import numpy as np
import pytest
from caffe import model_file
from parity import compare
from test_data_layers import raw, write
from tiny import TRAIN, run

# Its state counts the passes. It notes the labels' mean, its own and over all ranks, and the addresses on which this
# process and the one that started it listen. Rank 1 gets a SIGHUP in pass 2, and `caffe` a Ctrl-C in pass 3.
LAYER = """
import glob, json, os, signal
import caffe

def listening():
    links = [link for process in ("self", os.getppid()) for link in glob.glob(f"/proc/{process}/fd/*")]
    sockets = {os.path.basename(os.path.realpath(link)) for link in links}
    for table in ("tcp", "tcp6"):
        for line in open(f"/proc/net/{table}").readlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                yield words[1].split(":")[0]

class Notes(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 100 * caffe.solver_rank()
        if self.param_str and self.phase == 0:
            self.signals, end = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(end, False)
            signal.set_wakeup_fd(end)

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = mean = bottom[0].data.mean(keepdims=True)
        if self.phase == 1:
            return
        self.blobs[0].data[...] += 1
        count, rank = int(self.blobs[0].data[0]), caffe.solver_rank()
        with open(f"notes{rank}", "a") as file:
            note = [count, float(mean[0]), float(caffe.solver_mean(mean)[0]), sorted(set(listening()))]
            file.write(json.dumps(note) + "\\n")
        if self.param_str and (count, rank) == (2, 1):
            os.kill(os.getpid(), signal.SIGHUP)
            os.read(self.signals, 1)
        if self.param_str and count == 3:
            if rank == 0:
                os.kill(os.getppid(), signal.SIGINT)
            os.read(self.signals, 1)  # until it has come
"""
NET = """
layer {{ name: "data" type: "Data" top: "x" top: "t" transform_param {{ scale: 0.01 }}
        data_param {{ source: "../db" backend: LMDB batch_size: {batch} }} }}
layer {{ name: "notes" type: "Python" bottom: "t" top: "notes" param {{ lr_mult: 0 }}
        python_param {{ module: "notes" layer: "Notes" param_str: "{signals}" }} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {{
        num_output: 6 kernel_size: 3 group: 3 weight_filler {{ type: "gaussian" std: 0.2 }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "c" top: "c" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "c" top: "y" inner_product_param {{ num_output: 4
        weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }}
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.001 max_iter: 8 display: 1
snapshot_prefix: "p" random_seed: 1 test_iter: 1 test_interval: 4 clip_gradients: 5
"""
# What `-gpu 0,1` does, with ranks on the CPU.
LAUNCH = [sys.executable, "-c", "import sys; from caffe import parallel; sys.exit(parallel.launch(2))"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "caffe.cli"]


def prepare(folder, batch, signals="", layer=LAYER):
    folder.mkdir(exist_ok=True)
    (folder / "net.prototxt").write_text(NET.format(batch=batch, signals=signals))
    (folder / "solver.prototxt").write_text(SOLVER)
    (folder / "notes.py").write_text(layer)


def parameters(folder):
    """The final parameters of a training: name -> array."""
    stored = model_file.read(folder / "p_iter_8.caffemodel")
    return {f"{name}{i}": a for name, found in stored for i, a in enumerate(found) if name != "notes"}


def ranks(folder, command, *arguments, status=0):
    """Train in a folder by two ranks; (log, notes of each rank)."""
    done = run(command, folder, *TRAIN, *arguments)
    assert done.returncode == status, done.stderr[-3000:]
    notes = [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted(folder.glob("notes[01]"))]
    return done.stderr, notes


@pytest.fixture
def one(tmp_path, program, monkeypatch):
    """(log, final parameters) of a training by one process, and a folder `two` with the nets for half the batch."""
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    write(tmp_path / "db", [raw(image, number % 4) for number, image in enumerate(images)])
    prepare(tmp_path / "one", 8)
    prepare(tmp_path / "two", 4)
    monkeypatch.chdir(tmp_path / "one")
    status, _, log = program(*TRAIN, log=0)
    assert status == 0, log
    return log, parameters(tmp_path / "one")


def test_two_ranks_are_one_process_with_twice_the_batch(one, tmp_path):
    """Also where they are stopped and go on from rank 0's snapshot, at an end of the data, where these begin again."""
    log, expected = one
    prepare(tmp_path / "two", 4, "signals")
    first, _ = ranks(tmp_path / "two", LAUNCH)
    assert "Optimization stopped early." in first
    # Both ranks act on one rank's signal, and on a signal to `caffe`, in the iteration in which it comes.
    states = {path.name for path in tmp_path.glob("two/*.solverstate")}
    assert states == {"p_iter_2.solverstate", "p_iter_3.solverstate"}
    prepare(tmp_path / "two", 4)
    second, notes = ranks(tmp_path / "two", LAUNCH, "-snapshot", "p_iter_3.solverstate")
    compare(parameters(tmp_path / "two"), expected, forward=1e-5)
    # Rank 0 alone writes: every iteration is logged once, and tests and snapshots are there.
    for words in ("Iteration 2 (", "Iteration 5 (", "Testing net"):
        assert (first + second).count(words) == log.count(words) > 0, words
    # The layer has rank 0's state on both ranks. The ninth pass is that of the loss which both Caffes show at the end,
    # when `display` divides max_iter.
    assert [[count for count, *_ in rank] for rank in notes] == [[*range(1, 10)]] * 2
    for (_, own, mean, addresses), (_, other, same, more) in zip(*notes, strict=True):
        assert mean == same == pytest.approx((own + other) / 2)
        assert {*addresses, *more} <= {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1, ::1
    assert notes[0][0][-1] and notes[1][0][-1]


@pytest.mark.slow
def test_torchrun_and_batches_read_alternately(one, tmp_path):
    ranks(tmp_path / "two", TORCHRUN, "-shard", "batches")
    compare(parameters(tmp_path / "two"), one[1], forward=1e-5)


def test_when_a_rank_fails_the_others_are_ended(tmp_path):
    write(tmp_path / "db", [raw(np.zeros((8, 8, 3), np.uint8))] * 8)
    fails = "        if caffe.solver_rank(): raise ValueError('rank 1')\n        top[0].data[...] = mean"
    prepare(tmp_path / "two", 4, layer=LAYER.replace("        top[0].data[...] = mean", fails))
    log, _ = ranks(tmp_path / "two", LAUNCH, status=1)
    assert "\nerror: rank 1 (raised in layer 'notes'" in log
