"""A real Caffe for tests of the project's networks."""

from parity import alike, bvlc  # noqa: F401
