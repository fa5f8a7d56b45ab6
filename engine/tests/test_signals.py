"""Signals stop a training with a snapshot, and a log that nobody reads costs no snapshot."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny import OURS, SHORT, environment, write

ENDLESS = SHORT.replace("max_iter: 6", "max_iter: 1000000 display: 500").replace("snapshot: 2", "")
TRAIN = [*OURS, "train", "-solver", "solver.prototxt"]
# What `-gpu 0,1` does, with ranks on the CPU.
RANKS = [sys.executable, "-c", "import sys; from caffe import parallel; sys.exit(parallel.launch(2))", *TRAIN[-3:]]


def snapshots(folder, count):
    """Wait until a training has written so many snapshots; whether it has."""
    deadline = time.time() + 60
    while len(list(folder.glob("tiny_iter_*.solverstate"))) < count and time.time() < deadline:
        time.sleep(0.05)
    return len(list(folder.glob("tiny_iter_*.solverstate"))) >= count


@pytest.mark.parametrize(
    "command, names, reader",
    [
        (TRAIN, ["SIGINT"], "reads on"),
        (TRAIN, ["SIGHUP", "SIGTERM"], "is gone"),
        (RANKS, ["SIGHUP", "SIGINT"], "reads on"),
    ],
    ids=("SIGINT", "without a reader", "two ranks"),
)
def test_signals_leave_snapshots(command, names, reader, tmp_path):
    """SIGHUP writes one and goes on, the others write one and end. A terminal that closes takes the log's reader."""
    write(tmp_path, ENDLESS)
    options = {"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": environment()}
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        for line in process.stderr:
            if "Iteration 500" in line:
                break
        if reader == "is gone":
            process.stderr.close()
        for number, name in enumerate(names, 1):
            os.killpg(process.pid, getattr(signal, name))
            assert snapshots(tmp_path, number), name
        log = "Optimization stopped early." if process.stderr.closed else process.communicate(timeout=60)[1]
        assert process.wait(timeout=60) == 0 and "Optimization stopped early." in log
    finally:
        process.kill()
        process.wait()


def test_a_log_that_cannot_be_written_is_no_error(tmp_path):
    write(tmp_path)
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *TRAIN]
    assert subprocess.run(command, cwd=tmp_path, env=environment()).returncode == 0
    assert (tmp_path / "tiny_iter_6.solverstate").exists()
