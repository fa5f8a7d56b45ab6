"""The program `caffe` beside a real one: log lines, exit codes, signals, errors in one line."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from parity import REPOSITORY

OURS = [sys.executable, "-m", "caffe.cli"]
THEIRS = [str(REPOSITORY / ".caffe/bin/caffe")]

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


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def run(command, folder, *arguments, **environment):
    environment = dict(os.environ, GLOG_minloglevel="0", OMP_NUM_THREADS="1", **environment)
    command = [*command, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


# What Caffe's own tools/extra/parse_log.py and extract_seconds.py look for.
PATTERNS = {
    "iteration": r"Iteration (\d+)",
    "train": r"Train net output #(\d+): (\S+) = ([\.\deE+-]+)",
    "test": r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)",
    "rate": r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)",
    "head": r"^[IWEF](\d{2})(\d{2}) (\d{2}):(\d{2}):(\d{2})\.(\d{6})\s+\d+ \S+:\d+\] ",
}
# The real Caffe's first rate of a resumed training is 0 / 0 where its clock has not moved.
SPEED = re.compile(r"\((?:[-+.\de]+|-?nan|inf) iter/s, [-+.\de]+s/(\d+) iters\)")
SHOWN = re.compile(
    r"^(Solving|Learning|Iteration|    T|Test loss|Snapshotting|Restoring|Resuming|Optim|Starting|Use CPU)"
)


def lines(log):
    """The messages of a log that parsers read, times and speeds left out."""
    found = [re.sub(PATTERNS["head"], "", line) for line in log.splitlines() if re.match(PATTERNS["head"], line)]
    return [SPEED.sub(r"(R iter/s, Ss/\1 iters)", line) for line in found if SHOWN.match(line)]


def agree(ours, theirs):
    """Assert that lines are the same, their numbers to five digits."""
    number = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:e[-+]\d+)?")
    assert [number.sub("#", line) for line in ours] == [number.sub("#", line) for line in theirs]
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(
            [float(n) for n in number.findall(a)], [float(n) for n in number.findall(b)], rtol=1e-4, err_msg=f"{a}\n{b}"
        )


def test_train_writes_the_log_of_a_real_caffe(folder):
    ours = run(OURS, folder, "train", "-solver", "solver.prototxt")
    assert ours.returncode == 0, ours.stderr
    for name in ("tiny_iter_3.caffemodel", "tiny_iter_6.caffemodel", "tiny_iter_6.solverstate"):
        (folder / name).unlink()
    theirs = run(THEIRS, folder, "train", "--solver=solver.prototxt")
    agree(lines(ours.stderr), lines(theirs.stderr))
    assert len(lines(ours.stderr)) > 40
    for pattern in PATTERNS.values():
        assert re.search(pattern, ours.stderr, re.M)


def test_resuming_writes_the_log_of_a_real_caffe(folder):
    assert run(THEIRS, folder, "train", "-solver", "solver.prototxt").returncode == 0
    text = SOLVER.replace("max_iter: 6", "max_iter: 8")
    (folder / "solver.prototxt").write_text(text)
    logs = [
        run(command, folder, "train", "-solver", "solver.prototxt", "-snapshot", "tiny_iter_6.solverstate")
        for command in (OURS, THEIRS)
    ]
    assert [log.returncode for log in logs] == [0, 0]
    agree(*(lines(log.stderr) for log in logs))
    assert "Resuming from tiny_iter_6.solverstate" in logs[0].stderr


def test_finetuning_from_several_files(folder):
    run(OURS, folder, "train", "-solver", "solver.prototxt")
    done = run(
        OURS, folder, "train", "-solver", "solver.prototxt", "-weights", "tiny_iter_3.caffemodel,tiny_iter_6.caffemodel"
    )
    assert done.returncode == 0 and done.stderr.count("Finetuning from tiny_iter") == 2


def test_test_and_time_print_what_a_real_caffe_prints(folder):
    run(OURS, folder, "train", "-solver", "solver.prototxt")
    arguments = ["test", "-model", "net.prototxt", "-weights", "tiny_iter_6.caffemodel", "-iterations", "2"]
    heads = re.compile(r"^(Batch|Loss|loss|accuracy|Running)")
    logs = []
    for command in (OURS, THEIRS):
        done = run(command, folder, *arguments)
        assert done.returncode == 0, done.stderr
        found = [re.sub(PATTERNS["head"], "", line) for line in done.stderr.splitlines()]
        logs.append([line for line in found if heads.match(line)])
    agree(*logs)
    shapes = []
    for command in (OURS, THEIRS):
        done = run(command, folder, "time", "-model", "net.prototxt", "-iterations", "2")
        assert done.returncode == 0, done.stderr
        found = [re.sub(PATTERNS["head"], "", line) for line in done.stderr.splitlines()]
        begin = found.index("*** Benchmark begins ***")
        shapes.append([re.sub(r"[-+.\de]+ ms", "# ms", line) for line in found[begin:]])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train"], "caffe train -solver"),
        (["train", "-solver", "nowhere.prototxt"], "nowhere.prototxt: No such file"),
        (["train", "-solver", "net.prototxt"], "net.prototxt:2"),
        (["train", "-solver", "solver.prototxt", "-snapshot", "a", "-weights", "b"], "give one of them"),
        (["train", "-solver", "solver.prototxt", "-weights", "nowhere.caffemodel"], "nowhere.caffemodel: No such file"),
        (
            ["train", "-solver", "solver.prototxt", "-snapshot", "nowhere.solverstate"],
            "nowhere.solverstate: No such file",
        ),
        (["train", "-solver", "solver.prototxt", "-gpu", "99"], "GPU 99"),
        (["train", "-solver", "solver.prototxt", "-gpu", "a"], "-gpu takes numbers"),
        (["train", "-solver", "solver.prototxt", "-sigint_effect", "wait"], "wait"),
        (["train", "-solver", "solver.prototxt", "-precision", "float64"], "float32, tf32, bfloat16"),
        (["test", "-model", "net.prototxt"], "test needs weights"),
        (["test", "-weights", "x"], "test needs a model"),
        (["time"], "time needs a model"),
        (["time", "-model", "net.prototxt", "-phase", "NOW"], "TRAIN"),
        (["fly"], "unknown action 'fly'"),
        (["train", "-speed", "9"], "-speed"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments, words, folder):
    done = run(OURS, folder, *arguments)
    errors = [line for line in done.stderr.splitlines() if not re.match(r"^[IW]\d{4} ", line)]
    errors = [line for line in errors if re.match("(?i)error: ", line)]
    assert done.returncode == 1 and len(errors) == 1 and words in errors[0], done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("*.caffemodel"))


def test_an_error_of_a_python_layer_names_the_layer(folder):
    (folder / "my_layer.py").write_text(
        "import caffe\nclass Mine(caffe.Layer):\n    def setup(self, bottom, top):\n"
        "        raise KeyError('no such key')\n    def reshape(self, bottom, top): pass\n"
    )
    layer = (
        'layer { name: "mine" type: "Python" bottom: "y" top: "z" python_param { module: "my_layer" layer: "Mine" } }\n'
    )
    (folder / "net.prototxt").write_text(NET + layer)
    done = run(OURS, folder, "train", "-solver", "solver.prototxt")
    assert done.returncode == 1 and "no such key" in done.stderr and "'mine'" in done.stderr


@pytest.mark.parametrize("name, effect", (("SIGINT", "stop"), ("SIGHUP", "snapshot")))
def test_signals_stop_or_snapshot(name, effect, folder):
    text = SOLVER.replace("max_iter: 6", "max_iter: 1000000").replace("snapshot: 3", "snapshot: 0")
    (folder / "solver.prototxt").write_text(text.replace("display: 2", "display: 500"))
    environment = dict(os.environ, GLOG_minloglevel="0", OMP_NUM_THREADS="1")
    process = subprocess.Popen(
        [*OURS, "train", "-solver", "solver.prototxt"], stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    for line in process.stderr:
        if "Iteration 500" in line:
            break
    process.send_signal(getattr(signal, name))
    if effect == "stop":
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0 and "Optimization stopped early." in log
        assert list(folder.glob("tiny_iter_*.solverstate"))
    else:
        deadline = time.time() + 60
        while not list(folder.glob("tiny_iter_*.solverstate")) and time.time() < deadline:
            time.sleep(0.05)
        assert process.poll() is None and list(folder.glob("tiny_iter_*.solverstate"))
        process.kill()
        process.communicate()


def test_help_teaches(folder):
    done = run(OURS, folder, "--help")
    assert done.returncode == 0 and "-precision" in done.stdout and "commands:" in done.stdout
    assert run(OURS, folder).returncode == 0
    done = run(OURS, folder, "device_query", "-gpu", "all")
    assert done.returncode == 0 and "Querying GPUs all" in done.stderr
