"""The engine's own test helpers, for the tests that need the project's networks as well."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "engine/tests"))

from parity import bvlc  # noqa: E402, F401
