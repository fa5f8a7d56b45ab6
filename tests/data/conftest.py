"""A small data set in LFWA's layout."""

import pytest

from data_prep.synthetic import synthetic_faces


@pytest.fixture(scope="session")
def lfwa_faces(tmp_path_factory):
    """A folder of 50 synthetic faces in LFWA's layout."""
    folder = tmp_path_factory.mktemp("lfwa") / "faces"
    synthetic_faces.generate(folder, 50, 4, {"Male": 0.5, "Smiling": 0.5}, workers=1, layout="lfwa")
    return folder
