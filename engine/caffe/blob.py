"""Blobs: the arrays between layers and the parameters of layers, as NumPy arrays for users and tensors for layers.

A blob has a shape and two memories, data and diff. A memory holds one tensor with the strides, type and device that the
layer that wrote it chose (channels last, bfloat16, on a GPU), so that layers exchange tensors without conversions. The
tensor's shape may differ from the blob's; its elements, in the order of its axes, are the blob's elements.

`data` and `diff` are C-ordered float32 NumPy arrays, as in pycaffe. The first access converts the tensor; on the CPU
the array and the tensor then share memory. As long as a caller holds a reference to such an array, it stays live: it
shows what layers write, and layers read what is written into it.
"""

import math
import weakref

import torch

from . import context
from .errors import CaffeError
from .tensors import shaped

is_dense = torch.ops.aten.is_non_overlapping_and_dense
MAX_COUNT = 2**31 - 1  # elements of a blob; BVLC Caffe counts them in an int


class Memory:
    """The data or the diff of a blob.

    content: the tensor, None for zeros that are not allocated yet
    host: a weak reference to the flat NumPy array of which all arrays given to users are views, so that it lives as
        long as one of them; alias: the CPU tensor that shares its memory; both None if there is none
    borrowed: whether the content belongs to another owner, so that it must be copied before it is written to
    kept: None, or (key, tensor) of `derived`
    """

    __slots__ = ("content", "host", "alias", "borrowed", "kept")

    def __init__(self):
        self.content = self.host = self.alias = self.kept = None
        self.borrowed = False

    def is_viewed(self):
        """Whether a caller holds an array of this memory, and so may write into it at any time."""
        if self.host is not None and self.host() is None:
            self.host = self.alias = None
        return self.host is not None

    def raw(self, shape):
        """The content, in any strides and type, on the current device; zeros of `shape` if there is none. Read only."""
        device = context.device()
        if self.content is None:
            self.content = torch.zeros(shape, device=device)
        elif self.content.device != device:
            self.content = self.content.to(device)
        if device.type != "cpu" and self.is_viewed():
            self.content = self.alias.to(device)
        return self.content

    def derived(self, key, make):
        """make(), a tensor computed from the content, kept until the content may have changed or for another key."""
        if self.is_viewed():
            return make()
        if self.kept is None or self.kept[0] != key:
            self.kept = key, make()
        return self.kept[1]

    def set(self, tensor):
        """Make this tensor, which has as many elements as the blob, the content."""
        self.borrowed, self.kept = False, None
        if self.is_viewed() and self.alias.numel() == tensor.numel():
            flat = tensor.reshape(-1)
            if flat.data_ptr() != self.alias.data_ptr():
                self.alias.copy_(flat)
            if not tensor.is_cuda:
                tensor = self.alias
        else:
            self.host = self.alias = None
        self.content = tensor

    def borrow(self, tensor):
        """Make a float32 tensor, which its owner will change later, the content.

        It is copied at once if a caller holds an array of this memory, otherwise only when the content is written to or
        converted to an array.
        """
        self.set(tensor.clone() if self.is_viewed() else tensor)
        self.borrowed = not self.is_viewed()

    def writable(self, shape):
        """The content as float32 tensor, in any order of memory, which may be written to. Call `changed` afterwards."""
        content, self.kept = self.raw(shape), None
        if self.borrowed or content.dtype != torch.float32 or not is_dense(content):
            self.set(content.to(torch.float32, copy=True))
        return self.content

    def contiguous(self, shape):
        """The same, C-ordered and of a shape."""
        content = self.writable(shape)
        if not content.is_contiguous():
            self.set(content.reshape(shape).contiguous())
        return self.content.view(shape)

    def store_channels_last(self, shape):
        """Store the content in a shape with four axes and with channels last in memory, if no caller holds an array."""
        if not (self.borrowed or self.is_viewed()):
            self.content = shaped(self.raw(shape), shape).contiguous(memory_format=torch.channels_last)

    def array(self, shape):
        """The content as a live float32 NumPy array of a shape."""
        if not self.is_viewed():
            content = self.writable(shape).reshape(shape).to("cpu").contiguous()
            self.content, self.alias = content, content.view(-1)
            host = self.alias.numpy()
            self.host = weakref.ref(host)
        return self.host().reshape(shape)

    def changed(self):
        """Copy the content to the array that a caller holds; needed on a GPU after writing to `writable`."""
        if self.is_viewed() and self.content.is_cuda:
            self.alias.copy_(self.content.reshape(-1))

    def drop(self):
        """Release the content, which is about to be replaced, so that PyTorch can reuse its memory for the new one."""
        if not self.is_viewed():
            self.content, self.borrowed, self.kept = None, False, None

    def first(self, count):
        """A new memory with the first `count` numbers of this one; zeros, if there are fewer."""
        new, content = Memory(), self.alias if self.is_viewed() else self.content
        if content is not None and count < content.numel():
            new.content = content.reshape(-1)[:count].clone()
        return new

    def clear(self):
        """Set to zeros; they are allocated only when they are read."""
        if self.is_viewed():
            self.set(torch.zeros_like(self.alias))
        else:
            self.drop()

    def add(self, tensor):
        """Add a tensor with as many elements, which the caller gives up, to the content."""
        if self.content is None and not self.is_viewed():
            self.set(tensor.float())
        else:
            total = self.writable(tensor.shape)
            total += shaped(tensor, total.shape)


def check_shape(shape):
    """Raise CaffeError for more than 32 axes (BVLC Caffe's limit), a negative size, or more than MAX_COUNT elements."""
    if len(shape) > 32 or any(size < 0 for size in shape):
        raise CaffeError(f"a blob cannot have the shape {shape}")
    if math.prod(shape) > MAX_COUNT:
        raise CaffeError(f"a blob of the shape {shape} would have more than {MAX_COUNT} numbers")


class Blob:
    """An array with its gradient. `data` and `diff` are live float32 NumPy arrays of the blob's shape.

    Raises CaffeError for a shape that no blob can have.
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
        return math.prod(self._shape)

    def reshape(self, *shape):
        """Change the shape. Data and diff keep their first elements, or become zeros if their number grows.

        Raises CaffeError.
        """
        if len(shape) == 1 and not isinstance(shape[0], int):
            shape = tuple(shape[0])
        shape = tuple(int(size) for size in shape)
        if shape == self._shape:
            return
        check_shape(shape)
        if math.prod(shape) != self.count:
            self.data_memory, self.diff_memory = (
                memory.first(math.prod(shape)) for memory in (self.data_memory, self.diff_memory)
            )
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
        return shaped(self.data_memory.raw(self._shape), self._shape).float()

    def converted(self, kind):
        """The data in a floating-point type and with any strides, read only; kept until they change."""
        return self.data_memory.derived((kind, self._shape), lambda: self.value().to(kind))

    def put(self, tensor):
        """Set the data to a tensor with the blob's number of elements; it is not copied."""
        self.data_memory.set(tensor)

    def raw_gradient(self):
        """The diff as stored; see `raw`."""
        return self.diff_memory.raw(self._shape)

    def gradient(self):
        """The diff as a float32 tensor of the blob's shape with any strides, read only."""
        return shaped(self.diff_memory.raw(self._shape), self._shape).float()

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
