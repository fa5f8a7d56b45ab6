"""First values of parameters: constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear."""

import math

import torch

from . import context
from .errors import CaffeError, check
from .proto import caffe_pb2
from .tensors import product


def fan(shape, norm):
    """Numbers a weight's sum runs over: inputs, outputs or their mean, as Caffe counts them."""
    count = product(shape)
    fan_in = count / shape[0] if shape else count
    fan_out = count / shape[1] if len(shape) > 1 else count
    if norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if norm == caffe_pb2.FillerParameter.FAN_OUT else fan_in


def constant(shape, param, rng):
    return torch.full(shape, param.value)


def uniform(shape, param, rng):
    return torch.empty(shape).uniform_(param.min, param.max, generator=rng)


def gaussian(shape, param, rng):
    """Normal numbers; with `sparse`, each of a unit's inputs is kept with probability sparse / outputs."""
    values = torch.empty(shape).normal_(param.mean, param.std, generator=rng)
    if param.sparse >= 0:
        check(len(shape) >= 1, "filler gaussian: sparse needs a blob with axes")
        kept = min(param.sparse / shape[0], 1)
        values *= torch.empty(shape).bernoulli_(kept, generator=rng)
    return values


def positive_unitball(shape, param, rng):
    """Uniform numbers above 0 that sum to 1 over the inputs of each unit."""
    values = torch.empty(shape).uniform_(0, 1, generator=rng).view(shape[0], -1)
    return (values / values.sum(1, keepdim=True)).view(shape)


def xavier(shape, param, rng):
    limit = math.sqrt(3 / fan(shape, param.variance_norm))
    return torch.empty(shape).uniform_(-limit, limit, generator=rng)


def msra(shape, param, rng):
    std = math.sqrt(2 / fan(shape, param.variance_norm))
    return torch.empty(shape).normal_(0, std, generator=rng)


def bilinear(shape, param, rng):
    """The same square kernel of bilinear interpolation everywhere, for upsampling Deconvolutions."""
    check(len(shape) == 4 and shape[2] == shape[3], f"filler bilinear is for square kernels, not the shape {shape}")
    factor = (shape[3] + 1) // 2
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    side = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    return (side[:, None] * side).expand(shape).contiguous()


FILLERS = {
    "constant": constant,
    "uniform": uniform,
    "gaussian": gaussian,
    "positive_unitball": positive_unitball,
    "xavier": xavier,
    "msra": msra,
    "bilinear": bilinear,
}


def fill(blob, param):
    """Fill a blob's data as a FillerParameter says. Raises CaffeError for an unknown type."""
    if param.type not in FILLERS:
        raise CaffeError(f"unknown filler type {param.type!r}; supported are {', '.join(FILLERS)}")
    check(param.sparse == -1 or param.type == "gaussian", f"filler {param.type}: sparse belongs to gaussian")
    blob.put(FILLERS[param.type](tuple(blob.shape), param, context.generator()))
