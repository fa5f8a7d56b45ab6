"""Trainings: their sequence of mini-batches, seeds, interruptions, damage, first weights, and earlier or later ends."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import caffe
import numpy as np
import pytest
from caffe import wire
from caffe.proto import caffe_pb2
from command_line import REPOSITORY

from data_prep import start
from models import generate
from models.options import NetworkOptions
from python_layers.balanced_data import from_digits
from tools import cli
from tools import run as runs
from tools.train import caffe_log, snapshots

LAST, EARLIER = 30, 20  # iterations of the snapshots of an undisturbed training
SOLVER = f"max_iter={LAST},snapshot=1000,display=1,test_interval=1000,average_loss=1,base_lr=0.002"
STILL = "max_iter=1,snapshot=10,display=1,test_interval=10,base_lr=1e-12,weight_decay=0"


def words(lmdb, run, engine="torch", solver=SOLVER, stage="region"):
    options = ["--lmdb", lmdb, "--run", run, "--batch", 2, "--width", "1/16", "--caffe", engine, f"--solver={solver}"]
    return list(map(str, ["train", stage, *options]))


def layers(path):
    return dict(wire.read_weights(path))


def weights(run, stage="region"):
    found = layers(run / stage / f"{stage}_iter_{LAST}.caffemodel")
    return {f"{name}[{index}]": blob for name, blobs in found.items() for index, blob in enumerate(blobs)}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def state(run, stage="region"):
    return runs.Run.read(run).stages[stage]


@pytest.fixture(scope="module")
def undisturbed(small_lmdb, tmp_path_factory):
    """Engine -> run whose task one was trained without interruption."""
    made = {}

    def run_of(engine):
        if engine not in made:
            folder = tmp_path_factory.mktemp("straight") / "run"
            solver = SOLVER.replace("snapshot=1000", "snapshot=10")
            assert cli.main([*words(small_lmdb, folder, engine, solver), "--keep-snapshots", "2"]) == 0
            made[engine] = folder
        return made[engine]

    return run_of


# The sequence of mini-batches -------------------------------------------------------------------------------


def batches(folder, net, phase, number=3, weights=None):
    """The first training images of a net that a run has trained."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        made = caffe.Net(f"{net}/train_val.prototxt", phase)
        if weights:
            made.copy_from(str(weights))
        found = []
        for _ in range(number):
            made.forward(end="label")
            found.append(made.blobs["data"].data.copy())
        return found
    finally:
        os.chdir(before)


def test_joint_training_goes_on_where_task_one_ended(small_run):
    """Once the position in the data was dropped with the average region, and the cascade saw the same images again."""
    ends = [layers(small_run / state(small_run, name).weights)["balanced_data"][0] for name in ("region", "cascade")]
    assert [from_digits(end) for end in ends] == [4, 8]
    average = layers(small_run / "average/average.caffemodel")
    assert from_digits(average["balanced_data"][0]) == 4 and "early_stopping" not in average
    first = batches(small_run, "cascade", caffe.TRAIN, 2, small_run.absolute() / "average/average.caffemodel")
    again = batches(small_run, "region", caffe.TRAIN, 6)
    assert (first[0] == again[4]).all() and (first[1] == again[5]).all() and (first[0] != again[0]).any()


def test_a_seed_is_one_of_order_crops_and_first_weights(small_run, small_lmdb, tmp_path):
    """Once it was of the first weights only, so that seeds were not trainings."""
    for seed in (1, 2):
        options = NetworkOptions(["Eyeglasses", "Male"], small_lmdb, seed=seed, width=1 / 16, batch=2)
        generate.write(tmp_path / str(seed), options, {"region": {"random_seed": str(seed)}})
    one, two = (batches(tmp_path / str(seed), "region", caffe.TRAIN, 1)[0] for seed in (1, 2))
    assert (one != two).any()
    assert (batches(small_run, "region", caffe.TRAIN, 1)[0] == one).all()
    assert "random_seed: 2" in (tmp_path / "2/region/solver.prototxt").read_text()


# Interruptions ----------------------------------------------------------------------------------------------


def started(command):
    """A process in its own session, with its output in a pipe, after its third iteration, and what it has printed."""
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


def program(*arguments):
    return start.command(sys.executable, "tools.cli", *arguments)


@pytest.mark.parametrize(
    "engine, how",
    [
        ("torch", "Ctrl-C in make"),
        ("bvlc", "SIGTERM to the command"),
        pytest.param("bvlc", "Ctrl-C in make", marks=pytest.mark.slow),
        pytest.param("torch", "closed terminal", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_training_leaves_a_snapshot_and_its_command_resumes(
    engine, how, small_lmdb, undisturbed, tmp_path, cascade
):
    run = tmp_path / "a run"
    command = program(*words(small_lmdb, run, engine))
    if how == "Ctrl-C in make":
        options = f"ARGS=region --width 1/16 --caffe {engine} --solver={SOLVER}"
        command = ["make", "train", f"LMDB={small_lmdb}", f"RUN={run}", "BATCH=2", options]
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
    (snapshot,) = snapshots.iterations(run / "region", "region")
    assert snapshots.newest(run / "region", "region", run / "region/train_val.prototxt") == (snapshot, [])
    status, said, error = cascade(*words(small_lmdb, run, engine))
    assert status == 0 and f"region: resuming at iteration {snapshot}" in said, error
    same(weights(run), weights(undisturbed(engine)))
    # One log has both runs.
    losses = caffe_log.read((run / "region/train.log").read_text().splitlines())["train", "loss"]
    assert [iteration for iteration, _ in losses] == list(range(LAST + 1))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ("torch", "bvlc"))
def test_a_closed_terminal_does_not_stop_a_training_under_nohup(engine, small_lmdb, undisturbed, tmp_path):
    run = tmp_path / "a run"
    process, text = started(["nohup", *program(*words(small_lmdb, run, engine))])
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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ("torch", "bvlc"))
def test_a_signal_to_caffe_alone_does_not_mark_the_stage_as_done(engine, small_lmdb, tmp_path, fails):
    run = tmp_path / "run"
    process, text = started(program(*words(small_lmdb, run, engine)))
    os.kill(caffe_of(run), signal.SIGINT)
    text += process.communicate(timeout=120)[0]
    assert process.returncode == 1 and state(run).state == "interrupted", text
    fails("train", "average", "--run", run, says="average starts from region, which is interrupted")


@pytest.mark.slow
def test_the_command_killed_alone_lets_caffe_stop_with_a_snapshot(small_lmdb, undisturbed, tmp_path, cascade):
    run = tmp_path / "run"
    process, _ = started(program(*words(small_lmdb, run)))
    process.kill()
    process.wait()
    status, said, error = cascade(*words(small_lmdb, run))  # waits for that snapshot
    assert status == 0 and "region: resuming at iteration" in said, error
    same(weights(run), weights(undisturbed("torch")))


# Ends before their time, and longer trainings ---------------------------------------------------------------


def test_a_stage_is_ended_early_or_continued_by_max_iter(small_lmdb, undisturbed, tmp_path, cascade):
    run = tmp_path / "run"
    shutil.copytree(undisturbed("torch"), run)
    assert state(run).iterations == LAST
    status, said, _ = cascade(*words(small_lmdb, run, solver=SOLVER.replace(f"max_iter={LAST}", "max_iter=34")))
    assert status == 0 and f"resuming at iteration {LAST}" in said
    assert state(run).iterations == 34 and state(run).images == 2 * 34
    for ending in ("caffemodel", "solverstate"):  # as if interrupted there, with the newest snapshot deleted
        (run / f"region/region_iter_34.{ending}").unlink()
    ended = runs.Run.read(run)
    ended.stages["region"].state = "interrupted"
    ended.stages["region"].weights = ended.stages["region"].checksum = None
    ended.write()
    status, said, _ = cascade(*words(small_lmdb, run, solver=SOLVER.replace(f"max_iter={LAST}", "max_iter=25")))
    assert status == 0 and f"region: done, {LAST} iterations" in said
    assert state(run).weights == f"region/region_iter_{LAST}.caffemodel"


def test_the_newest_snapshots_are_kept_and_times_and_images_recorded(undisturbed):
    assert sorted(path.name for path in (undisturbed("torch") / "region").glob("region_iter_*")) == [
        f"region_iter_{number}.{ending}" for number in (EARLIER, LAST) for ending in ("caffemodel", "solverstate")
    ]
    stage = state(undisturbed("torch"))
    assert stage.state == "done" and stage.iterations == LAST and stage.images == 2 * LAST
    assert stage.seconds > 0 and stage.images_per_second > 0
    assert stage.made_with["engine"] == "torch" and stage.made_with["precision"] == "float32"
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", stage.made_with["commit"])


def test_pruning_leaves_what_is_newer_and_what_is_no_pair(tmp_path):
    for name in ("1.solverstate", "1.caffemodel", "2.solverstate", "2.caffemodel", "3.caffemodel"):
        (tmp_path / f"a_iter_{name}").write_bytes(b"")
    for name in ("9.solverstate", "9.caffemodel"):
        (tmp_path / f"a_iter_{name}").write_bytes(b"")

    def left():
        return "".join(sorted({path.stem.removeprefix("a_iter_") for path in tmp_path.iterdir()}))

    for keep, iteration, expected in ((0, 9, "1239"), (1, 2, "239"), (1, 9, "39")):
        snapshots.prune(tmp_path, "a", keep, iteration)
        assert left() == expected


# Damage -----------------------------------------------------------------------------------------------------


def without_last_layers(data):
    """Weights truncated at the end of a message, so that the rest is a valid message."""
    message = caffe_pb2.NetParameter.FromString(data)
    del message.layer[-3:]
    return message.SerializeToString()


def of_other_weights(data):
    message = caffe_pb2.SolverState.FromString(data)
    message.learned_net = "elsewhere/cascade_iter_40.caffemodel"
    return message.SerializeToString()


@pytest.mark.parametrize(
    "ending, damage, words",
    [
        ("solverstate", lambda data: data[: len(data) // 2], ""),
        ("caffemodel", lambda data: data[: 2 * len(data) // 3], ""),
        ("solverstate", lambda data: b"", ""),
        ("caffemodel", without_last_layers, "cut short, layer"),
        ("solverstate", of_other_weights, "belongs to the weights cascade_iter_40.caffemodel"),
    ],
)
def test_a_damaged_snapshot_is_named_and_skipped(ending, damage, words, undisturbed, tmp_path):
    folder = tmp_path / "region"
    shutil.copytree(undisturbed("torch") / "region", folder)
    path = folder / f"region_iter_{LAST}.{ending}"
    path.write_bytes(damage(path.read_bytes()))
    found, (fault,) = snapshots.newest(folder, "region", folder / "train_val.prototxt")
    assert found == EARLIER and str(path) in str(fault) and words in str(fault) and "\n" not in str(fault)


DIVERGING = SOLVER.replace("base_lr=0.002", "base_lr=1e30,clip_gradients=-1")


def test_a_loss_that_is_not_finite_fails_the_stage_and_stops_later_ones(small_lmdb, tmp_path, cascade, fails):
    run = tmp_path / "run"
    status, _, error = cascade(*words(small_lmdb, run, solver=DIVERGING.replace("snapshot=1000", "snapshot=1")))
    assert status == 1 and state(run).state == "failed"
    assert re.fullmatch(r"error: region: .*(nan|inf).*base_lr.*", error.splitlines()[-1]), error
    fails("train", "cascade", "--run", run, says="average")


def test_a_divergence_between_two_reported_losses_is_a_failure(small_lmdb, tmp_path, cascade):
    """Of BVLC Caffe, which writes weights that are not finite; once it was called an interruption, again and again."""
    run = tmp_path / "run"
    solver = DIVERGING.replace("display=1,", "display=1000,").replace("max_iter=30", "max_iter=4")
    status, _, error = cascade(*words(small_lmdb, run, "bvlc", solver))
    assert status == 1 and state(run).state == "failed"
    assert "holds numbers that are not finite" in error and "base_lr" in error


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
    assert len(state(tmp_path / "run").inputs["initial weights"]) == 64
    fails(*command, "--start-from", other, says=("initial weights differs", "--restart"))


def test_unusable_first_weights_are_named(small_run, small_lmdb, tmp_path, fails):
    first, broken = small_run / state(small_run, "cascade").weights, tmp_path / "broken.caffemodel"
    broken.write_bytes(first.read_bytes()[:-1000])
    for number, (path, options, message) in enumerate(
        (
            (tmp_path / "nowhere.caffemodel", [], "no such file"),
            (broken, [], "not a .caffemodel, or cut short"),
            (first, ["--width", "1/8"], "weights of another net, of other attributes or another width: layer"),
        )
    ):
        command = words(small_lmdb, tmp_path / str(number), solver=STILL)
        fails(*command, "--start-from", path, *options, says=message)
