"""Snapshots are whole whatever happens: kills at any point, full disks, leftovers, diverged weights."""

import contextlib
import os
import pathlib
import subprocess

import caffe
import numpy as np
import pytest
from caffe import snapshot
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from parity import steps
from tiny import HDF5, NET, SHORT, TRAIN, write
from tokens import full_disk

WITHOUT_PREFIX = SHORT.replace('snapshot: 2 snapshot_prefix: "tiny"', "")
both_formats = pytest.mark.parametrize("more", ("", HDF5), ids=("binary", "HDF5"))


# Both files, then the name and the folder of each, the weights first.
SYNCED = ["fsync", "fsync", "replace", "fsync", "replace", "fsync"]


class Killed(BaseException):
    pass


@both_formats
def test_a_kill_at_any_point_of_writing_leaves_a_whole_snapshot(more, tmp_path, monkeypatch):
    """The older pair or the newer one, from which training ends with the weights of an undisturbed one."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SHORT + more)

    def train(last):
        """Train to a kill at call `last` of the snapshot of iteration 4, then to the end: calls, snapshot, weights."""
        solver, calls = caffe.get_solver("solver.prototxt"), []

        def until(function):
            def call(*arguments):
                calls.extend([function.__name__] * (solver.iter == 4))
                if len(calls) == last:
                    raise Killed
                function(*arguments)

            return call

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            for function in (os.fsync, os.replace):
                patch.setattr(os, function.__name__, until(function))
            patch.setattr(pathlib.Path, "unlink", lambda *_, **__: None)  # nobody cleans up after a kill
            solver.solve()
        passed_over = []
        newest = snapshot.newest("tiny", passed_over)
        assert newest is not None and not passed_over
        caffe.get_solver("solver.prototxt").solve(newest)
        (weights,) = (path.read_bytes() for path in tmp_path.glob("tiny_iter_6.caffemodel*"))
        assert not list(tmp_path.glob(".*partial"))
        for path in tmp_path.glob("tiny_iter*"):
            path.unlink()
        return calls, newest[: len("tiny_iter_4")], weights

    calls, _, whole = train(None)
    assert calls == SYNCED
    found = [train(number) for number in range(1, len(SYNCED) + 1)]
    assert {weights for *_, weights in found} == {whole}
    # Kills before the state has its name leave the older pair.
    assert [newest for _, newest, _ in found] == 5 * ["tiny_iter_2"] + ["tiny_iter_4"]


@both_formats
def test_a_full_disk_is_one_line_and_costs_no_older_snapshot(more, program, tmp_path):
    """As on a real Caffe the training ends."""
    write(tmp_path, SHORT + more)
    assert program(*TRAIN)[0] == 0
    write(tmp_path, (SHORT + more).replace("max_iter: 6", "max_iter: 9"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (state,) = (path.name for path in tmp_path.glob("tiny_iter_6.solverstate*"))
    with full_disk(200):
        status, _, error = program(*TRAIN, "-snapshot", state)
    (line,) = error.splitlines()
    assert status == 1 and "tiny_iter_8" in line and "File too large" in line and f"the last one is {state}" in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_folder_of_the_prefix_is_made_and_leftovers_of_a_kill_in_it_are_deleted(program, tmp_path):
    """By the next training with the same prefix."""
    write(tmp_path, SHORT.replace("tiny", "new/folder/"))
    assert program(*TRAIN)[0] == 0 and snapshot.newest("new/folder/solver") == "new/folder/solver_iter_6.solverstate"
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    deleted = {f".solver_iter_4.{kind}.{dead}.partial" for kind in ("caffemodel", "solverstate.h5")}
    stay = {f".other_iter_4.caffemodel.{dead}.partial", ".solver_iter_4.caffemodel.1.partial", ".solver_iter_4.partial"}
    for partial in deleted | stay:
        (tmp_path / "new/folder" / partial).write_bytes(b"x")
    status, _, log = program(*TRAIN, log=0)
    assert status == 0 and all(f"Deleted {partial}" in log for partial in deleted)
    assert {path.name for path in tmp_path.glob("new/folder/.*")} == stay
    assert len(list(tmp_path.glob("new/folder/[!.]*"))) == 6


@pytest.mark.parametrize("prefix", ("", 'snapshot_prefix: "{}/snaps"', 'snapshot_prefix: "{}/snaps/"'))
def test_snapshots_get_the_names_that_bvlc_caffe_gives_them(prefix, bvlc, tmp_path):
    """Without a prefix those of the solver, beside it; in a folder those of the solver too."""
    names, solver = [], f"{WITHOUT_PREFIX} snapshot: 2 {prefix}".replace('"net', '"{}/net')
    for folder, call in ((tmp_path / "ours", lambda _, **words: steps(**words)), (tmp_path / "theirs", bvlc)):
        (folder / "snaps").mkdir(parents=True)
        write(folder, solver.replace("{}", str(folder)))
        call(steps, path=str(folder / "solver.prototxt"), count=2, losses=[])
        names.append({path.relative_to(folder) for path in folder.rglob("*_iter_*")})
    assert names[0] == names[1] and len(names[0]) == 2


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
