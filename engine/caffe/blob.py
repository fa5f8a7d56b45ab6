"""Blobs: the arrays between layers and the parameters of layers, as NumPy arrays for users and tensors for layers.

A blob has a shape and two memories, data and diff. A memory holds one tensor with the strides, type and device that the
layer that wrote it chose (channels last, one block per group, bfloat16, on a GPU), so that layers exchange tensors
without conversions. The tensor's shape may differ from the blob's; its elements, in the order of its axes, are the
blob's elements.

`data` and `diff` are C-ordered float32 NumPy arrays, as in pycaffe. The first access converts the tensor; on the CPU
the array and the tensor then share memory. As long as a caller holds a reference to such an array, it stays live: it
shows what layers write, and layers read what is written into it.
"""

import math
import sys

import torch

from . import context
from .errors import CaffeError, ShapeError

MAX_COUNT = 2**31 - 1  # elements of a blob; BVLC Caffe counts them in an int


class Memory:
    """The data or the diff of a blob.

    content: the tensor, None for zeros that are not allocated yet
    host, alias: the flat NumPy array given to users, and the CPU tensor that shares its memory; None if there is none
    spare: a tensor whose memory can be used again
    borrowed: whether the content belongs to another owner, so that it must be copied before it is written to
    """

    __slots__ = ("content", "host", "alias", "spare", "borrowed")

    def __init__(self):
        self.content = self.host = self.alias = self.spare = None
        self.borrowed = False

    def is_viewed(self):
        """Whether a caller holds an array of this memory, and so may write into it at any time."""
        if self.host is None:
            return False
        # `host` accounts for one reference and the argument of getrefcount for another.
        if sys.getrefcount(self.host) > 2:
            return True
        self.host = self.alias = None
        return False

    def raw(self, shape):
        """The content, in any strides and type, on the current device; zeros of `shape` if there is none. Read only."""
        device = context.device()
        if self.content is None:
            self._make(shape, device)
        elif self.content.device != device:
            self.content = self.content.to(device)
        if self.host is not None and self.is_viewed() and device.type != "cpu":
            self.content = self.alias.to(device)
        return self.content

    def _make(self, shape, device):
        spare, self.spare = self.spare, None
        if spare is None or spare.device != device:
            spare = torch.empty(shape, device=device)
        self.content = spare.zero_()

    def set(self, tensor):
        """Make this tensor, which has as many elements as the blob, the content."""
        self.borrowed = False
        if self.host is not None and self.is_viewed() and self.host.size == tensor.numel():
            flat = tensor.reshape(-1)
            if flat.data_ptr() != self.alias.data_ptr():
                self.alias.copy_(flat)
            if not tensor.is_cuda:
                tensor = self.alias
        else:
            self.host = self.alias = None
        self.content = tensor

    def borrow(self, tensor):
        """Make a contiguous float32 tensor, which its owner will change later, the content.

        It is copied at once if a caller holds an array of this memory, otherwise only when the content is written to or
        converted to an array.
        """
        if self.host is not None and self.is_viewed():
            self.contiguous(tensor.shape).copy_(tensor)
            self.changed()
        else:
            self.clear()
            self.content, self.borrowed = tensor, True

    def copy_borrowed(self):
        """Replace a borrowed content by a copy, before it is written to or returned as an array."""
        if self.borrowed:
            spare, self.spare = self.spare, None
            content = self.content
            if spare is None or spare.numel() != content.numel() or spare.device != content.device:
                spare = torch.empty_like(content)
            self.content, self.borrowed = spare.view(content.shape).copy_(content), False

    def contiguous(self, shape):
        """The content as a C-ordered float32 tensor of a shape on the current device, which may be written to.

        Call `changed` after writing.
        """
        self.copy_borrowed()
        content = self.raw(shape)
        if content.dtype != torch.float32 or not content.is_contiguous():
            self.set(content.reshape(shape).to(torch.float32, memory_format=torch.contiguous_format))
        return self.content.view(shape)

    def array(self, shape):
        """The content as a live float32 NumPy array of a shape."""
        if self.host is None or not self.is_viewed():
            self.copy_borrowed()
            content = self.raw(shape)
            if content.is_cuda or content.dtype != torch.float32 or not content.is_contiguous():
                content = content.reshape(shape).to("cpu", torch.float32).contiguous()
            self.content = content
            self.alias = content.view(-1)
            self.host = self.alias.numpy()
        return self.host.reshape(shape)

    def changed(self):
        """Copy the content to the array that a caller holds; needed on a GPU after writing to `contiguous`."""
        if self.host is not None and self.content.is_cuda and self.is_viewed():
            self.alias.copy_(self.content.view(-1))

    def drop(self):
        """Release the content, which is about to be replaced, so that PyTorch can reuse its memory for the new one."""
        if self.host is None or not self.is_viewed():
            self.content, self.borrowed = None, False

    def clear(self):
        """Set to zeros; the memory is filled only when the zeros are read."""
        if self.host is not None and self.is_viewed():
            self.set(torch.zeros_like(self.alias))
        elif self.borrowed:
            self.content, self.borrowed = None, False
        elif self.content is not None:
            self.spare, self.content = self.content if self.content.is_contiguous() else None, None

    def accumulator(self, shape):
        """(tensor, fresh): a contiguous float32 tensor to add gradients to.

        fresh: the tensor is not initialised and stands for zeros, so the caller must overwrite all of it
        """
        fresh = self.content is None and (self.host is None or not self.is_viewed())
        if not fresh:
            return self.contiguous(shape), False
        spare, self.spare = self.spare, None
        if spare is None or spare.numel() != torch.Size(shape).numel() or spare.device != context.device():
            spare = torch.empty(shape, device=context.device())
        self.content = spare
        return spare.view(shape), True

    def add(self, tensor):
        """Add a tensor of the blob's shape to the content."""
        total, fresh = self.accumulator(tensor.shape)
        if fresh:
            total.copy_(tensor)
        else:
            total.add_(tensor)


def check_shape(shape):
    """Raise ShapeError for more than 32 axes (BVLC Caffe's limit), a negative size, or more than MAX_COUNT elements."""
    if len(shape) > 32 or any(size < 0 for size in shape):
        raise ShapeError(f"a blob cannot have the shape {shape}")
    if math.prod(shape) > MAX_COUNT:
        raise ShapeError(f"a blob of the shape {shape} would have more than {MAX_COUNT} numbers")


class Blob:
    """An array with its gradient. `data` and `diff` are live float32 NumPy arrays of the blob's shape.

    Raises ShapeError, a CaffeError, for a shape that no blob can have.
    """

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
        """The number of elements."""
        return torch.Size(self._shape).numel()

    def reshape(self, *shape):
        """Change the shape. If the number of elements changes, data and diff become zeros. Raises CaffeError."""
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
        """The size of an axis of a blob of up to four axes, 1 for axes that it does not have. Raises CaffeError."""
        if len(self._shape) > 4:
            raise CaffeError(f"num, channels, height and width are for blobs of up to 4 axes, not {self._shape}")
        return self._shape[axis] if axis < len(self._shape) else 1

    num = property(lambda self: self._legacy(0))
    channels = property(lambda self: self._legacy(1))
    height = property(lambda self: self._legacy(2))
    width = property(lambda self: self._legacy(3))

    # For layers -------------------------------------------------------------------------------------------

    def raw(self):
        """The data as stored, read only: any type and strides, and any shape with the blob's number of elements."""
        return self.data_memory.raw(self._shape)

    def value(self):
        """The data as a float32 tensor of the blob's shape with any strides, read only."""
        return self.data_memory.raw(self._shape).reshape(self._shape).float()

    def put(self, tensor):
        """Set the data to a tensor with the blob's number of elements; it is not copied."""
        self.data_memory.set(tensor)

    def raw_gradient(self):
        """The diff as stored; see `raw`."""
        return self.diff_memory.raw(self._shape)

    def gradient(self):
        """The diff as a float32 tensor of the blob's shape with any strides, read only."""
        return self.diff_memory.raw(self._shape).reshape(self._shape).float()

    def put_gradient(self, tensor):
        """Set the diff to a tensor with the blob's number of elements; it is not copied."""
        self.diff_memory.set(tensor)

    def share_data(self, other):
        """Use the data memory of another blob, which has as many elements, from now on."""
        self.data_memory = other.data_memory

    def share_diff(self, other):
        """Use the diff memory of another blob, which has as many elements, from now on."""
        self.diff_memory = other.diff_memory


class TensorBlob:
    """A blob as given to Python layers that set supports_tensors: `data` and `diff` are float32 tensors on the device.

    writes_data, writes_diff: whether the layer writes there. It then gets a contiguous tensor, otherwise one with any
    strides that is to be read only.
    """

    __slots__ = ("blob", "writes_data", "writes_diff")

    def __init__(self, blob, writes_data=False, writes_diff=False):
        self.blob, self.writes_data, self.writes_diff = blob, writes_data, writes_diff

    @property
    def shape(self):
        return self.blob.shape

    @property
    def data(self):
        return self.blob.data_memory.contiguous(self.shape) if self.writes_data else self.blob.value()

    @property
    def diff(self):
        return self.blob.diff_memory.contiguous(self.shape) if self.writes_diff else self.blob.gradient()

    def reshape(self, *shape):
        self.blob.reshape(*shape)


class BlobVec(list):
    """The parameter blobs of a layer. While `tensors` is True, an index gives a TensorBlob instead of a Blob."""

    tensors = False

    def add_blob(self, *shape):
        """Append a blob of zeros. Raises CaffeError for a shape that no blob can have."""
        self.append(Blob(*shape))

    def __getitem__(self, index):
        blob = super().__getitem__(index)
        if self.tensors and not isinstance(index, slice):
            return TensorBlob(blob, writes_data=True, writes_diff=True)
        return blob
