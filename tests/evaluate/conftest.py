"""One run that is evaluated, and copies of it to change."""

import evaluation_files
import pytest


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """A folder with LMDBs and an evaluated run of all networks; not to be changed."""
    folder = tmp_path_factory.mktemp("evaluated")
    evaluation_files.make(folder)
    return folder


@pytest.fixture
def run(evaluated, tmp_path):
    """A copy of that Run, with its LMDBs beside it, for one test to change."""
    return evaluation_files.copied(evaluated, tmp_path)
