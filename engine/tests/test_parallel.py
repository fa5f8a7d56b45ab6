"""Two ranks on the CPU train like one process with twice the batch."""

import os
import subprocess
import sys

import numpy as np
import pytest
from caffe import model_file
from test_data_layers import raw, write

NET = """
layer {{ name: "data" type: "Data" top: "x" top: "t" transform_param {{ scale: 0.01 }}
        data_param {{ source: "{source}" backend: LMDB batch_size: {batch} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {{
        num_output: 6 kernel_size: 3 group: 3 weight_filler {{ type: "gaussian" std: 0.2 }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "c" top: "c" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "c" top: "y" inner_product_param {{ num_output: 4
        weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }}
"""
SOLVER = """
net: "{net}" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.001 max_iter: 8 display: 1 snapshot: 3
snapshot_prefix: "{prefix}" random_seed: 1 test_iter: 1 test_interval: 4 clip_gradients: 5
"""


def train(folder, ranks, batch, *arguments):
    (folder / "net.prototxt").write_text(NET.format(source=folder.parent / "db", batch=batch))
    text = SOLVER.format(net=folder / "net.prototxt", prefix=folder / "p")
    (folder / "solver.prototxt").write_text(text)
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += ["-m", "caffe.cli", "train", "-solver", folder / "solver.prototxt", *arguments]
    environment = dict(os.environ, GLOG_minloglevel="0", OMP_NUM_THREADS="1")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    arrays = {
        f"{name}{i}": a for name, found in model_file.read(folder / "p_iter_8.caffemodel") for i, a in enumerate(found)
    }
    return arrays, done.stderr


@pytest.mark.parametrize("shard", ("records", "batches"))
def test_two_ranks_are_one_process_with_twice_the_batch(shard, tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(24)]
    write(tmp_path / "db", [raw(image, number % 4) for number, image in enumerate(images)])
    results = []
    for ranks, batch in ((1, 8), (2, 4)):
        (tmp_path / str(ranks)).mkdir()
        results.append(train(tmp_path / str(ranks), ranks, batch, "-shard", shard))
    (one, log), (two, both) = results
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5 * abs(one[name]).max())
    # Rank 0 alone writes: every iteration is logged once, and snapshots and tests are there.
    for words in ("Iteration 5 (", "Snapshotting to binary", "Testing net", "Optimization Done."):
        assert both.count(words) == log.count(words) > 0, words
    # An interrupted training goes on from rank 0's snapshot and ends with the undisturbed one's weights. The snapshot
    # of iteration 3 is at an end of the data (3 x 8 of 24 records): there the resumed data layer begins again.
    final = tmp_path / "2/p_iter_8.caffemodel"
    final.unlink()
    again, _ = train(tmp_path / "2", 2, 4, "-shard", shard, "-snapshot", tmp_path / "2/p_iter_3.solverstate")
    assert again.keys() == two.keys()
    for name in two:
        np.testing.assert_allclose(again[name], two[name], rtol=0, atol=1e-6 * abs(two[name]).max(), err_msg=name)
