"""Helper functions for sizes and tensors."""

import math

import torch

LAST = (0, 2, 3, 1)  # the axes of images (N, C, H, W) in the order (N, H, W, C)


def shaped(tensor, shape):
    """A tensor in another shape with as many elements, which keep their order; copied only if the strides require it.

    Between images (N, C, H, W) and (N', C', H, W), channels that are last in memory stay last.
    """
    if tensor.shape == shape:
        return tensor
    if tensor.dim() != 4 or len(shape) != 4 or tensor.shape[2:] != tuple(shape[2:]) or tensor.is_contiguous():
        return tensor.reshape(shape)
    part = math.gcd(tensor.shape[1], shape[1])
    parts = tensor.permute(LAST).unflatten(3, (-1, part)).permute(0, 3, 1, 2, 4)
    parts = parts.reshape(shape[0], shape[1] // part, *shape[2:], part)
    return parts.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)


def in_order_of(tensor, other):
    """A tensor with the shape of another one, on its device and in memory in its order; copied only if necessary."""
    tensor = shaped(tensor.to(other.device), other.shape)
    return tensor if tensor.stride() == other.stride() else torch.empty_like(other).copy_(tensor)


def flat(tensor):
    """The elements of a tensor without gaps in the order in which they are in memory, (n,)."""
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
