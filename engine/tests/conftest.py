"""The fixture of the real Caffe beside the engine."""

from parity import bvlc  # noqa: F401
