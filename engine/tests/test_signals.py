"""Signals stop a training with a snapshot, and a log that nobody reads costs no snapshot."""

import os
import signal
import subprocess
import time

import pytest
from tiny import OURS, SOLVER, environment, write

ENDLESS = SOLVER.replace("max_iter: 6", "max_iter: 1000000").replace("snapshot: 3", "snapshot: 0")


@pytest.fixture
def training(tmp_path):
    """A training that has begun: (process, folder); its log is a pipe."""
    write(tmp_path, ENDLESS.replace("display: 2", "display: 500"))
    process = subprocess.Popen(
        [*OURS, "train", "-solver", "solver.prototxt"],
        **{"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": environment()},
        start_new_session=True,
    )
    for line in process.stderr:
        if "Iteration 500" in line:
            break
    yield process, tmp_path
    process.kill()
    process.wait()
    process.stderr.close()


def wait_for(condition, seconds=60):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("name", ("SIGINT", "SIGTERM"))
def test_a_signal_to_stop_leaves_a_snapshot(name, training):
    process, folder = training
    process.send_signal(getattr(signal, name))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0 and "Optimization stopped early." in log, log
    assert list(folder.glob("tiny_iter_*.solverstate")) and list(folder.glob("tiny_iter_*.caffemodel"))


def test_hang_up_writes_a_snapshot_and_goes_on(training):
    process, folder = training
    process.send_signal(signal.SIGHUP)
    assert wait_for(lambda: list(folder.glob("tiny_iter_*.solverstate")))
    assert process.poll() is None


@pytest.mark.parametrize("names", (["SIGHUP", "SIGTERM"], ["SIGTERM"]))
def test_a_log_pipe_that_is_gone_costs_no_snapshot(names, training):
    """A terminal that closes takes the reader of the log with it and sends SIGHUP to the whole process group."""
    process, folder = training
    process.stderr.close()
    for number, name in enumerate(names, 1):
        os.killpg(process.pid, getattr(signal, name))
        assert wait_for(lambda count=number: len(list(folder.glob("tiny_iter_*.solverstate"))) >= count), name
    assert process.wait(timeout=60) == 0


def test_a_full_disk_under_the_log_is_no_error(tmp_path):
    write(tmp_path)
    with open("/dev/full", "w") as full:
        command = [*OURS, "train", "-solver", "solver.prototxt"]
        done = subprocess.run(command, stdout=full, stderr=full, cwd=tmp_path, env=environment())
    assert done.returncode == 0 and (tmp_path / "tiny_iter_6.solverstate").exists()


def test_standard_error_that_is_closed_is_no_error(tmp_path):
    write(tmp_path)
    command = 'exec "$@" 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *OURS, "train", "-solver", "solver.prototxt"], cwd=tmp_path, env=environment()
    )
    assert done.returncode == 0 and (tmp_path / "tiny_iter_6.solverstate").exists()
