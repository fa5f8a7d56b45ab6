"""Commands killed with SIGKILL at any moment: the same command then ends with the results of one left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import lmdb
import pytest
from caffe import wire
from command_line import ATTRIBUTES, REPOSITORY, train_words

from tools import cli
from tools.evaluate import results

# What another call may write otherwise: dates, durations, the clone's commit, and checksums of files that hold these.
TIMES = ("date", "seconds", "images_per_second", "faces_per_second", "made_with", "commit")
TIMES += ("checksum", "checksums", "arrays")
LOGS = ("train.log", ".lock", "lock.mdb")


@pytest.fixture(scope="module")
def trained(small_run, tmp_path_factory):
    """A folder with a copy of the small run."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(small_run, folder / "run")
    return folder


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """The same, evaluated."""
    folder = tmp_path_factory.mktemp("evaluated") / "folder"
    shutil.copytree(trained, folder)
    assert cli.main(["evaluate", "--run", str(folder / "run"), "--resamples", "20"]) == 0
    return folder


@pytest.fixture
def command(request, small_faces, small_lmdb, trained, evaluated, tmp_path):
    """Words of a command that writes into tmp_path/work, and the folder that this is a copy of at first, or None."""
    work, faces = tmp_path / "work", sorted((small_faces / "img_align_celeba").iterdir())[:4]
    on, build = ["--run", work / "run"], ["data", small_faces, "--attributes", ",".join(ATTRIBUTES)]
    words, first = {
        "data": ([*build, "--out", work / "lmdb"], None),
        "data as a stream": ([*build, "--out", work / "lmdb", "--form", "stream", "--records", 50], None),
        "train": (["train", *train_words(small_lmdb, work / "run")], None),
        "evaluate": (["evaluate", *on, "--resamples", "20"], trained),
        "predict": (["predict", *on, "--aligned", *faces], evaluated),
        "report": (["report", *on], evaluated),
        "export": (["export", *on], evaluated),
    }[request.param]
    return list(map(str, words)), first, work


def afresh(first, work):
    shutil.rmtree(work, ignore_errors=True)
    if first is None:
        work.mkdir()
    else:
        shutil.copytree(first, work)


def finish(words, work):
    """Run a command to its end; the content of its folder."""
    assert cli.main(words) == 0
    return contents(work)


def contents(work):
    return {str(path.relative_to(work)): content(path) for path in sorted(work.rglob("*")) if counts(path)}


def counts(path):
    return path.is_file() and path.name not in LOGS


def content(path):
    """What a file holds, without dates and durations and what depends on them."""
    if path.suffix == ".mdb":
        with lmdb.open(str(path.parent), readonly=True, lock=False) as environment, environment.begin() as reading:
            return list(reading.cursor())
    if path.suffix == ".caffemodel":
        return [(name, [blob.tobytes() for blob in blobs]) for name, blobs in wire.read_weights(path)]
    if path.suffix == ".npz":
        return {name: a.tobytes() for name, a in results.load_arrays(path).items() if name not in TIMES}
    if path.suffix == ".json":
        return timeless(json.loads(path.read_bytes()))
    return path.read_bytes()


def timeless(value):
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [*map(timeless, value)] if isinstance(value, list) else value


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


def killed(words, write=0, moment=600.0):
    """Run a command and kill it at the write of a file, by its number, or after some seconds; whether it was killed.

    It runs in a session of its own, so that the processes which it starts are killed with it.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(write), *words],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name] == expected[name], name


@pytest.mark.parametrize("kills", (1, pytest.param(10, marks=pytest.mark.slow)))
@pytest.mark.parametrize(
    "command", ("data", "data as a stream", "train", "evaluate", "predict", "report", "export"), indirect=True
)
def test_killed_commands_end_as_undisturbed_ones_when_they_are_run_again(command, kills, monkeypatch):
    """Killed in the middle of its writes; in the slow run up to three times in succession, also at other moments."""
    (words, first, work), rng, fsync, written = command, random.Random(0), os.fsync, []
    afresh(first, work)
    monkeypatch.setattr(os, "fsync", lambda file: (written.append(file), fsync(file)))
    expected = finish(words, work)
    monkeypatch.undo()
    afresh(first, work)
    assert killed(words, (len(written) + 1) // 2)
    same(finish(words, work), expected)
    if kills > 1:
        afresh(first, work)
        begin = time.monotonic()
        assert not killed(words)
        longest = time.monotonic() - begin
    count = 1
    while count < kills:
        afresh(first, work)
        for _ in range(rng.choice((1, 1, 2, 3))):
            how = rng.choice(({"write": rng.randint(1, len(written))}, {"moment": rng.random() * longest}))
            ended = not killed(words, **how)
            count += not ended
            if ended or (work / "lmdb").exists():  # killed when all was done; a build does not replace its folder
                break
        else:
            finish(words, work)
        same(contents(work), expected)
