"""Snapshots are whole whatever happens: kills at any point, full disks, leftovers, diverged weights."""

import pathlib
import resource
import subprocess
import sys

import caffe
import h5py
import numpy as np
import pytest
from caffe import durable, snapshot
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from tiny import NET, OURS, SHORT, THEIRS, environment, needs_bvlc, run, write

WITHOUT_PREFIX = SHORT.replace('snapshot: 2 snapshot_prefix: "tiny"', "")
HDF5 = "snapshot_format: HDF5\n"


@pytest.mark.parametrize("more", ("", HDF5), ids=("binary", "HDF5"))
def test_a_kill_at_any_point_of_writing_leaves_a_whole_snapshot(more, tmp_path):
    """The older pair or the newer one, from which training ends with the weights of an undisturbed one."""
    (tmp_path / "start").mkdir()
    write(tmp_path / "start", SHORT + more)
    script = pathlib.Path(__file__).with_name("snapshot_kills.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "start"],
        **{"capture_output": True, "text": True, "cwd": tmp_path, "env": environment(GLOG_minloglevel="2")},
    )
    assert done.returncode == 0, done.stderr
    points = [line.split("\t") for line in done.stdout.splitlines()]
    kinds = {what for what, _ in points}
    assert kinds == {"half of a write", "before fsync", "after fsync", "before replace", "after replace"}
    # Kills before the state had its name leave the older pair, later ones the newer.
    assert {iteration for _, iteration in points} == {"2", "4"} and len(points) > 10


@pytest.mark.parametrize("more", ("", HDF5), ids=("binary", "HDF5"))
def test_a_full_disk_is_one_line_and_costs_no_older_snapshot(more, tmp_path):
    """As on a real Caffe the training ends. The limit of a file's size stands for the full disk."""
    write(tmp_path, SHORT + more)
    assert run(OURS, tmp_path, "train", "-solver", "solver.prototxt").returncode == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    states = [path.name for path in tmp_path.glob("tiny_iter_6.solverstate*")]
    (tmp_path / "solver.prototxt").write_text((SHORT + more).replace("max_iter: 6", "max_iter: 9"))
    done = subprocess.run(
        [*OURS, "train", "-solver", "solver.prototxt", "-snapshot", states[0]],
        **{"capture_output": True, "text": True, "cwd": tmp_path, "env": environment(GLOG_minloglevel="2")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "tiny_iter_8" in line and "File too large" in line and f"the last one is {states[0]}" in line
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "solver.prototxt"}
    assert after == {name: content for name, content in before.items() if name != "solver.prototxt"}


def test_leftovers_of_a_kill_are_swept_by_the_next_start(tmp_path):
    write(tmp_path, SHORT)
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    swept = [f".tiny_iter_4.caffemodel.{dead}.partial", f".tiny_iter_4.solverstate.h5.{dead}.partial"]
    stay = [f".other_iter_4.caffemodel.{dead}.partial", ".tiny_iter_4.caffemodel.1.partial", ".tiny_iter_4.partial"]
    for name in swept + stay:
        (tmp_path / name).write_bytes(b"x")
    done = run(OURS, tmp_path, "train", "-solver", "solver.prototxt")
    assert done.returncode == 0 and all(f"Deleted {name}" in done.stderr for name in swept)
    left = {path.name for path in tmp_path.iterdir()}
    assert left.isdisjoint(swept) and left.issuperset(stay)


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
@pytest.mark.parametrize("interval", ("", "snapshot: 2"), ids=("at the end", "interval"))
def test_without_a_prefix_snapshots_get_the_name_of_the_solver(interval, tmp_path):
    """As with BVLC Caffe, beside the solver and with its name."""
    names = []
    for command in (OURS, THEIRS):
        folder = tmp_path / str(len(names))
        (folder / "solvers.d").mkdir(parents=True)
        write(folder, WITHOUT_PREFIX + interval)
        (folder / "solver.prototxt").rename(folder / "solvers.d/mine.prototxt")
        done = run(command, folder, "train", "-solver", "solvers.d/mine.prototxt")
        assert done.returncode == 0 and "was not specified and is set to solvers.d/mine" in done.stderr, done.stderr
        names.append({path.relative_to(folder) for path in folder.rglob("*_iter_*")})
    assert names[0] == names[1] and len(names[0]) == (6 if interval else 2)


@needs_bvlc
@pytest.mark.parametrize("prefix", ("snaps", "snaps/"))
def test_a_prefix_that_is_a_folder_gets_the_name_of_the_solver(prefix, tmp_path):
    """As with BVLC Caffe, in the folder."""
    names = []
    for command in (OURS, THEIRS):
        folder = tmp_path / str(len(names))
        (folder / "snaps").mkdir(parents=True)
        write(folder, SHORT.replace("tiny", prefix))
        done = run(command, folder, "train", "-solver", "solver.prototxt")
        assert done.returncode == 0 and "is replaced to snaps/solver" in done.stderr, done.stderr
        names.append({path.relative_to(folder) for path in folder.rglob("*_iter_*")})
    assert names[0] == names[1] and len(names[0]) == 6


def test_a_prefix_in_a_missing_folder_is_an_error_before_training(tmp_path):
    """A slash at the end makes the whole prefix the folder."""
    write(tmp_path, SHORT.replace("tiny", "nowhere/"))
    done = run(OURS, tmp_path, "train", "-solver", "solver.prototxt")
    assert done.returncode == 1 and "there is no folder 'nowhere'" in done.stderr, done.stderr
    assert "Starting Optimization" not in done.stderr


def test_a_prefix_that_ends_with_a_slash_names_files_in_the_folder(tmp_path, monkeypatch):
    """A SolverParameter without a file keeps such a prefix; its snapshots and incomplete files are found."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    (tmp_path / "snaps").mkdir()
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    partial = tmp_path / f"snaps/._iter_2.caffemodel.{dead}.partial"
    partial.write_bytes(b"x")
    caffe.SGDSolver(text_format.Parse(SHORT.replace("tiny", "snaps/"), caffe_pb2.SolverParameter())).solve()
    assert not partial.exists()
    assert snapshot.newest("snaps/") == "snaps/_iter_6.solverstate"


def test_a_solver_without_file_and_prefix_is_an_error_before_training(tmp_path, monkeypatch):
    """Only if it would write snapshots; a SolverParameter without a file has no name to write them under."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    param = text_format.Parse(WITHOUT_PREFIX, caffe_pb2.SolverParameter())
    with pytest.raises(caffe.CaffeError, match="no snapshot_prefix"):
        caffe.SGDSolver(param)
    param.snapshot_after_train = False
    caffe.SGDSolver(param).solve()
    assert not list(tmp_path.glob("*_iter_*"))


DIVERGING = SHORT.replace("base_lr: 0.1", "base_lr: 1e30").replace("snapshot: 2", "snapshot: 1")


def test_a_loss_that_is_not_finite_ends_training_with_one_line(tmp_path):
    """Snapshots of finite weights stay, broken weights are not written, and the exit code is 1."""
    cube = 'layer { name: "cube" type: "Power" bottom: "y" top: "y" power_param { power: 3 } }\n'
    write(tmp_path, DIVERGING, NET.replace('layer { name: "loss"', cube + 'layer { name: "loss"'))
    done = run(OURS, tmp_path, "train", "-solver", "solver.prototxt", GLOG_minloglevel="2")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "iteration 1: the loss is nan" in line, line
    assert "the last good snapshot is tiny_iter_1.solverstate" in line and "base_lr (now 1e+30)" in line
    assert "clip_gradients (now off)" in line
    assert {path.name for path in tmp_path.glob("tiny_iter_*")} == {"tiny_iter_1.caffemodel", "tiny_iter_1.solverstate"}


def test_weights_that_are_not_finite_are_not_written(tmp_path, monkeypatch):
    """The update of the last iteration breaks them: no later loss would show it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SHORT)
    solver = caffe.get_solver("solver.prototxt")
    solver.step(2)
    solver.add_callback(lambda: None, lambda: solver.net.params["ip"][1].diff.fill(np.inf))
    solver.step(1)
    with pytest.raises(caffe.CaffeError, match="iteration 3: weights of layer 'ip' are not finite.*tiny_iter_2"):
        solver.snapshot()
    assert [iteration for iteration, _ in snapshot.states("tiny")] == [2]


def test_the_name_of_the_weights_in_hdf5_ends_with_a_zero_byte(tmp_path):
    """Caffe's reader takes the bytes of the data set as a C string: without the zero it reads on into other memory."""
    path = tmp_path / "a.solverstate.h5"
    snapshot.write_hdf5(path, snapshot.State(1, 0, "a.caffemodel.h5", []))
    with h5py.File(path) as file:
        name = file["learned_net"].id
        raw = np.empty((), dtype=f"S{name.get_type().get_size()}")
        name.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=name.get_type())
    assert raw.tobytes() == b"a.caffemodel.h5\0"
    assert snapshot.read(path).learned_net == "a.caffemodel.h5"
