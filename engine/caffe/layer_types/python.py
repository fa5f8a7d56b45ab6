"""Layers written in Python by users."""

import importlib
import sys

from ..blob import TensorBlob
from ..errors import CaffeError
from .base import BuiltIn, Layer, register


@register("Python")
class PythonLayer(BuiltIn):
    """Runs an object of the user's class; its forward and backward see arrays, or tensors where it supports them."""

    bottoms = (0, None)
    tops = (0, None)
    shares_tops = True

    def __init__(self, param, phase):
        super().__init__(param, phase)
        self.object = self.find_class()(param)
        self.object.param_str, self.object.phase = param.python_param.param_str, phase
        if "blobs" not in vars(self.object):  # its own __init__ did not call ours
            Layer.__init__(self.object)
        self.blobs = self.object.blobs

    def find_class(self):
        name, cls = self.param.python_param.module, self.param.python_param.layer
        self.check(
            name and not name.startswith("."), f"python_param names the module {name!r}; give one by its full name"
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
            raise CaffeError(f"{self.where}: module {name!r} ({module.__file__}) has no class {cls!r} of caffe.Layer")
        return found

    @property
    def supports_tensors(self):
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
        self.blobs.tensors = True
        try:
            method(*arguments)
        finally:
            self.blobs.tensors = False
        for blob in self.blobs:
            if blob.data_memory.content is not None:
                blob.data_memory.changed()
