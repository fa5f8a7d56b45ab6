"""Small data, one small trained run, and the command line in this process."""

import os

os.environ.setdefault("GLOG_minloglevel", "2")

import pytest  # noqa: E402
from command_line import ATTRIBUTES, face_cascade, train_words  # noqa: E402

from data_prep.build.builder import build  # noqa: E402
from data_prep.sources.opening import open_source  # noqa: E402
from data_prep.synthetic import synthetic_faces  # noqa: E402
from tools import cli  # noqa: E402


@pytest.fixture(scope="session")
def small_faces(tmp_path_factory):
    """A folder of 60 synthetic faces in CelebA's layout."""
    folder = tmp_path_factory.mktemp("data") / "synthetic faces"
    synthetic_faces.generate(folder, 60, 4, {"Eyeglasses": 0.4, "Male": 0.5}, workers=1)
    return folder


@pytest.fixture(scope="session")
def small_lmdb(small_faces):
    """Their LMDBs in compact form, in a folder with a blank in its name."""
    folder = small_faces.parent / "small lmdb"
    build(open_source(small_faces), folder, ATTRIBUTES)
    return folder


@pytest.fixture(scope="session")
def small_run(small_lmdb, tmp_path_factory):
    """A run that `face-cascade train` made from these LMDBs, with the engine."""
    folder = tmp_path_factory.mktemp("runs") / "small run"
    done = face_cascade("train", *train_words(small_lmdb, folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def cascade(capfd):
    """Function that runs face-cascade with some words: exit status, standard output, standard error."""

    def run(*words):
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
