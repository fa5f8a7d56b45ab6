"""The layers Scale and Bias: multiplication by a factor and addition of a term, broadcast along some axes."""

from ..proto import caffe_pb2
from .base import Derived, register


class Broadcast(Derived):
    """Base: an operand is broadcast to the first bottom, in which its axes begin at `axis`.

    The operand is the second bottom or, without one, a parameter blob over num_axes axes. settings: the layer's param
    """

    bottoms = (1, 2)

    def add_operand(self, bottom, filler):
        """Add and fill the parameter blob of the operand, unless it is a bottom. Raises CaffeError."""
        if len(bottom) > 1:
            return
        shape, num_axes = bottom[0].shape, self.settings.num_axes
        start = self.axis(self.settings.axis, bottom[0])
        end = len(shape) if num_axes == -1 else start + num_axes
        self.check(end <= len(shape), f"num_axes {num_axes} from axis {start} on is more than shape {shape} has")
        self.add_parameter(shape[start:end], filler)

    def operand(self, bottom):
        """The blob of the operand."""
        return bottom[1] if len(bottom) > 1 else self.blobs[0]

    def reshape(self, bottom, top):
        shape, small = bottom[0].shape, self.operand(bottom).shape
        start = self.axis(self.settings.axis, bottom[0]) if small else 0
        matches = tuple(shape[start : start + len(small)]) == tuple(small)
        self.check(matches, f"operand of shape {small} does not fit shape {shape} from axis {start} on")
        self.sizes = [1] * start + list(small) + [1] * (len(shape) - start - len(small))
        top[0].reshape(*shape)


@register
class Scale(Broadcast):
    """y = x * factor, with bias_term also + bias. The factor is 1 at first unless there is a filler."""

    def setup(self, bottom, top):
        param = self.settings = self.param.scale_param
        one = caffe_pb2.FillerParameter(type="constant", value=1)
        self.add_operand(bottom, param.filler if param.HasField("filler") else one)
        if param.bias_term:
            self.add_parameter(self.operand(bottom).shape, param.bias_filler)

    def compute(self, x, factor, bias=None):
        y = x * factor.view(self.sizes)
        return y if bias is None else y + bias.view(self.sizes)


@register
class Bias(Broadcast):
    """y = x + term."""

    def setup(self, bottom, top):
        self.settings = self.param.bias_param
        self.add_operand(bottom, self.settings.filler)

    def compute(self, x, term):
        return x + term.view(self.sizes)
