"""The layer types. Importing this package registers all of them in TYPES."""

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
