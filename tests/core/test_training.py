"""Trainings: the sequence of mini-batches, interruptions, damage, first weights, and longer ones."""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys

import caffe
import numpy as np
import pytest
from caffe import wire
from caffe.proto import caffe_pb2
from command_line import REPOSITORY

from data_prep import start
from python_layers.balanced_data import from_digits
from tools import cli
from tools import run as runs
from tools.train import caffe_log, snapshots, training

LAST, EARLIER = 30, 20  # iterations of the snapshots of an undisturbed training
SOLVER = f"max_iter={LAST},snapshot=1000,display=1,test_interval=1000,average_loss=1,base_lr=0.002"
STILL = "max_iter=1,snapshot=10,display=1,test_interval=10,base_lr=1e-12,weight_decay=0"


def words(lmdb, run, engine="torch", solver=SOLVER):
    options = ["--lmdb", lmdb, "--run", run, "--batch", 2, "--width", "1/16", "--caffe", engine, f"--solver={solver}"]
    return list(map(str, ["train", "region", *options]))


def layers(path):
    return dict(wire.read_weights(path))


def weights(run):
    found = layers(run / f"region/region_iter_{LAST}.caffemodel")
    return {f"{name}[{index}]": blob.tobytes() for name, blobs in found.items() for index, blob in enumerate(blobs)}


def state(run, stage="region"):
    return runs.Run.read(run).stages[stage]


@pytest.fixture(scope="module")
def undisturbed(small_lmdb, tmp_path_factory):
    """Function engine -> run whose task one was trained without interruption."""

    @functools.cache
    def run_of(engine):
        folder = tmp_path_factory.mktemp("straight") / "run"
        solver = SOLVER.replace("snapshot=1000", "snapshot=10")
        assert cli.main([*words(small_lmdb, folder, engine, solver), "--keep-snapshots", "2"]) == 0
        return folder

    return run_of


# The sequence of mini-batches -------------------------------------------------------------------------------


def batches(folder, net, number, weights=None):
    """The first training images of a net that a run has trained."""
    with contextlib.chdir(folder):
        made, found = caffe.Net(f"{net}/train_val.prototxt", caffe.TRAIN), []
        if weights:
            made.copy_from(str(weights))
        for _ in range(number):
            made.forward(end="label")
            found.append(made.blobs["data"].data.copy())
        return found


def test_joint_training_goes_on_where_task_one_ended(small_run):
    """Once the position in the data was dropped with the average region, and the cascade saw the same images again."""
    ends = [layers(small_run / state(small_run, name).weights)["balanced_data"][0] for name in ("region", "cascade")]
    assert [from_digits(end) for end in ends] == [4, 8]
    average = layers(small_run / "average/average.caffemodel")
    assert from_digits(average["balanced_data"][0]) == 4 and "early_stopping" not in average
    first = batches(small_run, "cascade", 2, small_run.absolute() / "average/average.caffemodel")
    again = batches(small_run, "region", 6)
    assert (first[0] == again[4]).all() and (first[1] == again[5]).all() and (first[0] != again[0]).any()


# Interruptions ----------------------------------------------------------------------------------------------


def of_caffe(process):
    """The `caffe train` that a command runs; its workers are processes of its own."""
    return int(subprocess.check_output(["pgrep", "-f", "-P", str(process.pid), "solver=region/solver.prototxt"]))


# How a training is stopped: on which Caffe, and what happens to the process of its command.
STOPS = {
    "Ctrl-C in make": ("torch", lambda process: os.killpg(process.pid, signal.SIGINT)),
    "SIGTERM to the command": ("bvlc", lambda process: process.terminate()),
    "SIGINT to Caffe alone": ("bvlc", lambda process: os.kill(of_caffe(process), signal.SIGINT)),
    "SIGKILL to the command alone": ("bvlc", lambda process: process.kill()),  # Caffe stops with a snapshot then
}


@pytest.mark.parametrize("how", [pytest.param(how, marks=[pytest.mark.slow] * (" alone" in how)) for how in STOPS])
def test_a_stopped_training_leaves_a_snapshot_and_its_command_resumes(how, small_lmdb, undisturbed, tmp_path, cascade):
    run, (engine, stop) = tmp_path / "a run", STOPS[how]
    command = start.command(sys.executable, "tools.cli", *words(small_lmdb, run, engine))
    if how == "Ctrl-C in make":
        options = f"ARGS=region --width 1/16 --caffe {engine} --solver={SOLVER}"
        command = ["make", "train", f"LMDB={small_lmdb}", f"RUN={run}", "BATCH=2", options]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))},
        start_new_session=True,
    )
    text = ""
    while not re.search(r"iteration [3-9] of", text):
        text += process.stdout.readline()
        assert process.poll() is None, text
    stop(process)
    text += process.communicate(timeout=240)[0]
    assert "Traceback" not in text and process.returncode, text
    if "SIGKILL" not in how:
        stopped = state(run)
        assert stopped.state == "interrupted" and 0 < stopped.iterations < LAST, text
        assert f"stopped at iteration {stopped.iterations} of {LAST}; to resume, run the same command" in text
    status, said, error = cascade(*words(small_lmdb, run, engine))  # it waits for the end of a Caffe that still runs
    assert status == 0 and 0 < int(re.search(r"region: resuming at iteration (\d+)", said)[1]) < LAST, error
    assert weights(run) == weights(undisturbed(engine))
    # One log has both runs.
    losses = caffe_log.read((run / "region/train.log").read_text().splitlines())["train", "loss"]
    assert [iteration for iteration, _ in losses] == list(range(LAST + 1))


def test_a_closed_terminal_stops_a_training_except_under_nohup(monkeypatch):
    """engine/tests/test_caffe_command.py has what each signal does."""
    for handler, stops in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):
        monkeypatch.setattr(signal, "getsignal", lambda number, handler=handler: handler)
        assert (signal.SIGHUP in training.stopping()) == stops


# Ends before their time, and longer trainings ---------------------------------------------------------------


def test_a_stage_is_continued_by_max_iter_with_times_and_images_recorded(small_lmdb, undisturbed, tmp_path, cascade):
    run = shutil.copytree(undisturbed("torch"), tmp_path / "run")
    before = state(run)
    status, said, _ = cascade(*words(small_lmdb, run, solver=SOLVER.replace(f"max_iter={LAST}", "max_iter=34")))
    assert status == 0 and f"resuming at iteration {LAST}" in said
    after = state(run)
    for stage, iterations in ((before, LAST), (after, 34)):
        assert stage.state == "done" and stage.iterations == iterations and stage.images == 2 * iterations
    assert 0 < before.seconds < after.seconds and after.images_per_second > 0
    assert after.made_with["engine"] == "torch" and after.made_with["precision"] == "float32"
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", after.made_with["commit"])


def test_pruning_leaves_what_is_newer_and_what_is_no_pair(tmp_path):
    for name in ("1.solverstate", "1.caffemodel", "2.solverstate", "2.caffemodel", "3.caffemodel"):
        (tmp_path / f"a_iter_{name}").touch()
    for keep, iteration, expected in ((0, 9, "123"), (1, 1, "123"), (1, 9, "23")):
        snapshots.prune(tmp_path, "a", keep, iteration)
        assert "".join(sorted({path.stem.removeprefix("a_iter_") for path in tmp_path.iterdir()})) == expected


# Damage -----------------------------------------------------------------------------------------------------


def test_a_damaged_snapshot_is_named_and_skipped(undisturbed, tmp_path):
    """Weights truncated at the end of a message, so that the rest is a valid one. engine/tests/ has other damage."""
    folder = shutil.copytree(undisturbed("torch") / "region", tmp_path / "region")
    path = folder / f"region_iter_{LAST}.caffemodel"
    message = caffe_pb2.NetParameter.FromString(path.read_bytes())
    del message.layer[-3:]
    path.write_bytes(message.SerializeToString())
    found, (fault,) = snapshots.newest(folder, "region", folder / "train_val.prototxt")
    assert found == EARLIER and "\n" not in str(fault)
    assert str(path) in str(fault) and "cut short, layer" in str(fault)


@pytest.mark.parametrize(
    "engine, display, message",
    [
        ("torch", 1, r"error: region: .*(nan|inf).*base_lr.*"),
        # Between two reported losses BVLC Caffe writes weights that are not finite; once that was an interruption.
        ("bvlc", 1000, r"error: region: .*holds numbers that are not finite.*base_lr.*"),
    ],
)
def test_a_training_that_diverges_fails(engine, display, message, small_lmdb, tmp_path, cascade):
    solver = f"max_iter=4,snapshot=1000,test_interval=1000,base_lr=1e30,clip_gradients=-1,display={display}"
    status, _, error = cascade(*words(small_lmdb, tmp_path / "run", engine, solver))
    assert status == 1 and state(tmp_path / "run").state == "failed"
    assert re.fullmatch(message, error.splitlines()[-1]), error


# First weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ("torch", pytest.param("bvlc", marks=pytest.mark.slow)))
def test_a_stage_starts_from_the_weights_but_not_from_their_state(
    engine, small_run, small_lmdb, tmp_path, cascade, fails
):
    first, other = small_run / state(small_run, "cascade").weights, small_run / state(small_run, "average").weights
    command = words(small_lmdb, tmp_path / "run", engine, STILL)
    status, _, error = cascade(*command, "--start-from", first)
    assert status == 0, error
    before, after = layers(first), layers(tmp_path / "run/region/region_iter_1.caffemodel")
    learned = [name for name in after if name not in ("balanced_data", "early_stopping", "region_mapper")]
    assert {"conv1", "conv7"} <= set(learned)
    for name in learned:
        for old, new in zip(before[name], after[name]):
            np.testing.assert_allclose(new, old, atol=1e-6, err_msg=name)
    assert after["balanced_data"][0].tolist() == [1, 0, 0, 0]
    assert after["early_stopping"][1][:, 1].tolist() == [1, 1]  # losses observed
    fails(*command, "--start-from", other, says=("initial weights differs", "--restart"))
