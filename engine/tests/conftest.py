"""The fixtures of the engine's tests."""

import caffe
import pytest
from parity import alike, bvlc  # noqa: F401
from tiny import program  # noqa: F401


@pytest.fixture(autouse=True)
def settings_of_the_process():
    """Every test begins with the default settings."""
    yield
    caffe.set_precision("float32")
    caffe.set_shard("records")
    caffe.set_decoded_budget(None)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
