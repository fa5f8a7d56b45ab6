"""The layer types; importing this registers them all."""

from . import (  # noqa: F401
    affine,
    classification,
    combine,
    convolution,
    data,
    losses,
    neurons,
    normalise,
    pooling,
    products,
    python,
    shapes,
)
from .base import TYPES, Layer, layer_type

__all__ = ["TYPES", "Layer", "layer_type"]
