"""The program `caffe` beside a real one: log lines, exit codes, signals, errors in one line."""

import re

import numpy as np
import pytest
from tiny import NET, OURS, SOLVER, THEIRS, needs_bvlc, run, write


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    return tmp_path


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


@needs_bvlc
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


@needs_bvlc
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


@needs_bvlc
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
        (["time", "-model", "net.prototxt", "-iterations", "0"], "-iterations must be at least 1, not 0"),
        (["test", "-model", "net.prototxt", "-weights", "x", "-iterations", "0"], "-iterations must be at least 1"),
        (["fly"], "unknown action 'fly'"),
        (["trian"], "unknown action 'trian', did you mean train?"),
        (["train", "-speed", "9"], "unknown flag -speed"),
        (["train", "-sovler", "solver.prototxt"], "unknown flag -sovler, did you mean -solver?"),
        (["train", "-solve", "solver.prototxt"], "unknown flag -solve, did you mean -solver?"),
        (["train", "--snapshots=a"], "unknown flag -snapshots, did you mean -snapshot?"),
        (["train", "-solver", "solver.prototxt", "cascade"], "'cascade' does not belong to a flag"),
        (["test", "-iterations", "many"], "invalid int value: 'many'"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments, words, folder):
    done = run(OURS, folder, *arguments)
    errors = [line for line in done.stderr.splitlines() if not re.match(r"^[IW]\d{4} ", line)]
    errors = [line for line in errors if re.match("(?i)error: ", line)]
    assert done.returncode == 1 and len(errors) == 1 and words in errors[0], done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("*.caffemodel"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "-solver", "solver.prototxt"],
        ["test", "-model", "net.prototxt", "-weights", "tiny.caffemodel"],
        ["time", "-model", "net.prototxt"],
        ["device_query"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_all_gpus_of_a_machine_without_one_is_an_error(arguments, folder):
    """And not a run on the CPU, which takes long and looks as if it used a GPU."""
    done = run(OURS, folder, *arguments, "-gpu", "all", CUDA_VISIBLE_DEVICES="")
    errors = [line for line in done.stderr.splitlines() if not re.match(PATTERNS["head"], line)]
    assert done.returncode == 1, done.stderr
    assert errors == ["error: Cannot use GPU: PyTorch finds none on this machine"]
    assert "Use CPU" not in done.stderr and not list(folder.glob("*.caffemodel"))


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


def test_help_teaches(folder):
    done = run(OURS, folder, "--help")
    assert done.returncode == 0 and "-precision" in done.stdout and "commands:" in done.stdout
    assert run(OURS, folder).returncode == 0
    done = run(OURS, folder, "device_query")
    assert done.returncode == 0 and "Querying GPUs" in done.stderr
