"""Small data and one small trained run, shared by the tests of the command line and of the tools."""

import os

os.environ.setdefault("GLOG_minloglevel", "2")

import pytest  # noqa: E402
from command_line import ATTRIBUTES, face_cascade, train_words  # noqa: E402

from data_prep.build.builder import build  # noqa: E402
from data_prep.sources.opening import open_source  # noqa: E402
from data_prep.synthetic import synthetic_faces  # noqa: E402


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
