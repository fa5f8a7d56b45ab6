"""Blobs: the arrays between layers and the parameters of layers, seen as live NumPy arrays and as tensors.

A blob has a shape and two memories, data and diff. A memory holds one tensor, in whatever memory order, type
and device its last writer chose: channels last, one block per group, bfloat16, on a GPU. Its own sizes may differ
from the blob's, as long as its elements, read in the order of its axes, are the blob's. So a blob costs no
conversion until somebody looks. `data` and `diff` are plain C-ordered float32 arrays: the first look converts, and
on the CPU the array then *is* the memory. An array that somebody keeps stays live: what layers write
appears in it, and what is written into it, layers read.
"""

import math
import sys

import torch

from . import context
from .errors import CaffeError, ShapeError

LARGEST = 2**31 - 1  # numbers in a blob, as in BVLC Caffe


class Memory:
    """One array: `content`, a tensor (None: zeros), and for users `host`, a flat array over tensor `alias`.

    spare: a tensor whose memory can be used again; lent: whether the content is somebody else's, and only to be read
    """

    __slots__ = ("content", "host", "alias", "spare", "lent")

    def __init__(self):
        self.content = self.host = self.alias = self.spare = None
        self.lent = False

    def kept(self):
        """Whether somebody holds an array of this memory (and so may write into it at any time)."""
        if self.host is None:
            return False
        # One reference is ours, one getrefcount's argument.
        if sys.getrefcount(self.host) > 2:
            return True
        self.host = self.alias = None
        return False

    def raw(self, shape):
        """The tensor as it is, on the current device; `shape` if it has to be made. To be read, or set again."""
        device = context.device()
        if self.content is None:
            self._make(shape, device)
        elif self.content.device != device:
            self.content = self.content.to(device)
        if self.host is not None and self.kept() and device.type != "cpu":
            self.content = self.alias.to(device)
        return self.content

    def _make(self, shape, device):
        spare, self.spare = self.spare, None
        if spare is None or spare.device != device:
            spare = torch.empty(shape, device=device)
        self.content = spare.zero_()

    def set(self, tensor):
        """Let the memory be this tensor, of as many elements."""
        self.lent = False
        if self.host is not None and self.kept() and self.host.size == tensor.numel():
            flat = tensor.reshape(-1)
            if flat.data_ptr() != self.alias.data_ptr():
                self.alias.copy_(flat)
            if not tensor.is_cuda:
                tensor = self.alias
        else:
            self.host = self.alias = None
        self.content = tensor

    def lend(self, tensor):
        """Show a plain tensor of as many elements that its owner changes later: copied where somebody may notice."""
        if self.host is not None and self.kept():
            self.plain(tensor.shape).copy_(tensor)
            self.changed()
        else:
            self.clear()
            self.content, self.lent = tensor, True

    def own(self):
        """Copy a lent content, which is about to be written into or looked at as an array."""
        if self.lent:
            spare, self.spare = self.spare, None
            content = self.content
            if spare is None or spare.numel() != content.numel() or spare.device != content.device:
                spare = torch.empty_like(content)
            self.content, self.lent = spare.view(content.shape).copy_(content), False

    def plain(self, shape):
        """The memory as a C-ordered float32 tensor of a shape, on the current device, to be written into."""
        self.own()
        content = self.raw(shape)
        if content.dtype != torch.float32 or not content.is_contiguous():
            self.set(content.reshape(shape).to(torch.float32, memory_format=torch.contiguous_format))
        return self.content.view(shape)

    def array(self, shape):
        """The memory as a live array of a shape."""
        if self.host is None or not self.kept():
            self.own()
            content = self.raw(shape)
            if content.is_cuda or content.dtype != torch.float32 or not content.is_contiguous():
                content = content.reshape(shape).to("cpu", torch.float32).contiguous()
            self.content = content
            self.alias = content.view(-1)
            self.host = self.alias.numpy()
        return self.host.reshape(shape)

    def changed(self):
        """Say that the tensor of `plain` was written into, for arrays somebody keeps."""
        if self.host is not None and self.content.is_cuda and self.kept():
            self.alias.copy_(self.content.view(-1))

    def drop(self):
        """Forget the content, about to be written anew, so that its memory serves what is computed next."""
        if self.host is None or not self.kept():
            self.content, self.lent = None, False

    def clear(self):
        """Set to zeros, without touching the memory before it is needed."""
        if self.host is not None and self.kept():
            self.set(torch.zeros_like(self.alias))
        elif self.lent:
            self.content, self.lent = None, False
        elif self.content is not None:
            self.spare, self.content = self.content if self.content.is_contiguous() else None, None

    def accumulator(self, shape):
        """(tensor, fresh): a plain tensor to add to; where fresh, to be overwritten as a whole instead."""
        fresh = self.content is None and (self.host is None or not self.kept())
        if not fresh:
            return self.plain(shape), False
        spare, self.spare = self.spare, None
        if spare is None or spare.numel() != torch.Size(shape).numel() or spare.device != context.device():
            spare = torch.empty(shape, device=context.device())
        self.content = spare
        return spare.view(shape), True

    def add(self, tensor):
        """Add a tensor of the blob's shape."""
        total, fresh = self.accumulator(tensor.shape)
        if fresh:
            total.copy_(tensor)
        else:
            total.add_(tensor)


def check_shape(shape):
    """Raise ShapeError for a shape that no blob has."""
    if len(shape) > 32 or any(size < 0 for size in shape):
        raise ShapeError(f"a blob cannot have the shape {shape}")
    if math.prod(shape) > LARGEST:
        raise ShapeError(f"a blob of the shape {shape} would have more than {LARGEST} numbers")


class Blob:
    """An array with its gradient. `data` and `diff` are live float32 arrays of the blob's shape."""

    __slots__ = ("_shape", "data_memory", "diff_memory", "__weakref__")

    def __init__(self, *shape):
        self._shape = tuple(shape)
        check_shape(self._shape)
        self.data_memory, self.diff_memory = Memory(), Memory()

    # For users --------------------------------------------------------------------------------------------

    @property
    def shape(self):
        return self._shape

    @property
    def data(self):
        return self.data_memory.array(self._shape)

    @property
    def diff(self):
        return self.diff_memory.array(self._shape)

    @property
    def count(self):
        return torch.Size(self._shape).numel()

    def reshape(self, *shape):
        """Change the shape; with another number of elements the content is zeros. Raises CaffeError."""
        if len(shape) == 1 and not isinstance(shape[0], int):
            shape = tuple(shape[0])
        shape = tuple(int(size) for size in shape)
        if shape == self._shape:
            return
        check_shape(shape)
        if torch.Size(shape).numel() != self.count:
            self.data_memory, self.diff_memory = Memory(), Memory()
        self._shape = shape

    def _legacy(self, axis):
        if len(self._shape) > 4:
            raise CaffeError(f"num, channels, height and width are for blobs of up to 4 axes, not {self._shape}")
        return self._shape[axis] if axis < len(self._shape) else 1

    num = property(lambda self: self._legacy(0))
    channels = property(lambda self: self._legacy(1))
    height = property(lambda self: self._legacy(2))
    width = property(lambda self: self._legacy(3))

    # For layers -------------------------------------------------------------------------------------------

    def raw(self):
        """Data as it lies in memory: any type, and sizes whose product is the blob's."""
        return self.data_memory.raw(self._shape)

    def value(self):
        """Data as a float32 tensor of the blob's shape, any strides, to be read."""
        return self.data_memory.raw(self._shape).reshape(self._shape).float()

    def put(self, tensor):
        """Set the data."""
        self.data_memory.set(tensor)

    def raw_gradient(self):
        """Diff as it lies in memory."""
        return self.diff_memory.raw(self._shape)

    def gradient(self):
        """Diff as a float32 tensor of the blob's shape, any strides, to be read."""
        return self.diff_memory.raw(self._shape).reshape(self._shape).float()

    def put_gradient(self, tensor):
        """Set the diff."""
        self.diff_memory.set(tensor)

    def share_data(self, other):
        """Have the same data as another blob with as many elements, from now on."""
        self.data_memory = other.data_memory

    def share_diff(self, other):
        self.diff_memory = other.diff_memory


class TensorBlob:
    """A blob as layers see it that work on tensors: `data` and `diff` are float32 tensors on the device.

    A blob to read from gives its content in any memory order; one to write to (`writes`) gives plain tensors.
    """

    __slots__ = ("blob", "writes_data", "writes_diff")

    def __init__(self, blob, writes_data=False, writes_diff=False):
        self.blob, self.writes_data, self.writes_diff = blob, writes_data, writes_diff

    @property
    def shape(self):
        return self.blob.shape

    @property
    def data(self):
        return self.blob.data_memory.plain(self.shape) if self.writes_data else self.blob.value()

    @property
    def diff(self):
        return self.blob.diff_memory.plain(self.shape) if self.writes_diff else self.blob.gradient()

    def reshape(self, *shape):
        self.blob.reshape(*shape)


class BlobVec(list):
    """The parameter blobs of a layer."""

    tensors = False

    def add_blob(self, *shape):
        """Append a blob of zeros."""
        self.append(Blob(*shape))

    def __getitem__(self, index):
        blob = super().__getitem__(index)
        if self.tensors and not isinstance(index, slice):
            return TensorBlob(blob, writes_data=True, writes_diff=True)
        return blob
