"""Snapshots are whole whatever happens: kills at any point, full disks, leftovers, diverged weights."""

import builtins
import os
import pathlib
import resource
import shutil
import signal
import subprocess

import caffe
import numpy as np
import pytest
import torch
from caffe import durable, hdf5, snapshot, wire
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from tiny import HDF5, NET, SHORT, THEIRS, needs_bvlc, run, write

WITHOUT_PREFIX = SHORT.replace('snapshot: 2 snapshot_prefix: "tiny"', "")
TRAIN = ["train", "-solver", "solver.prototxt"]


class Killer:
    """Counts the points of writing a snapshot that pass, and kills this process at number `point`."""

    def __init__(self, point, report):
        self.point, self.passed, self.report, self.active = point, 0, report, False

    def strikes(self, what):
        self.passed += self.active
        if not self.active or self.passed != self.point:
            return False
        os.write(self.report, what.encode())
        return True

    def at(self, what):
        if self.strikes(what):
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, name):
        """Let os.`name` be a point before and a point after."""
        original = getattr(os, name)

        def wrapped(*arguments):
            self.at(f"before {name}")
            original(*arguments)
            self.at(f"after {name}")

        setattr(os, name, wrapped)

    def open(self, path, mode="r"):
        """The function open, whose files write only half of what they are given where the killer strikes."""
        file = builtins.open(path, mode, buffering=0 if "w" in mode else -1)
        if "w" not in mode:
            return file
        killer = self

        class File:
            __enter__, __exit__ = (lambda self: self), (lambda self, *_: file.close())

            def write(self, data):
                if killer.strikes("half of a write"):
                    file.write(bytes(data)[: len(data) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                file.write(data)

        return File()


def train_in_child(state=None, killer=None):
    """Train in a child process to the end, or until the killer strikes in the snapshot of iteration 4; its status."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # threads do not survive a fork
            os.fsync = lambda descriptor: None  # what a killed process has written, the system keeps
            solver = caffe.get_solver("solver.prototxt")
            if killer is not None:
                wire.open = hdf5.open = killer.open
                killer.wrap("fsync")
                killer.wrap("replace")
                solver.action = lambda: setattr(killer, "active", solver.iter == 4)
            solver.solve(state)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.slow
@pytest.mark.parametrize("more", ("", HDF5), ids=("binary", "HDF5"))
def test_a_kill_at_any_point_of_writing_leaves_a_whole_snapshot(more, tmp_path, monkeypatch):
    """The older pair or the newer one, from which training ends with the weights of an undisturbed one."""

    def begin(name):
        (tmp_path / name).mkdir()
        write(tmp_path / name, SHORT + more)
        monkeypatch.chdir(tmp_path / name)

    begin("undisturbed")
    assert train_in_child() == 0
    (whole,) = (path.read_bytes() for path in pathlib.Path().glob("tiny_iter_6.caffemodel*"))
    points, iterations = set(), set()
    for point in range(1, 1000):
        begin(str(point))
        read, report = os.pipe()
        status = train_in_child(killer=Killer(point, report))
        os.close(report)
        with os.fdopen(read) as pipe:
            what = pipe.read()
        if not what:
            assert status == 0
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        passed_over = []
        newest = snapshot.newest("tiny", passed_over)
        assert newest is not None and not passed_over, what
        assert train_in_child(newest) == 0
        (resumed,) = (path.read_bytes() for path in pathlib.Path().glob("tiny_iter_6.caffemodel*"))
        assert resumed == whole and not list(pathlib.Path().glob(".*partial")), what
        points.add(what)
        iterations.add(int(newest.split("_")[2].split(".")[0]))
        shutil.rmtree(tmp_path / str(point))
    assert points == {"half of a write", "before fsync", "after fsync", "before replace", "after replace"}
    # Kills before the state had its name leave the older pair, later ones the newer.
    assert iterations == {2, 4} and point > 10


@pytest.mark.parametrize("more", ("", HDF5), ids=("binary", "HDF5"))
def test_a_full_disk_is_one_line_and_costs_no_older_snapshot(more, program, tmp_path):
    """As on a real Caffe the training ends. The limit of a file's size stands for the full disk."""
    write(tmp_path, SHORT + more)
    assert program(*TRAIN)[0] == 0
    write(tmp_path, (SHORT + more).replace("max_iter: 6", "max_iter: 9"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (state,) = (path.name for path in tmp_path.glob("tiny_iter_6.solverstate*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        status, _, error = program(*TRAIN, "-snapshot", state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (line,) = error.splitlines()
    assert status == 1 and "tiny_iter_8" in line and "File too large" in line and f"the last one is {state}" in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_leftovers_of_a_kill_are_deleted_by_the_next_start(program, tmp_path):
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    deleted = {f".tiny_iter_4.caffemodel.{dead}.partial", f".tiny_iter_4.solverstate.h5.{dead}.partial"}
    stay = {f".other_iter_4.caffemodel.{dead}.partial", ".tiny_iter_4.caffemodel.1.partial", ".tiny_iter_4.partial"}
    for name in deleted | stay:
        (tmp_path / name).write_bytes(b"x")
    status, _, log = program(*TRAIN, log=0)
    left = {path.name for path in tmp_path.iterdir()}
    assert status == 0 and all(f"Deleted {name}" in log for name in deleted)
    assert left.isdisjoint(deleted) and left.issuperset(stay)


def test_files_are_synced_before_they_get_their_names_and_the_weights_first(tmp_path, monkeypatch):
    calls = []
    for name in ("sync", "sync_folder"):
        monkeypatch.setattr(durable, name, lambda path, name=name: calls.append((name, pathlib.Path(path).name[:9])))
    monkeypatch.setattr(
        durable.os, "replace", lambda old, new: (calls.append(("replace", new.name)), old.rename(new))[1]
    )
    durable.write_files([(tmp_path / name, lambda path: path.write_text("x")) for name in ("weights", "state")])
    folder = ("sync_folder", tmp_path.name[:9])
    assert calls == [
        *[("sync", ".weights."), ("sync", ".state." + calls[1][1][7:])],
        *[("replace", "weights"), folder, ("replace", "state"), folder],
    ]


@needs_bvlc
@pytest.mark.parametrize(
    "prefix, said",
    [
        ("", "was not specified and is set to solvers.d/mine"),
        ('snapshot_prefix: "snaps"', "is replaced to snaps/mine"),
        ('snapshot_prefix: "snaps/"', "is replaced to snaps/mine"),
    ],
)
def test_snapshots_get_the_names_that_bvlc_caffe_gives_them(prefix, said, program, tmp_path, monkeypatch):
    """Without a prefix those of the solver, beside it; in a folder those of the solver too."""
    names = []
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        (folder / "solvers.d").mkdir(parents=True)
        (folder / "snaps").mkdir()
        write(folder, f"{WITHOUT_PREFIX} snapshot: 2 {prefix}")
        (folder / "solver.prototxt").rename(folder / "solvers.d/mine.prototxt")
        monkeypatch.chdir(folder)
        arguments = ["train", "-solver", "solvers.d/mine.prototxt"]
        if folder.name == "ours":
            status, _, log = program(*arguments, log=0)
        else:
            done = run(THEIRS, folder, *arguments)
            status, log = done.returncode, done.stderr
        assert status == 0 and said in log
        names.append({path.relative_to(folder) for path in folder.rglob("*_iter_*")})
    assert names[0] == names[1] and len(names[0]) == 6


@pytest.mark.parametrize("prefix, name", (("new/folder/tiny", "tiny"), ("new/folder/", "solver")))
def test_the_folder_of_the_prefix_is_made(prefix, name, program, tmp_path):
    """The second training finds it, and leftovers of the first there, by the same prefix."""
    write(tmp_path, SHORT.replace("tiny", prefix))
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    for _ in range(2):
        assert program(*TRAIN)[0] == 0
        assert len(list(tmp_path.glob("new/folder/*"))) == 6
        assert snapshot.newest(f"new/folder/{name}") == f"new/folder/{name}_iter_6.solverstate"
        assert not list(tmp_path.glob("new/folder/.*"))
        (tmp_path / f"new/folder/.{name}_iter_4.caffemodel.{dead}.partial").write_bytes(b"x")


def test_prefixes_that_cannot_be_written_are_said_before_training(program, tmp_path):
    """A SolverParameter without a file has no name to write under; that is an error only if it would write."""
    for prefix, words in (("net.prototxt/x", "Not a directory|File exists"), ("/proc/x", "No such file|Permission")):
        write(tmp_path, SHORT.replace("tiny", prefix))
        with pytest.raises(caffe.CaffeError, match=f"snapshot_prefix '{prefix}': .*({words})"):
            caffe.get_solver("solver.prototxt")
    param = text_format.Parse(WITHOUT_PREFIX, caffe_pb2.SolverParameter())
    with pytest.raises(caffe.CaffeError, match="no snapshot_prefix"):
        caffe.SGDSolver(param)
    param.snapshot_after_train = False
    caffe.SGDSolver(param).solve()
    assert not list(tmp_path.glob("*_iter_*"))


def test_a_loss_that_is_not_finite_ends_training_with_one_line(program, tmp_path):
    """Snapshots of finite weights stay, broken weights are not written."""
    cube = 'layer { name: "cube" type: "Power" bottom: "y" top: "y" power_param { power: 3 } }\n'
    diverging = SHORT.replace("base_lr: 0.1", "base_lr: 1e30").replace("snapshot: 2", "snapshot: 1")
    write(tmp_path, diverging, NET.replace('layer { name: "loss"', cube + 'layer { name: "loss"'))
    status, _, error = program(*TRAIN)
    assert status == 1 and len(error.splitlines()) == 1 and "iteration 1: the loss is nan" in error
    assert "the last good snapshot is tiny_iter_1.solverstate" in error
    assert "base_lr (now 1e+30)" in error and "clip_gradients (now off)" in error
    assert {path.name for path in tmp_path.glob("tiny_iter_*")} == {"tiny_iter_1.caffemodel", "tiny_iter_1.solverstate"}


def test_weights_that_are_not_finite_are_neither_written_nor_resumed_from(program, tmp_path):
    """The update of the last iteration breaks them: no later loss would show it."""
    write(tmp_path, SHORT)
    solver = caffe.get_solver("solver.prototxt")
    solver.step(2)
    solver.add_callback(lambda: None, lambda: solver.net.params["ip"][1].diff.fill(np.inf))
    solver.step(1)
    with pytest.raises(caffe.CaffeError, match="iteration 3: weights of layer 'ip' are not finite.*tiny_iter_2"):
        solver.snapshot()
    assert [iteration for iteration, _ in snapshot.states("tiny")] == [2]
    solver.net.save("tiny_iter_2.caffemodel")  # as a real Caffe would have written them
    with pytest.raises(snapshot.NotFinite, match="tiny_iter_2.caffemodel: .* not finite in layer ip"):
        snapshot.verify("tiny_iter_2.solverstate")
