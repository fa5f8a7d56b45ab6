"""Trainings that are stopped, killed or fail lose nothing, have the right state in the record, and are resumed."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from caffe import wire
from command_line import REPOSITORY, face_cascade

from tools import run as runs
from tools.train import caffe_log, snapshots

LAST, EARLIER = 40, 30  # iterations of the snapshots of an undisturbed training
SOLVER = f"max_iter={LAST},snapshot=1000,display=1,test_interval=1000,average_loss=1,base_lr=0.002"
ENGINES = ("torch", "bvlc")


def words(lmdb, run, engine, solver=SOLVER, stage="region"):
    return ["train", stage, "--lmdb", lmdb, "--run", run, "--batch", 2, "--caffe", engine, f"--solver={solver}"]


def weights(run, stage="region"):
    layers = wire.read_weights(run / stage / f"{stage}_iter_{LAST}.caffemodel")
    return {f"{name}[{index}]": blob for name, blobs in layers for index, blob in enumerate(blobs)}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(small_lmdb, tmp_path_factory):
    """Engine -> run whose task one was trained without interruption."""
    made = {}

    def run_of(engine):
        if engine not in made:
            folder = tmp_path_factory.mktemp("straight") / "run"
            solver = SOLVER.replace("snapshot=1000", f"snapshot={EARLIER}")
            done = face_cascade(*words(small_lmdb, folder, engine, solver))
            assert done.returncode == 0, done.stderr[-3000:]
            made[engine] = folder
        return made[engine]

    return run_of


def started(command):
    """A process in its own session, with its output in a pipe, after its third iteration."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
        # Under nohup the tests ignore SIGHUP, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    text = ""
    for line in process.stdout:
        text += line
        if re.search(r"iteration [3-9] of", line):
            return process, text
    raise AssertionError(text)


def state(run, stage="region"):
    return runs.Run.read(run).stages[stage]


@pytest.mark.parametrize(
    "engine, how",
    [
        ("torch", "Ctrl-C in make"),
        ("bvlc", "Ctrl-C in make"),
        ("bvlc", "SIGTERM to the command"),
        ("torch", "closed terminal"),
    ],
)
def test_a_stopped_training_leaves_a_snapshot_and_its_command_resumes(engine, how, small_lmdb, undisturbed, tmp_path):
    run = tmp_path / "a run"
    if how == "Ctrl-C in make":
        settings = [f"LMDB={small_lmdb}", f"RUN={run}", "BATCH=2", f"CAFFE={engine}", f"SOLVER={SOLVER}"]
        command = ["make", "train-region", *settings]
    else:
        command = [sys.executable, "-m", "tools.cli", *words(small_lmdb, run, engine)]
    process, text = started(command)
    if how == "SIGTERM to the command":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT if how == "Ctrl-C in make" else signal.SIGHUP)
    text += process.communicate(timeout=120)[0]
    assert process.returncode != 0 and "Traceback" not in text, text
    stopped = state(run)
    if how != "closed terminal":
        assert stopped.state == "interrupted" and 0 < stopped.iterations < LAST, text
        assert f"stopped at iteration {stopped.iterations} of {LAST}; run the same command again" in text
    wait_for(lambda: list((run / "region").glob("*.solverstate")))
    (snapshot,) = snapshots.pairs(run / "region", "region")
    assert snapshots.damage(snapshot, run / "region/train_val.prototxt") is None
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and f"region: resuming at iteration {snapshot.iteration}" in done.stdout, done.stderr
    same(weights(run), weights(undisturbed(engine)))
    # One log has both runs.
    losses = caffe_log.read((run / "region/train.log").read_text().splitlines())["train", "loss"]
    assert [iteration for iteration, _ in losses] == list(range(LAST + 1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_closed_terminal_does_not_stop_a_training_under_nohup(engine, small_lmdb, undisturbed, tmp_path):
    run = tmp_path / "a run"
    process, text = started(["nohup", sys.executable, "-m", "tools.cli", *words(small_lmdb, run, engine)])
    os.killpg(process.pid, signal.SIGHUP)
    text += process.communicate(timeout=240)[0]
    assert process.returncode == 0 and "resuming" not in text, text
    same(weights(run), weights(undisturbed(engine)))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def caffe_of(run):
    """The process of `caffe train` that trains in a run's folder."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if b"-solver=region/solver.prototxt" in command and (entry / "cwd").resolve() == run.resolve():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no training runs there")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_to_caffe_alone_does_not_mark_the_stage_as_done(engine, small_lmdb, tmp_path):
    run = tmp_path / "run"
    process, text = started([sys.executable, "-m", "tools.cli", *words(small_lmdb, run, engine)])
    os.kill(caffe_of(run), signal.SIGINT)
    text += process.communicate(timeout=120)[0]
    assert process.returncode == 1 and state(run).state == "interrupted", text
    done = face_cascade("average", "--run", run, "--caffe", engine)
    assert done.returncode == 1 and "average starts from region, which is interrupted" in done.stderr


def test_the_command_killed_alone_lets_caffe_stop_with_a_snapshot(small_lmdb, undisturbed, tmp_path):
    run, engine = tmp_path / "run", "torch"
    process, _ = started([sys.executable, "-m", "tools.cli", *words(small_lmdb, run, engine)])
    process.kill()
    process.wait()
    done = face_cascade(*words(small_lmdb, run, engine))  # waits for that snapshot
    assert done.returncode == 0 and "region: resuming at iteration" in done.stdout, done.stderr
    same(weights(run), weights(undisturbed(engine)))


@pytest.mark.parametrize("engine", ("bvlc", "torch"))
def test_only_the_newest_snapshots_are_kept(engine, small_lmdb, undisturbed, tmp_path):
    run, solver = tmp_path / "run", SOLVER.replace("snapshot=1000", "snapshot=10")
    done = face_cascade(*words(small_lmdb, run, engine, solver), "--keep-snapshots", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (run / "region").glob("region_iter_*")) == [
        f"region_iter_{number}.{ending}" for number in (30, 40) for ending in ("caffemodel", "solverstate")
    ]
    same(weights(run), weights(undisturbed(engine)))


def test_pruning_leaves_what_is_newer_and_what_is_no_pair(tmp_path):
    for name in ("1.solverstate", "1.caffemodel", "2.solverstate", "2.caffemodel", "3.caffemodel"):
        (tmp_path / f"a_iter_{name}").write_bytes(b"")
    for name in ("9.solverstate", "9.caffemodel"):
        (tmp_path / f"a_iter_{name}").write_bytes(b"")

    def left():
        return "".join(sorted({path.stem.removeprefix("a_iter_") for path in tmp_path.iterdir()}))

    snapshots.prune(tmp_path, "a", 0, 9)
    assert left() == "1239"
    snapshots.prune(tmp_path, "a", 1, 2)
    assert left() == "239"
    snapshots.prune(tmp_path, "a", 1, 9)
    assert left() == "39"


def copied(source, folder):
    """A copy of a run whose task one is not done yet, with its two snapshots."""
    run = folder / "run"
    shutil.copytree(source, run)
    record = json.loads((run / "run.json").read_text())
    record["stages"]["region"].update(state="running", weights=None, checksum=None)
    (run / "run.json").write_text(json.dumps(record))
    return run


DAMAGE = {
    "cut solver state": ("solverstate", lambda data: data[: len(data) // 2]),
    "cut weights": ("caffemodel", lambda data: data[: 2 * len(data) // 3]),
    "empty solver state": ("solverstate", lambda data: b""),
    "last layers missing": ("caffemodel", None),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_snapshot_is_named_and_skipped(kind, small_lmdb, undisturbed, tmp_path):
    run = copied(undisturbed("torch"), tmp_path)
    ending, change = DAMAGE[kind]
    path = run / f"region/region_iter_{LAST}.{ending}"
    data = path.read_bytes()
    path.write_bytes(change(data) if change else without_last_layer(data))
    done = face_cascade(*words(small_lmdb, run, "torch"))
    assert done.returncode == 0 and f"passed over a snapshot: {path}" in done.stdout, done.stderr
    assert f"region: resuming at iteration {EARLIER}" in done.stdout
    same(weights(run), weights(undisturbed("torch")))


def without_last_layer(data):
    """Weights truncated at the end of a message, so that the rest is a valid message."""
    from caffe.proto import caffe_pb2

    message = caffe_pb2.NetParameter.FromString(data)
    del message.layer[-3:]
    return message.SerializeToString()


def test_a_state_of_other_weights_is_refused(undisturbed, tmp_path):
    run = copied(undisturbed("torch"), tmp_path)
    from caffe.proto import caffe_pb2

    path = run / f"region/region_iter_{LAST}.solverstate"
    message = caffe_pb2.SolverState.FromString(path.read_bytes())
    message.learned_net = "elsewhere/cascade_iter_40.caffemodel"
    path.write_bytes(message.SerializeToString())
    snapshot, damaged = snapshots.newest_whole(run / "region", "region", run / "region/train_val.prototxt")
    assert snapshot.iteration == EARLIER and "belongs to other weights" in damaged[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_is_not_finite_fails_the_stage_and_stops_later_ones(engine, small_lmdb, tmp_path):
    run = tmp_path / "run"
    solver = SOLVER.replace("base_lr=0.002", "base_lr=1e30,clip_gradients=-1,snapshot=1")
    done = face_cascade(*words(small_lmdb, run, engine, solver.replace("snapshot=1000,", "")))
    assert done.returncode == 1 and state(run).state == "failed", done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: region: ") and ("nan" in line or "inf" in line) and "base_lr" in line
    assert snapshots.newest_whole(run / "region", "region", run / "region/train_val.prototxt")[0] is None or (
        "last good snapshot" in line
    )
    done = face_cascade("train", "cascade", "--run", run)
    assert done.returncode == 1 and "average" in done.stderr and done.stderr.count("\n") == 1


def test_times_and_images_are_in_the_record(undisturbed):
    stage = state(undisturbed("torch"))
    assert stage.state == "done" and stage.iterations == LAST and stage.images == 2 * LAST
    assert stage.seconds > 0 and stage.images_per_second > 0
    assert stage.made_with["engine"] == "torch" and stage.made_with["precision"] == "float32"
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", stage.made_with["commit"])
