"""The program `caffe` beside a real one: log lines, exit codes, errors in one line, signals."""

import os
import re
import sys

import numpy as np
import pytest
from caffe import snapshot
from tiny import NET, OURS, SHORT, SOLVER, THEIRS, TRAIN, needs_bvlc, run, write

HEAD = re.compile(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6}\s+\d+ \S+:\d+\] ")
# The real Caffe's first rate of a resumed training is 0 / 0 where its clock has not moved.
TIMES = re.compile(r"(?:[-+.\de]+|-?nan|inf)(?= iter/s)|[-+.\de]+(?=s/\d+ iters| ms)")
NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:e[-+]\d+)?")
# What parsers of logs read, and what is between the lines of nets and solvers that are built.
SHOWN = r"(Solving|Learning|Iteration|    T|Test loss|Snapshotting|Restoring|Resuming|Optim|Starting|Use CPU|"
SHOWN += r"Batch|Loss|loss|accuracy|Running|\*\*\*|Testing for| *\w+\tforward| *\w+\tbackward|Average|Total)"


def lines(log):
    """The messages of a log that parsers read, times and speeds left out."""
    found = [HEAD.sub("", line) for line in log.splitlines() if HEAD.match(line)]
    return [TIMES.sub("T", line) for line in found if re.match(SHOWN, line)]


@needs_bvlc
def test_commands_log_what_a_real_caffe_logs(program, tmp_path):
    """Line by line, numbers to four digits. Both engines resume from the real Caffe's snapshot."""
    longer, net = SOLVER.replace("max_iter: 6", "max_iter: 8"), ["-model", "net.prototxt", "-iterations", "2"]
    for solver, *command in (
        (SOLVER, *TRAIN),
        (longer, *TRAIN, "-snapshot", "tiny_iter_6.solverstate"),
        (SOLVER, *TRAIN, "-weights", "tiny_iter_3.caffemodel,tiny_iter_8.caffemodel"),
        (SOLVER, "test", *net, "-weights", "tiny_iter_8.caffemodel"),
        (SOLVER, "time", *net),
    ):
        write(tmp_path, solver)
        status, _, log = program(*command, log=0)
        done = run(THEIRS, tmp_path, *command)
        assert status == done.returncode == 0
        ours, theirs = lines(log), lines(done.stderr)
        assert len(ours) > 8 and [NUMBER.sub("#", line) for line in ours] == [NUMBER.sub("#", line) for line in theirs]
        for a, b in zip(ours, theirs):
            values = [[float(number) for number in NUMBER.findall(line)] for line in (a, b)]
            np.testing.assert_allclose(*values, rtol=1e-4, err_msg=f"{a}\n{b}")


ERRORS = {
    "train": "caffe train -solver",
    "train -solver nowhere.prototxt": "nowhere.prototxt: No such file",
    "train -solver net.prototxt": "net.prototxt:2",
    "train -solver solver.prototxt -snapshot a -weights b": "give one of them",
    "train -solver solver.prototxt -weights nowhere.caffemodel": "nowhere.caffemodel: no such file to start from",
    "train -solver solver.prototxt -snapshot nowhere.solverstate": "nowhere.solverstate: No such file",
    "train -solver solver.prototxt -gpu 99": "GPU 99",
    "train -solver solver.prototxt -gpu a": "-gpu takes numbers",
    "train -solver solver.prototxt -sigint_effect wait": "snapshot, stop, none, not 'wait'",
    "train -solver solver.prototxt -precision float64": "float32, tf32, bfloat16",
    "train -solver solver.prototxt -shard rows": "records or batches",
    "test -model net.prototxt": "test needs weights",
    "test -weights x": "test needs a model",
    "time": "time needs a model",
    "time -model net.prototxt -phase NOW": "TRAIN",
    "time -model net.prototxt -iterations 0": "-iterations must be at least 1, not 0",
    "trian": "unknown action 'trian', did you mean train?",
    "train -speed 9": "unknown flag -speed",
    "train --snapshots=a": "unknown flag -snapshots, did you mean -snapshot?",
    "train -solver solver.prototxt cascade": "'cascade' does not belong to a flag",
    "test -iterations many": "invalid int value: 'many'",
    # Not a run on the CPU, which takes long and looks as if it used a GPU.
    "train -solver solver.prototxt -gpu all": "error: Cannot use GPU: PyTorch finds none on this machine",
    "device_query -gpu all": "error: Cannot use GPU: PyTorch finds none on this machine",
}


@pytest.mark.parametrize("words", ERRORS)
def test_errors_are_one_line_and_exit_code_1(words, program, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    status, output, error = program(*words.split())
    assert status == 1 and not output
    assert re.fullmatch(f"(?i)error: .*{re.escape(ERRORS[words].removeprefix('error: '))}.*\n", error), error
    assert not list(tmp_path.glob("*.caffemodel"))


def test_the_solvers_weights_are_looked_for_before_nets_are_built(program, tmp_path):
    """The error quotes the comment behind the field, and -snapshot does without the weights."""
    weights = 'weights: "start.caffemodel"  # made by `make average`\n'
    (tmp_path / "solver.prototxt").write_text(weights + SOLVER)
    status, _, log = program(*TRAIN, log=0)
    expected = "error: start.caffemodel: no such file to start from; solver.prototxt says: made by `make average`\n"
    assert status == 1 and log == expected
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    assert program(*TRAIN)[0] == 0
    (tmp_path / "solver.prototxt").write_text(weights + SOLVER)
    assert program(*TRAIN, "-snapshot", "tiny_iter_3.solverstate")[0] == 0


def test_python_layers_do_not_come_from_the_current_folder_if_that_is_not_wanted(tmp_path):
    """Else they do: see below."""
    write(tmp_path, net=NET + 'layer { name: "mine" type: "Python" python_param { module: "my_layer" layer: "Mine" } }')
    (tmp_path / "my_layer.py").write_text("raise SystemExit('a stranger runs')\n")
    done = run([sys.executable, "-P", *OURS[1:]], tmp_path, *TRAIN)
    assert done.returncode == 1 and "no module 'my_layer'" in done.stderr


def test_help_teaches(program):
    status, output, _ = program("--help")
    assert status == 0 and "-precision" in output and "commands:" in output
    assert program()[0] == 0
    status, _, log = program("device_query", log=0)
    assert status == 0 and "Querying GPUs" in log


def test_a_copied_environment_says_whose_copy_it_is(program, tmp_path, monkeypatch):
    """The first line of its programs names the original's Python."""
    (tmp_path / "pyvenv.cfg").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin/caffe")])
    status, _, error = program("device_query")
    assert status == 1 and error.startswith(f"error: {tmp_path} is a copy of {sys.prefix}, whose code")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert program("device_query")[0] == 0


# Signals; those of ranks are in test_parallel.py --------------------------------------------------------------------

SENDER = """
import os, signal
import caffe
class Sender(caffe.Layer):
    passes = 0
    def forward(self, bottom, top):
        self.passes += 1
        if self.passes in eval(self.param_str):
            os.kill(os.getpid(), getattr(signal, eval(self.param_str)[self.passes]))
"""
LAYER = 'layer {{ name: "sender" type: "Python" python_param {{ module: "sender" layer: "Sender" param_str: "{}" }} }}'


def prepare(folder, signals):
    """A training that sends itself signals; pass -> name of the signal."""
    write(folder, SHORT.replace("snapshot: 2", ""), NET + LAYER.format(signals))
    (folder / "sender.py").write_text(SENDER)


@pytest.mark.parametrize(
    "signals, flags, iterations",
    [
        ({2: "SIGHUP", 4: "SIGTERM"}, "", [2, 4]),
        ({3: "SIGINT"}, "", [3]),
        ({2: "SIGINT", 4: "SIGHUP"}, "-sigint_effect snapshot -sighup_effect stop", [2, 4]),
        ({2: "SIGTERM", 4: "SIGHUP"}, "-sigterm_effect none -sighup_effect none", [6]),
    ],
)
def test_signals_leave_snapshots(signals, flags, iterations, program, tmp_path):
    """SIGHUP writes one and goes on, the others write one and end, after the iteration in which they come."""
    prepare(tmp_path, signals)
    status, _, log = program(*TRAIN, *flags.split(), log=0)
    assert status == 0 and ("Optimization stopped early." in log) == (iterations[-1] < 6)
    assert [iteration for iteration, _ in snapshot.states(str(tmp_path / "tiny"))] == iterations[::-1]


def test_a_terminal_that_closes_takes_the_reader_of_the_log(tmp_path):
    prepare(tmp_path, {2: "SIGHUP", 4: "SIGTERM"})
    read, written = os.pipe()
    os.close(read)
    done = run(OURS, tmp_path, *TRAIN, stderr=written)
    os.close(written)
    states = snapshot.states(str(tmp_path / "tiny"))
    assert done.returncode == 0 and [iteration for iteration, _ in states] == [4, 2]


def test_a_closed_standard_error_is_no_error(program, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert program(*TRAIN, log=0)[0] == 0 and (tmp_path / "tiny_iter_6.solverstate").exists()
