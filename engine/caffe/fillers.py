"""Fillers, which initialise parameters, with the distributions of BVLC Caffe's filler.hpp.

Each takes (shape, FillerParameter, torch.Generator) and returns a float32 tensor on the CPU.
"""

import math

import torch

from . import context
from .errors import CaffeError, check
from .proto import caffe_pb2


def fan(shape, norm):
    """The n of xavier and msra: the fan-in, the fan-out or their mean, as variance_norm says.

    As in BVLC Caffe, the fan-in is count / shape[0] and the fan-out count / shape[1].
    """
    count = math.prod(shape)
    fan_in = count / shape[0] if shape else count
    fan_out = count / shape[1] if len(shape) > 1 else count
    if norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if norm == caffe_pb2.FillerParameter.FAN_OUT else fan_in


def constant(shape, param, rng):
    """`value` everywhere."""
    return torch.full(shape, param.value)


def uniform(shape, param, rng):
    """Uniform between `min` and `max`."""
    return torch.empty(shape).uniform_(param.min, param.max, generator=rng)


def gaussian(shape, param, rng):
    """Normal with `mean` and `std`. If `sparse` is given, each weight is kept with probability sparse / shape[0].

    Raises CaffeError for `sparse` and a blob without axes.
    """
    values = torch.empty(shape).normal_(param.mean, param.std, generator=rng)
    if param.sparse >= 0:
        check(len(shape) >= 1, "filler gaussian: sparse needs a blob with axes")
        probability = min(param.sparse / shape[0], 1)
        values *= torch.empty(shape).bernoulli_(probability, generator=rng)
    return values


def positive_unitball(shape, param, rng):
    """Uniform between 0 and 1, divided by their sum over the inputs of each unit (a row of axis 0)."""
    values = torch.empty(shape).uniform_(0, 1, generator=rng).view(shape[0], -1)
    return (values / values.sum(1, keepdim=True)).view(shape)


def xavier(shape, param, rng):
    """Uniform between -sqrt(3 / n) and sqrt(3 / n) (Glorot and Bengio, 2010)."""
    limit = math.sqrt(3 / fan(shape, param.variance_norm))
    return torch.empty(shape).uniform_(-limit, limit, generator=rng)


def msra(shape, param, rng):
    """Normal with mean 0 and variance 2 / n (He et al., 2015)."""
    std = math.sqrt(2 / fan(shape, param.variance_norm))
    return torch.empty(shape).normal_(0, std, generator=rng)


def bilinear(shape, param, rng):
    """The square kernel of bilinear interpolation in every channel, for Deconvolutions that upsample.

    Raises CaffeError unless shape is (N, C, K, K).
    """
    check(len(shape) == 4 and shape[2] == shape[3], f"filler bilinear is for square kernels, not the shape {shape}")
    factor = (shape[3] + 1) // 2
    centre = (shape[3] - 1) / (2 * factor)
    side = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    return (side[:, None] * side).expand(shape).contiguous()


FILLERS = {f.__name__: f for f in (constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear)}


def fill(blob, param):
    """Fill a blob's data as a FillerParameter says. Raises CaffeError for an unknown type or unsuitable fields."""
    if param.type not in FILLERS:
        raise CaffeError(f"unknown filler type {param.type!r}; supported are {', '.join(FILLERS)}")
    check(blob.count > 0, f"filler {param.type}: a blob of shape {tuple(blob.shape)} has no numbers")
    check(param.sparse == -1 or param.type == "gaussian", f"filler {param.type}: only gaussian has sparse")
    blob.put(FILLERS[param.type](tuple(blob.shape), param, context.generator()))
