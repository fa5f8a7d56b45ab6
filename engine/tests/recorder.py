"""A recorder that stands for CUDA graphs on the CPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# Operations that a CUDA graph cannot hold: they bring values to the CPU, or take them from there.
WAITING = {aten._local_scalar_dense, aten.lift_fresh, aten.nonzero, aten.equal, aten.is_nonzero}


class Recorder(TorchDispatchMode):
    """Stands for a CUDA graph: records every operation with its tensors, and computes it again in the same tensors."""

    def __init__(self, function):
        super().__init__()
        self.operations, self.changed = [], []
        with self:
            self.result = function()
        for tensor, content in reversed(self.changed):  # a recording changes nothing
            tensor.copy_(content)

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        if operation.overloadpacket in WAITING:
            raise RuntimeError(f"{operation} is not permitted when a stream is capturing")
        named = {**dict(zip((a.name for a in operation._schema.arguments), arguments)), **(options or {})}
        for argument in operation._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.changed.append((named[argument.name], named[argument.name].clone()))
        result = operation(*arguments, **(options or {}))
        if not (operation.is_view or operation.overloadpacket.__name__.startswith("empty")):
            self.operations.append((operation, arguments, options or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for operation, arguments, options, recorded in self.operations:
            again = operation(*arguments, **options)
            pairs = [(recorded, again)] if isinstance(again, torch.Tensor) else zip(recorded or (), again or ())
            for old, new in pairs:
                if new is not None and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
