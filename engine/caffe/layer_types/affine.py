"""The layers Scale and Bias: multiplication by a factor and addition of a term, broadcast along some axes."""

from ..fillers import fill
from ..proto import caffe_pb2
from .base import BuiltIn, register


class Broadcast(BuiltIn):
    """Base: an operand is broadcast to the first bottom, in which its axes begin at `axis`.

    The operand is the second bottom or, without one, a parameter blob over num_axes axes.
    """

    bottoms = (1, 2)

    def operand_shape(self, param, bottom):
        """The shape of the parameter blob, taken from the first bottom. Raises CaffeError."""
        shape = bottom[0].shape
        start = self.axis(param.axis, bottom[0])
        end = len(shape) if param.num_axes == -1 else start + param.num_axes
        self.check(end <= len(shape), f"num_axes {param.num_axes} from axis {start} on is more than shape {shape} has")
        return shape[start:end]

    def align(self, param, bottom, operand):
        """Compute which axes of the first bottom the operand has. Raises CaffeError if their sizes differ."""
        shape, small = bottom[0].shape, operand.shape
        self.start = self.axis(param.axis, bottom[0]) if small else 0
        matches = tuple(shape[self.start : self.start + len(small)]) == tuple(small)
        self.check(matches, f"operand of shape {small} does not fit shape {shape} from axis {self.start} on")
        self.sizes = [1] * self.start + list(small) + [1] * (len(shape) - self.start - len(small))
        self.summed_axes = [axis for axis in range(len(shape)) if not self.start <= axis < self.start + len(small)]

    def sum_to_operand(self, tensor, operand):
        """The sum of a tensor over the axes that the operand does not have, in the operand's shape."""
        return (tensor.sum(self.summed_axes) if self.summed_axes else tensor).reshape(operand.shape)


@register("Scale")
class Scale(Broadcast):
    """y = x * factor, with bias_term also + bias. The factor is 1 at first unless there is a filler."""

    def setup(self, bottom, top):
        param = self.param.scale_param
        if len(bottom) == 1:
            self.blobs.add_blob(*self.operand_shape(param, bottom))
            filler = param.filler if param.HasField("filler") else caffe_pb2.FillerParameter(type="constant", value=1)
            fill(self.blobs[0], filler)
        if param.bias_term:
            factor = bottom[1] if len(bottom) > 1 else self.blobs[0]
            self.blobs.add_blob(*factor.shape)
            fill(self.blobs[-1], param.bias_filler)

    def factor(self, bottom):
        """The blob of the factor."""
        return bottom[1] if len(bottom) > 1 else self.blobs[0]

    def reshape(self, bottom, top):
        self.align(self.param.scale_param, bottom, self.factor(bottom))
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        x = bottom[0].value()
        self.input = x.clone() if top[0] is bottom[0] else None
        y = x * self.factor(bottom).value().view(self.sizes)
        if self.param.scale_param.bias_term:
            y += self.blobs[-1].value().view(self.sizes)
        top[0].put(y)

    def backward(self, top, propagate_down, bottom):
        dy, factor = top[0].gradient(), self.factor(bottom)
        if self.param.scale_param.bias_term and self.learns[-1]:
            self.blobs[-1].diff_memory.add(self.sum_to_operand(dy, self.blobs[-1]))
        wanted = propagate_down[1] if len(bottom) > 1 else self.learns[0]
        if wanted:
            x = bottom[0].value() if self.input is None else self.input
            gradient = self.sum_to_operand(dy * x, factor)
            if len(bottom) > 1:
                factor.put_gradient(gradient)
            else:
                factor.diff_memory.add(gradient)
        if propagate_down[0]:
            bottom[0].put_gradient(dy * factor.value().view(self.sizes))


@register("Bias")
class Bias(Broadcast):
    """y = x + term."""

    def setup(self, bottom, top):
        param = self.param.bias_param
        if len(bottom) == 1:
            self.blobs.add_blob(*self.operand_shape(param, bottom))
            fill(self.blobs[0], param.filler)

    def term(self, bottom):
        """The blob of the term."""
        return bottom[1] if len(bottom) > 1 else self.blobs[0]

    def reshape(self, bottom, top):
        self.align(self.param.bias_param, bottom, self.term(bottom))
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].put(bottom[0].value() + self.term(bottom).value().view(self.sizes))

    def backward(self, top, propagate_down, bottom):
        dy, term = top[0].gradient(), self.term(bottom)
        if len(bottom) > 1 and propagate_down[1]:
            term.put_gradient(self.sum_to_operand(dy, term))
        elif len(bottom) == 1 and self.learns[0]:
            term.diff_memory.add(self.sum_to_operand(dy, term))
        if propagate_down[0] and top[0] is not bottom[0]:
            bottom[0].put_gradient(dy.clone())
