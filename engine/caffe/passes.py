"""The passes of an iteration, forward and backward, on a GPU recorded once as a CUDA graph and replayed.

A net launches hundreds of small computations per iteration, and a modern GPU ends many of them before Python has
launched the next one. A replayed graph launches all of them in one call. The tensors of a graph keep their memory, so
what enters it is copied there first: the tops of the layers without bottoms (data and labels), which run outside the
graph, and parameters that were changed in another way than in place.
"""

import torch

from . import context, glog
from .tensors import shaped

# Iterations without a graph at the start, in which libraries choose their algorithms and histories are allocated.
WARM_UP = 3


class CudaGraph:
    """Records what a function computes on the GPU, and computes it again."""

    def __init__(self, function):
        self.graph = torch.cuda.CUDAGraph()
        # Only this thread is recorded: the threads that load data copy to the device at the same time.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.result = function()

    def replay(self):
        self.graph.replay()


class Passes:
    """The forward and the backward pass of a net, as one call.

    recorder: a class like CudaGraph, or None for passes that are never recorded
    """

    def __init__(self, net, recorder=CudaGraph):
        self.net, self.recorder = net, recorder
        self.sources = [index for index, node in enumerate(net.nodes) if not node.bottoms]
        self.others = [index for index, node in enumerate(net.nodes) if node.bottoms]
        self.seen, self.graph, self.settings = 0, None, None

    def run(self):
        """Run both passes, after Graph.clear_param_diffs; returns the loss, a float.

        Raises CaffeError, and what Python layers raise.
        """
        net, last = self.net, len(self.net.nodes) - 1
        if not self._can_be_recorded():
            loss = net.forward_range(0, last)
            net.backward_range(last, 0)
            return loss
        loss = net.forward_layers(self.sources)
        settings = self._settings()
        if settings != self.settings:
            self.settings, self.seen, self.graph = settings, 0, None
        if self.seen < WARM_UP:
            self.seen += 1
            return float(loss) + float(self._compute())
        if self.graph is None and not self._record():
            return float(loss) + float(self._compute())
        self._copy_inputs()
        self.graph.replay()
        for memory, values in self.after.items():  # the tensors after the recording, which the graph has filled again
            set_state(memory, values)
        return float(loss) + float(self.graph.result)

    def _compute(self):
        """The part that is recorded; returns the loss, a tensor."""
        loss = self.net.forward_layers(self.others)
        self.net.backward_range(len(self.net.nodes) - 1, 0)
        return loss

    def _can_be_recorded(self):
        """Whether both passes can be recorded, or replayed if they have been, at this time."""
        net = self.net
        if self.recorder is None or not (context.state.gpu or self.recorder is not CudaGraph) or net.debug_info:
            return False
        if net.before_forward_calls or net.after_forward_calls or net.before_backward_calls or net.after_backward_calls:
            return False
        layers = [net.nodes[index].layer for index in self.others]
        if any(layer.type == "Python" and not layer.supports_tensors for layer in layers):
            return False
        # A caller that holds an array of a blob sees, and may change, its values between any two layers.
        memories = self.after if self.graph else self._memories()
        return not any(memory.is_viewed() for memory in memories)

    def _memories(self):
        """All memories of blobs and parameters, except the data that enters the graph."""
        blobs = [*self.net.blob_map.values(), *(blob for node in self.net.nodes for blob in node.layer.blobs)]
        memories = {memory for blob in blobs for memory in (blob.data_memory, blob.diff_memory)}
        return memories - {blob.data_memory for blob in self._data()}

    def _data(self):
        """The tops of the layers without bottoms."""
        return [blob for index in self.sources for blob in self.net.nodes[index].top_blobs]

    def _settings(self):
        """What a graph depends on: precision, device, and shapes, strides and types of the data."""
        tensors = [blob.raw() for blob in self._data()]
        return context.state.precision, context.device(), [(t.shape, t.stride(), t.dtype) for t in tensors]

    def _record(self):
        """Record the passes; returns whether that was possible. Nothing is computed yet."""
        nodes = self.net.nodes
        for blob in self._data():  # a tensor of its own, because the layer may use the present one for other things
            blob.data_memory.content = blob.raw().clone()
        read = [(blob.data_memory, blob.shape) for blob in self._data()]
        read += [(blob.data_memory, blob.shape) for node in nodes for blob in node.layer.blobs]
        weighted = [blob for node in nodes for blob, weight in zip(node.top_blobs, node.losses) if weight]
        read += [(blob.diff_memory, blob.shape) for blob in weighted]
        self.inputs = [(memory, memory.writable(shape)) for memory, shape in read]
        # References to all tensors keep the memory that the graph uses from being given to others. What was derived
        # from them before is computed anew in the graph.
        self.before = {memory: state(memory) for memory in self._memories()}
        for memory, values in self.before.items():
            set_state(memory, values)
        try:
            self.graph = self.recorder(self._compute)
        except RuntimeError as error:
            self.recorder = None
            reason = str(error).strip().partition("\n")[0]
            glog.info(f"The passes are run layer by layer, because they cannot be recorded as a CUDA graph: {reason}")
        else:
            glog.info("The passes are recorded as a CUDA graph.")
            self.after = {memory: state(memory) for memory in self._memories()}
        for memory, values in self.before.items():
            set_state(memory, values)
        return self.graph is not None

    def _copy_inputs(self):
        """Copy what the graph reads to the tensors that it was recorded with."""
        for memory, tensor in self.inputs:
            content = memory.content
            if content is not tensor:
                tensor.copy_(torch.zeros_like(tensor) if content is None else shaped(content, tensor.shape))


def state(memory):
    """What a memory holds; see Memory."""
    return memory.content, memory.borrowed


def set_state(memory, values):
    """Set what `state` has returned."""
    memory.content, memory.borrowed = values
    memory.host = memory.alias = memory.kept = None
