"""Small data sets of synthetic faces, and the command line in this process."""

import pytest

from data_prep.synthetic import synthetic_faces
from tools import cli


@pytest.fixture(scope="session")
def lfwa_faces(tmp_path_factory):
    """A folder of 50 synthetic faces in LFWA's layout."""
    folder = tmp_path_factory.mktemp("lfwa") / "faces"
    synthetic_faces.generate(folder, 50, 4, {"Male": 0.5, "Smiling": 0.5}, workers=1, layout="lfwa")
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
