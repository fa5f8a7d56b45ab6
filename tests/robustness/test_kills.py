"""Two kills of `make train`, the second while a snapshot is written, lose nothing. kill_training.py has more of them.

They take minutes on a busy machine, so the test runs only if SLOW_TESTS is set.
"""

import os

import kill_training
import pytest

slow = pytest.mark.skipif(not os.environ.get("SLOW_TESTS"), reason="set SLOW_TESTS=1 for tests that take minutes")


@slow
def test_two_kills_lose_nothing(tmp_path):
    """The first comes at a random moment, on a busy machine maybe before the first snapshot."""
    kills, _, differing = kill_training.run(tmp_path, "torch", "compact", kills=2, longest=6.0)
    assert kills == 2 and not differing


def test_remains_of_an_earlier_kill_are_not_taken_for_a_snapshot_being_written(tmp_path):
    region = tmp_path / "region"
    region.mkdir()
    assert not kill_training.unfinished(tmp_path)
    for name in ("region_iter_3.caffemodel", "region_iter_3.solverstate", "region_iter_6.caffemodel"):
        (region / name).touch()
    (region / ".region_iter_9.caffemodel.7.partial").touch()
    left = {"region/region_iter_6", "region/.region_iter_9.caffemodel.7.partial"}
    assert kill_training.unfinished(tmp_path) == left
