"""Commands killed with SIGKILL at any file that they write: the same command then has the results of one left alone."""

import json
import os
import shutil
import signal
import subprocess
import sys

import lmdb
import pytest
from caffe import wire
from command_line import REPOSITORY, train_words

from tools import cli
from tools.evaluate import results

# What another call may write otherwise: dates, durations, the clone's commit, and checksums of files that hold these.
TIMES = ("date", "seconds", "images_per_second", "faces_per_second", "made_with", "commit")
TIMES += ("checksum", "checksums", "arrays")
LOGS = ("train.log", ".lock", "lock.mdb")


@pytest.fixture
def command(request, small_faces, small_lmdb, small_run, tmp_path):
    """Words of a command that writes into tmp_path/work, and the folder that this is a copy of at first."""
    work, first, faces = tmp_path / "work", tmp_path / "first", sorted((small_faces / "img_align_celeba").iterdir())[:4]
    name, run = request.param, ["--run", work / "run"]
    words = {
        "data": [small_faces, "--out", work / "lmdb", "--attributes", "Eyeglasses,Male"],
        "train": train_words(small_lmdb, work / "run"),
        "evaluate": [*run, "--resamples", "20"],
        "predict": [*run, "--aligned", *faces],
    }.get(name, run)
    first.mkdir()
    if words[0] == "--run":
        shutil.copytree(small_run, first / "run")
        assert name == "evaluate" or cli.main(["evaluate", "--run", str(first / "run"), "--resamples", "20"]) == 0
    return [name, *map(str, words)], first, work


def contents(work):
    """The files of a folder: their names, and what they hold that a second call writes again."""
    files = [path for path in sorted(work.rglob("*")) if path.is_file() and path.name not in LOGS]
    return {str(path.relative_to(work)): content(path) for path in files}


def content(path):
    """What a file holds, without dates and durations and what depends on them."""
    if path.suffix == ".mdb":
        with lmdb.open(str(path.parent), readonly=True, lock=False) as environment, environment.begin() as reading:
            return list(reading.cursor())
    if path.suffix == ".caffemodel":
        return [(name, [blob.tobytes() for blob in blobs]) for name, blobs in wire.read_weights(path)]
    if path.suffix == ".npz":
        arrays = {name: array for name, array in results.load_arrays(path).items() if name not in TIMES}
        arrays[results.INPUTS] = arrays[results.INPUTS][:-1]  # without the checksum
        return {name: array.tobytes() for name, array in arrays.items()}
    if path.suffix == ".json":
        return json.loads(path.read_bytes(), object_hook=lambda found: {k: found[k] for k in found if k not in TIMES})
    return path.read_bytes()


# Counts the files that are written completely or not at all, and kills itself with all that it started at one of them.
KILLED = """
import os, signal, sys
count, at, fsync = 0, int(sys.argv.pop(1)), os.fsync
def writing(file):
    global count
    count += 1
    if count == at:
        os.killpg(0, signal.SIGKILL)
    fsync(file)
os.fsync = writing
from tools import cli
sys.exit(cli.main())
"""


@pytest.mark.parametrize("kills", (1, pytest.param(10, marks=pytest.mark.slow)))
@pytest.mark.parametrize("command", ("data", "train", "evaluate", "predict", "report", "export"), indirect=True)
def test_killed_commands_end_as_undisturbed_ones_when_they_are_run_again(command, kills, monkeypatch):
    """Killed in the middle of its writes; in the slow run at ten of them, from the first to the last."""
    (words, first, work), fsync, written = command, os.fsync, []
    shutil.copytree(first, work)
    monkeypatch.setattr(os, "fsync", lambda file: (written.append(file), fsync(file)))
    assert cli.main(words) == 0
    monkeypatch.undo()
    expected = contents(work)
    for place in range(1, kills + 1):
        shutil.rmtree(work)
        shutil.copytree(first, work)
        number = 1 + len(written) * place // (kills + 1)
        # In a session of its own, so that the processes which it starts are killed with it.
        program = [sys.executable, "-c", KILLED, str(number), *words]
        done = subprocess.run(program, cwd=REPOSITORY, stdout=subprocess.DEVNULL, start_new_session=True)
        assert done.returncode == -signal.SIGKILL
        if not (work / "lmdb").exists():  # killed when all was done; a build does not replace its folder
            assert cli.main(words) == 0
        found = contents(work)
        assert found.keys() == expected.keys()
        for name in found:
            assert found[name] == expected[name], name
