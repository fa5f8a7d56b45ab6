"""The program `caffe` beside a real one: log lines, exit codes, errors in one line."""

import pathlib
import re
import shutil
import subprocess
import sys
import venv

import numpy as np
import pytest
from caffe import cli
from tiny import NET, SOLVER, THEIRS, needs_bvlc, run, write

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
SHOWN = r"^(Solving|Learning|Iteration|    T|Test loss|Snapshotting|Restoring|Resuming|Optim|Starting|Use CPU)"
TRAIN = ["train", "-solver", "solver.prototxt"]


def lines(log, shown=SHOWN):
    """The messages of a log that parsers read, times and speeds left out."""
    found = [re.sub(PATTERNS["head"], "", line) for line in log.splitlines() if re.match(PATTERNS["head"], line)]
    return [SPEED.sub(r"(R iter/s, Ss/\1 iters)", line) for line in found if re.match(shown, line)]


def agree(ours, theirs):
    """Assert that lines are the same, their numbers to four digits."""
    number = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:e[-+]\d+)?")
    assert [number.sub("#", line) for line in ours] == [number.sub("#", line) for line in theirs]
    for a, b in zip(ours, theirs):
        values = [list(map(float, number.findall(line))) for line in (a, b)]
        np.testing.assert_allclose(*values, rtol=1e-4, err_msg=f"{a}\n{b}")


@needs_bvlc
def test_training_and_resuming_write_the_log_of_a_real_caffe(program, tmp_path):
    status, _, ours = program(*TRAIN, log=0)
    theirs = run(THEIRS, tmp_path, "train", "--solver=solver.prototxt")
    assert status == theirs.returncode == 0
    agree(lines(ours), lines(theirs.stderr))
    assert len(lines(ours)) > 40 and all(re.search(pattern, ours, re.M) for pattern in PATTERNS.values())
    # Both resume from the real Caffe's snapshot.
    (tmp_path / "solver.prototxt").write_text(SOLVER.replace("max_iter: 6", "max_iter: 8"))
    resume = [*TRAIN, "-snapshot", "tiny_iter_6.solverstate"]
    status, _, ours = program(*resume, log=0)
    theirs = run(THEIRS, tmp_path, *resume)
    assert status == theirs.returncode == 0 and "Resuming from tiny_iter_6.solverstate" in ours
    agree(lines(ours), lines(theirs.stderr))


@needs_bvlc
def test_test_and_time_print_what_a_real_caffe_prints(program, tmp_path):
    assert program(*TRAIN)[0] == 0
    weights = "tiny_iter_3.caffemodel,tiny_iter_6.caffemodel"
    status, _, log = program(*TRAIN, "-weights", weights, log=0)
    assert status == 0 and log.count("Finetuning from tiny_iter") == 2
    arguments = ["test", "-model", "net.prototxt", "-weights", "tiny_iter_6.caffemodel", "-iterations", "2"]
    logs = program(*arguments, log=0)[2], run(THEIRS, tmp_path, *arguments).stderr
    agree(*(lines(log, "^(Batch|Loss|loss|accuracy|Running)") for log in logs))
    arguments = ["time", "-model", "net.prototxt", "-iterations", "2"]
    logs = program(*arguments, log=0)[2], run(THEIRS, tmp_path, *arguments).stderr
    shapes = [[re.sub(r"[-+.\de]+ ms", "# ms", line) for line in lines(log, "")] for log in logs]
    ours, theirs = (shape[shape.index("*** Benchmark begins ***") :] for shape in shapes)
    assert ours == theirs


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
    "test -model net.prototxt -weights x -iterations 0": "-iterations must be at least 1",
    "fly": "unknown action 'fly'",
    "trian": "unknown action 'trian', did you mean train?",
    "train -speed 9": "unknown flag -speed",
    "train -solve solver.prototxt": "unknown flag -solve, did you mean -solver?",
    "train --snapshots=a": "unknown flag -snapshots, did you mean -snapshot?",
    "train -solver solver.prototxt cascade": "'cascade' does not belong to a flag",
    "test -iterations many": "invalid int value: 'many'",
    # Not a run on the CPU, which takes long and looks as if it used a GPU.
    "train -solver solver.prototxt -gpu all": "error: Cannot use GPU: PyTorch finds none on this machine",
    "time -model net.prototxt -gpu all": "error: Cannot use GPU: PyTorch finds none on this machine",
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
    """Else they do: test_parallel.py."""
    write(tmp_path, net=NET + 'layer { name: "mine" type: "Python" python_param { module: "my_layer" layer: "Mine" } }')
    (tmp_path / "my_layer.py").write_text("raise SystemExit('a stranger runs')\n")
    command = [sys.executable, "-c", "import sys; from caffe.cli import main; sys.exit(main())"]
    done = run(command, tmp_path, *TRAIN, PYTHONSAFEPATH="1", GLOG_minloglevel="2")
    assert done.returncode == 1 and "no module 'my_layer'" in done.stderr, done.stderr


def test_help_teaches(program):
    status, output, _ = program("--help")
    assert status == 0 and "-precision" in output and "commands:" in output
    assert program()[0] == 0
    status, _, log = program("device_query", log=0)
    assert status == 0 and "Querying GPUs" in log


def test_a_copied_environment_says_whose_copy_it_is(tmp_path):
    """The first line of its programs names the original's Python."""
    venv.create(tmp_path / "first", symlinks=True)
    script = tmp_path / "first/bin/caffe"
    paths = [str(pathlib.Path(cli.__file__).parents[1]), *filter(None, sys.path)]
    main = f"import sys; sys.path[:0] = {paths!r}\nfrom caffe.cli import main\nsys.exit(main())\n"
    script.write_text(f"#!{tmp_path}/first/bin/python\n{main}")
    script.chmod(0o755)
    shutil.copytree(tmp_path / "first", tmp_path / "second", symlinks=True)
    done = [
        subprocess.run([tmp_path / name / "bin/caffe", "device_query"], capture_output=True, text=True)
        for name in ("first", "second")
    ]
    assert [process.returncode for process in done] == [0, 1], done[0].stderr
    assert done[1].stderr.startswith(f"error: {tmp_path}/second is a copy of {tmp_path}/first, whose code")
    assert cli.copied_from() is None
