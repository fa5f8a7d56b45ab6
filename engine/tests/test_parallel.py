"""Several ranks on the CPU train like one process with a larger batch, and no other machine can reach them."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from caffe import model_file
from test_data_layers import raw, write

# The layer's state counts the passes from the rank's number on, and it notes the labels' mean, its own and over all.
LAYER = """
import json, os
import caffe

class Notes(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 100 * caffe.solver_rank()

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        mean = bottom[0].data.mean(keepdims=True)
        if self.phase == 0:
            self.blobs[0].data[...] += 1
            note = [float(self.blobs[0].data[0]), float(mean[0]), float(caffe.solver_mean(mean)[0])]
            with open(f"notes{caffe.solver_rank()}", "a") as file:
                file.write(json.dumps(note) + "\\n")
        top[0].data[...] = mean
"""
NET = """
layer {{ name: "data" type: "Data" top: "x" top: "t" transform_param {{ scale: 0.01 }}
        data_param {{ source: "{folder}/db" backend: LMDB batch_size: {batch} }} }}
layer {{ name: "notes" type: "Python" bottom: "t" top: "notes" param {{ lr_mult: 0 }}
        python_param {{ module: "notes" layer: "Notes" }} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {{
        num_output: 6 kernel_size: 3 group: 3 weight_filler {{ type: "gaussian" std: 0.2 }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "c" top: "c" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "c" top: "y" inner_product_param {{ num_output: 4
        weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }}
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.001 max_iter: 8 display: 1
snapshot: 3 snapshot_prefix: "p" random_seed: 1 test_iter: 1 test_interval: 4 clip_gradients: 5
"""
TRAIN = ["train", "-solver", "solver.prototxt"]
COMMANDS = {
    # What `-gpu 0,1` does, with ranks on the CPU.
    "launch": ["-c", "import sys; sys.path.insert(0, ''); from caffe import parallel; sys.exit(parallel.launch(2))"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "caffe.cli"],
}


def listening(process):
    """The addresses on which a process and its children listen."""
    inodes = set()
    children = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()
    for pid in (str(process), *children):
        for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir() if os.path.exists(f"/proc/{pid}") else ():
            try:
                inodes.add(os.readlink(descriptor))
            except OSError:
                continue
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                found.add(words[1].split(":")[0])
    return found


def prepare(folder, batch, notes=LAYER):
    folder.mkdir(exist_ok=True)
    (folder / "net.prototxt").write_text(NET.format(batch=batch, folder=folder.parent))
    (folder / "solver.prototxt").write_text(SOLVER)
    (folder / "notes.py").write_text(notes)


def parameters(folder):
    """The final parameters of a training: name -> array."""
    stored = model_file.read(folder / "p_iter_8.caffemodel")
    return {f"{name}{i}": a for name, found in stored for i, a in enumerate(found) if name != "notes"}


def train(folder, command, *arguments):
    """Train in a folder by two ranks; (final parameters, log, notes of each rank, addresses listened on)."""
    for path in folder.glob("notes[01]"):
        path.unlink()
    environment = dict(os.environ, GLOG_minloglevel="0", OMP_NUM_THREADS="1", PYTHONPATH=str(folder))
    with open(folder / "log", "w") as log:
        words = [sys.executable, *COMMANDS[command], *TRAIN, *arguments]
        process = subprocess.Popen(words, stderr=log, cwd=folder, env=environment)
        addresses = set()
        while process.poll() is None:
            addresses |= listening(process.pid)
            time.sleep(0.02)
    log = (folder / "log").read_text()
    assert process.returncode == 0, log[-3000:]
    notes = [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted(folder.glob("notes[01]"))]
    return parameters(folder), log, notes, addresses


@pytest.mark.parametrize(
    "command, shard", [("launch", "records"), pytest.param("torchrun", "batches", marks=pytest.mark.slow)]
)
def test_two_ranks_are_one_process_with_twice_the_batch(command, shard, program, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(24)]
    write(tmp_path / "db", [raw(image, number % 4) for number, image in enumerate(images)])
    prepare(tmp_path / "one", 8)
    prepare(tmp_path / "two", 4)
    monkeypatch.chdir(tmp_path / "one")
    status, _, log = program(*TRAIN, log=0)
    assert status == 0, log
    one = parameters(tmp_path / "one")
    two, both, notes, addresses = train(tmp_path / "two", command, "-shard", shard)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5 * abs(one[name]).max())
    # Rank 0 alone writes: every iteration is logged once, and snapshots and tests are there.
    for words in ("Iteration 5 (", "Snapshotting to binary", "Testing net", "Optimization Done."):
        assert both.count(words) == log.count(words) > 0, words
    # solver_mean is the mean of both ranks' own arrays, on both.
    for (_, first, mean), (_, second, same) in zip(*notes, strict=True):
        assert mean == same == pytest.approx((first + second) / 2)
    if command == "launch":
        assert addresses and addresses <= {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1, ::1
    # A training goes on from rank 0's snapshot, with its state on both ranks, and ends with the undisturbed one's
    # weights. The snapshot of iteration 3 is at an end of the data (3 x 8 of 24 records): there the data begin again.
    (tmp_path / "two/p_iter_8.caffemodel").unlink()
    arguments = "-shard", shard, "-snapshot", "p_iter_3.solverstate"
    again, _, notes, _ = train(tmp_path / "two", command, *arguments)
    for name in two:
        np.testing.assert_allclose(again[name], two[name], rtol=0, atol=1e-6 * abs(two[name]).max(), err_msg=name)
    # The ninth pass is that of the loss which both Caffes show at the end, when `display` divides max_iter.
    assert [[count for count, *_ in rank] for rank in notes] == [[4, 5, 6, 7, 8, 9]] * 2


def test_when_a_rank_fails_the_others_are_ended(tmp_path):
    write(tmp_path / "db", [raw(np.zeros((8, 8, 3), np.uint8))] * 8)
    fails = LAYER.replace(
        "        mean = bottom", "        if caffe.solver_rank(): raise ValueError('rank 1')\n        mean = bottom"
    )
    prepare(tmp_path / "two", 4, fails)
    words = [sys.executable, *COMMANDS["launch"], *TRAIN]
    environment = dict(os.environ, GLOG_minloglevel="2", OMP_NUM_THREADS="1")
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path / "two", env=environment, timeout=100)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: rank 1 (raised in layer 'notes'"), done.stderr
