"""Small data, one small trained run, and the command line in this process."""

import fcntl
import os
import pathlib
import shutil
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "engine/tests"))  # their helpers
os.environ.setdefault("GLOG_minloglevel", "2")

import pytest  # noqa: E402
from command_line import ATTRIBUTES, train_words  # noqa: E402

from data_prep.build.builder import build  # noqa: E402
from data_prep.sources.opening import open_source  # noqa: E402
from data_prep.synthetic import synthetic_faces  # noqa: E402
from tools import cli  # noqa: E402


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Function (name, make) -> a folder that the first of several workers of pytest-xdist makes for all of them."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def folder(name, make):
        with open(root / f"{name}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.fstat(lock.fileno()).st_size:
                make(root / name)
                lock.write("made")
        return root / name

    return folder


@pytest.fixture(scope="session")
def small_faces(shared):
    """A folder of 60 synthetic faces in CelebA's layout."""
    shares = {"Eyeglasses": 0.4, "Male": 0.5}
    return shared("synthetic faces", lambda folder: synthetic_faces.generate(folder, 60, 4, shares))


@pytest.fixture(scope="session")
def small_lmdb(small_faces, shared):
    """Their LMDBs in compact form, in a folder with a blank in its name."""
    return shared("small lmdb", lambda folder: build(open_source(small_faces), folder, ATTRIBUTES))


@pytest.fixture(scope="session")
def small_run(small_lmdb, shared, tmp_path_factory):
    """A run that face-cascade trained on these LMDBs, with the engine; each worker has its own copy."""

    def train(folder):
        average = ["average", "--run", str(folder), "--faces", "8", "--rectangles", "theoretical"]
        for words in (["train", *train_words(small_lmdb, folder)], average, ["train", "--run", str(folder)]):
            assert cli.main(words) == 0

    return shutil.copytree(shared("small run", train), tmp_path_factory.mktemp("runs") / "small run")


@pytest.fixture
def cascade(capfd):
    """Function that runs face-cascade with some words: exit status, standard output, standard error."""

    def run(*words):
        capfd.readouterr()
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        return (status, *capfd.readouterr())

    return run


@pytest.fixture
def fails(cascade):
    """Function that runs face-cascade and asserts that it ends with an error of one line that holds some words."""

    def run(*words, says):
        status, _, error = cascade(*words)
        lines = error.splitlines()
        assert status in (1, 2) and len(lines) == 1 and lines[0].startswith("error: "), (status, error)
        for word in [says] if isinstance(says, str) else says:
            assert word in error, error

    return run
