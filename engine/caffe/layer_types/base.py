"""What all layers are, and the register of layer types."""

from ..blob import BlobVec
from ..errors import CaffeError, check

TYPES = {}


class Layer:
    """Base of every layer; Python layers derive from it.

    A Python layer has methods setup(bottom, top), reshape(bottom, top), forward(bottom, top) and
    backward(top, propagate_down, bottom), and finds its param_str (str) and phase (TRAIN = 0, TEST = 1) set. bottom
    and top are lists of blobs, `self.blobs.add_blob(*shape)` adds a parameter blob.

    supports_tensors: a class whose forward and backward work on PyTorch tensors as well as on arrays sets this to True.
    They then get tensors on the device that computes, in `data` and `diff` of bottoms, tops and blobs, and nothing
    passes through the host. Bottoms' data and tops' diffs are to be read only. BVLC Caffe knows no such
    attribute and gives such a layer arrays.
    """

    supports_tensors = False
    type = "Python"
    blobs = ()

    def __init__(self, param=None):
        self.blobs = BlobVec()

    def setup(self, bottom, top):
        """Check parameters and counts of blobs, add parameter blobs."""

    def reshape(self, bottom, top):
        """Check shapes, shape the tops."""


def register(*names):
    """Class decorator: the class is the layer type of these names."""

    def add(cls):
        for name in names:
            TYPES[name] = cls
        return cls

    return add


def layer_type(name, layer):
    """The class of a layer type; layer: its layer's name, for the error. Raises CaffeError for an unknown one."""
    if name not in TYPES:
        raise CaffeError(f"layer {layer!r}: unknown layer type {name!r}; supported are {', '.join(sorted(TYPES))}")
    return TYPES[name]


class BuiltIn(Layer):
    """Base of the engine's own layers, which work on tensors.

    param: LayerParameter; phase: TRAIN or TEST
    bottoms, tops: how many blobs the layer takes: a number, or (least, most or None)
    shares_tops: the tops are, or may be, the memory of bottoms or hold their content from pass to pass
    learns: bool per parameter blob, whether backward computes its gradient; set by the net
    """

    bottoms = 1
    tops = 1
    # Whether a loss layer: its first top has weight 1 by default, and need not be named.
    is_loss = False
    shares_tops = False
    # Bottoms that never get a gradient, even with force_backward.
    no_gradient = ()

    def __init__(self, param, phase):
        super().__init__()
        self.param, self.phase, self.type = param, phase, param.type
        self.learns = []

    def check_counts(self, bottom, top):
        """Raise CaffeError unless the layer has as many bottoms and tops as its type takes."""
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
        check(condition, f"{self.where}: {message}")

    def axis(self, axis, blob, end=False):
        """An axis of a blob; negative ones count from the end. end: whether one past the last is allowed too."""
        axes = len(blob.shape)
        self.check(-axes <= axis < axes + end, f"axis {axis} is out of range for a blob of shape {blob.shape}")
        return axis + axes if axis < 0 else axis

    def forward(self, bottom, top):
        raise NotImplementedError

    def backward(self, top, propagate_down, bottom):
        raise CaffeError(f"{self.where}: {self.type} has no gradient; set propagate_down: false, or no loss behind it")
