"""The test helpers of engine/tests, for tests that also need the project's networks."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "engine/tests"))

from parity import bvlc  # noqa: E402, F401
