"""The layer Python, which runs a class that a user has written."""

import importlib
import sys

from ..blob import TensorBlob
from ..errors import CaffeError
from .base import BuiltIn, Layer, register


@register
class Python(BuiltIn):
    """Runs an object of the user's class, a subclass of caffe.Layer.

    Its forward and backward get NumPy arrays as in pycaffe, or tensors if the class sets supports_tensors.
    Raises CaffeError if module or class is missing.
    """

    bottoms = (0, None)
    tops = (0, None)
    shares_tops = True

    def __init__(self, param, phase):
        super().__init__(param, phase)
        self.object = self.find_class()(param)
        self.object.param_str, self.object.phase = param.python_param.param_str, phase
        if "blobs" not in vars(self.object):  # its __init__ does not call that of Layer
            Layer.__init__(self.object)
        self.blobs = self.object.blobs

    def find_class(self):
        """Import the user's class. Raises CaffeError, and what the module raises when it is imported."""
        name, cls = self.param.python_param.module, self.param.python_param.layer
        self.check(
            name and not name.startswith("."), f"python_param.module is {name!r}; give the full name of a module"
        )
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                error.add_note(f"{self.where}: while importing its module {name!r}")
                raise
            searched = ", ".join(path or "the current folder" for path in sys.path)
            raise CaffeError(f"{self.where}: no module {name!r}; searched (PYTHONPATH adds to it): {searched}")
        found = getattr(module, cls, None)
        if not (isinstance(found, type) and issubclass(found, Layer)):
            raise CaffeError(
                f"{self.where}: module {name!r} ({module.__file__}) has no class {cls!r} derived from caffe.Layer"
            )
        return found

    @property
    def supports_tensors(self):
        """Whether the user's class works on tensors."""
        return self.object.supports_tensors

    def setup(self, bottom, top):
        self.object.setup(bottom, top)

    def reshape(self, bottom, top):
        self.object.reshape(bottom, top)

    def forward(self, bottom, top):
        if not self.supports_tensors:
            return self.object.forward(bottom, top)
        tops = [TensorBlob(blob, writes_data=True) for blob in top]
        self.with_tensors(self.object.forward, [TensorBlob(blob) for blob in bottom], tops)
        for blob in top:
            blob.data_memory.changed()

    def backward(self, top, propagate_down, bottom):
        if not self.supports_tensors:
            return self.object.backward(top, propagate_down, bottom)
        bottoms = [TensorBlob(blob, writes_diff=True) for blob in bottom]
        self.with_tensors(self.object.backward, [TensorBlob(blob) for blob in top], propagate_down, bottoms)
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.diff_memory.changed()

    def with_tensors(self, method, *arguments):
        """Call a method of the user's object while its parameter blobs give tensors."""
        self.blobs.tensors = True
        try:
            method(*arguments)
        finally:
            self.blobs.tensors = False
        for blob in self.blobs:
            if blob.data_memory.content is not None:
                blob.data_memory.changed()
