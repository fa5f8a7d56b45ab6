"""The base classes of layers, and the registry of layer types."""

import torch

from ..blob import BlobVec, is_dense
from ..errors import CaffeError, check
from ..fillers import fill

TYPES = {}


class Layer:
    """Base of all layers, caffe.Layer; users derive their Python layers from it.

    A Python layer has the methods setup(bottom, top), reshape(bottom, top), forward(bottom, top) and
    backward(top, propagate_down, bottom), where bottom and top are lists of blobs. The attributes param_str (str) and
    phase (TRAIN = 0, TEST = 1) are set, and `self.blobs.add_blob(*shape)` in setup adds a parameter blob.

    supports_tensors: a class sets this to True if its forward and backward work on PyTorch tensors as well as on NumPy
    arrays. In these methods, `data` and `diff` of bottoms, tops and blobs are then float32 tensors on the device, so
    that nothing is copied to the CPU; the data of bottoms and the diffs of tops are read only. BVLC Caffe ignores the
    attribute and gives the layer arrays. On a GPU the solver replays what forward and backward computed once (see
    passes.py), so the layer keeps its state in parameter blobs, and brings no values to the CPU.
    """

    supports_tensors = False
    type = "Python"
    blobs = ()

    def __init__(self, param=None):
        self.blobs = BlobVec()

    def setup(self, bottom, top):
        """Check the parameters and the numbers of blobs, and add parameter blobs. Called once."""

    def reshape(self, bottom, top):
        """Check the shapes of the bottoms and reshape the tops. Called after setup and before a forward pass."""


def register(cls):
    """Class decorator that registers a class as the layer type of its name."""
    TYPES[cls.__name__] = cls
    return cls


def layer_type(name, layer):
    """The class of a layer type; layer: name of the layer, for errors. Raises CaffeError for an unknown type."""
    if name not in TYPES:
        raise CaffeError(f"layer {layer!r}: unknown layer type {name!r}; supported are {', '.join(sorted(TYPES))}")
    return TYPES[name]


class BuiltIn(Layer):
    """Base of the layers that the engine implements, which work on tensors.

    param: LayerParameter; phase: TRAIN or TEST
    bottoms, tops: number of blobs that the layer takes: an int, or (minimum, maximum), with None for no maximum
    shares_tops: whether tops can share the memory of bottoms or keep their content between passes, so that the net must
        not release it before a forward pass
    learns: bool per parameter blob, whether backward computes its gradient; set by the net
    """

    bottoms = 1
    tops = 1
    # Whether it is a loss layer: its first top has loss weight 1 by default and may be left out of the prototxt.
    is_loss = False
    shares_tops = False
    # Indices of bottoms for which there is no gradient, even with force_backward.
    no_gradient = ()

    def __init__(self, param, phase):
        super().__init__()
        self.param, self.phase, self.type = param, phase, param.type
        self.learns = []

    def check_counts(self, bottom, top):
        """Raise CaffeError unless the numbers of bottoms and tops are those that the layer type takes."""
        for what, found, wanted in (("bottom", len(bottom), self.bottoms), ("top", len(top), self.tops)):
            least, most = wanted if isinstance(wanted, tuple) else (wanted, wanted)
            if found < least or (most is not None and found > most):
                words = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
                raise CaffeError(f"{self.where}: {self.type} takes {words} {what} blobs, not {found}")

    @property
    def where(self):
        """The name of the layer in error messages."""
        return f"layer {self.param.name!r}"

    def check(self, condition, message):
        """Raise CaffeError with the layer's name and a message unless the condition holds."""
        check(condition, f"{self.where}: {message}")

    def axis(self, axis, blob):
        """The index of an axis of a blob; negative ones count from the end. Raises CaffeError if it is out of range."""
        axes = len(blob.shape)
        self.check(-axes <= axis < axes, f"axis {axis} is out of range for a blob of shape {blob.shape}")
        return axis + axes if axis < 0 else axis

    def add_parameter(self, shape, filler):
        """Add a parameter blob, filled as a FillerParameter says. Raises CaffeError."""
        self.blobs.add_blob(*shape)
        fill(self.blobs[-1], filler)

    def forward(self, bottom, top):
        """Compute the data of the tops; by default nothing, for layers whose tops are filled elsewhere."""

    def backward(self, top, propagate_down, bottom):
        """Compute the diffs of the bottoms (propagate_down: bool per bottom) and add to those of the parameter blobs.

        By default nothing. Raises CaffeError for a layer type with bottoms but without a gradient.
        """
        message = f"{self.type} has no gradient; set propagate_down: false, or no loss behind it"
        self.check(not any(propagate_down), message)


class Derived(BuiltIn):
    """Base of layers whose gradients PyTorch derives from the formula of the top.

    A subclass defines compute(*values): the data of the top, a new tensor, from those of the bottoms and then of the
    parameter blobs, all float32 and in their shapes. By default the top has the shape of the first bottom.
    at_result: whether a layer that works in place takes the gradient at its result, as some do in BVLC Caffe
    """

    at_result = False

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def compute(self, *values):
        raise NotImplementedError

    def values(self, bottom):
        return [blob.value() for blob in (*bottom, *self.blobs)]

    def forward(self, bottom, top):
        values = self.values(bottom)
        in_place = bottom and top[0] is bottom[0]
        self.overwritten = values[0].clone() if in_place and not self.at_result else None
        top[0].put(self.compute(*values))

    def backward(self, top, propagate_down, bottom):
        values, wanted = self.values(bottom), [*propagate_down, *self.learns]
        if self.overwritten is not None:
            values[0] = self.overwritten
        values = [value.detach().requires_grad_(want) for value, want in zip(values, wanted)]
        sources = [value for value in values if value.requires_grad]
        if not sources:
            return
        with torch.enable_grad():
            y = self.compute(*values)
        dy = top[0].gradient().reshape(y.shape)
        gradients = iter(torch.autograd.grad(y, sources, dy, allow_unused=True) if y.requires_grad else ())
        for index, (blob, value) in enumerate(zip((*bottom, *self.blobs), values)):
            if not value.requires_grad:
                continue
            gradient = next(gradients, None)
            if gradient is None:
                gradient = torch.zeros_like(value, requires_grad=False)
            elif not is_dense(gradient) or same_memory(gradient, dy):
                gradient = gradient.clone()
            (blob.put_gradient if index < len(bottom) else blob.diff_memory.add)(gradient)


def same_memory(tensor, other):
    """Whether two tensors are views of the same memory."""
    return tensor.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
