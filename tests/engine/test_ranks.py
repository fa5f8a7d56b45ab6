"""Early stopping with several ranks: all decide by the mean of their losses.

engine/tests/test_parallel.py shows that a Python layer's state is resumed on all ranks.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# The loss of each attribute in mini-batch 0, 1, ... of rank 0 and of rank 1. Alone they would decide otherwise: rank 0
# would stop the first attribute in mini-batches 2, 3 and 5 and the second from 2 on, rank 1 the first in 3, 4 and 5.
LOSSES = [
    [[0.20, 0.24, 0.10, 0.10, 0.30, 0.10], [0.10, 0.10, 0.09, 0.09, 0.09, 0.09]],
    [[0.20, 0.24, 0.40, 0.10, 0.20, 0.20], [0.90, 0.90, 0.90, 0.90, 0.90, 0.90]],
]
# By hand: the first attribute's mean losses are .20 .24 .25 .10 .25 .15. Epsilon is .22, the mean of the first two, and
# mini-batches 3 and 5 are below it. The second one's mean is .5, above the ceiling, half of ln 2: it has no epsilon.
TRAINING = [[1, 1], [1, 1], [1, 1], [0, 1], [1, 1], [0, 1]]
LAYERS = f"""
import json
import caffe
import numpy as np

LOSSES = {LOSSES}

class Scores(caffe.Layer):
    "Scores (2, A) whose loss with the label 1 is this rank's next one."
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 0
    def reshape(self, bottom, top):
        for blob in top:
            blob.reshape(2, 2)
    def forward(self, bottom, top):
        number = int(self.blobs[0].data[0])
        losses = np.array(LOSSES[caffe.solver_rank()])[:, min(number, 5)]
        top[0].data[...] = -np.log(np.expm1(losses))
        top[1].data[...] = 1
        self.blobs[0].data[...] += 1

class Notes(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top):
        with open(f"notes{{caffe.solver_rank()}}", "a") as file:
            file.write(json.dumps([int(value) for value in bottom[0].data]) + "\\n")
"""
NET = """
layer { name: "scores" type: "Python" top: "s" top: "t" param { lr_mult: 0 }
        python_param { module: "rank_layers" layer: "Scores" } }
layer { name: "bias" type: "Bias" bottom: "s" top: "b" }
layer { name: "early_stopping" type: "Python" bottom: "b" bottom: "t" top: "e" top: "count" top: "each"
        param { lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 }
        python_param { module: "python_layers.early_stopping" layer: "EarlyStopping"
                       param_str: '{"window": 2, "range": 1}' } }
layer { name: "notes" type: "Python" bottom: "each" python_param { module: "rank_layers" layer: "Notes" } }
layer { name: "silence" type: "Silence" bottom: "count" }
layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "e" bottom: "t" top: "loss" }
"""
SOLVER = """
train_net: "net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 6 display: 0 snapshot_prefix: "p"
"""
# What `-gpu 0,1` does, with ranks on the CPU.
LAUNCH = "import sys; from caffe import parallel; sys.exit(parallel.launch(2))"


def test_early_stopping_is_decided_alike_on_all_ranks(tmp_path):
    from caffe import model_file

    for name, text in (("rank_layers.py", LAYERS), ("net.prototxt", NET), ("solver.prototxt", SOLVER)):
        (tmp_path / name).write_text(text)
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "engine", tmp_path)))
    environment = dict(os.environ, OMP_NUM_THREADS="1", GLOG_minloglevel="2", PYTHONPATH=paths)
    command = [sys.executable, "-c", LAUNCH, "train", "-solver", "solver.prototxt"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        lines = (tmp_path / f"notes{rank}").read_text().splitlines()
        assert [json.loads(line) for line in lines] == TRAINING
    # Epsilon, mini-batches observed, mini-batches stopped.
    state = dict(model_file.read(tmp_path / "p_iter_6.caffemodel"))["early_stopping"][1]
    np.testing.assert_allclose(state, [[0.22, 6, 2], [0, 6, 0]], rtol=1e-5)
