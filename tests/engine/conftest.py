"""A real Caffe for tests of the project's networks."""

from parity import bvlc  # noqa: F401
