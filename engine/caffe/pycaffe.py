"""caffe.Net with the interface of pycaffe: blobs and parameters by name, passes over arrays, callbacks, files."""

import collections
import time
import warnings
from itertools import zip_longest

import numpy as np
import torch

from . import TEST, TRAIN, context, hdf5, prototxt, weights
from .errors import CaffeError, check
from .layer_types.python import Python
from .net import Graph
from .proto import caffe_pb2


def read_net(path, phase, level=0, stages=()):
    """A NetParameter from a prototxt, with its state set to a phase, a level and stages. Raises CaffeError."""
    check(phase in (TRAIN, TEST), "the phase must be caffe.TRAIN or caffe.TEST")
    param = prototxt.read_text(path, caffe_pb2.NetParameter())
    param.state.phase = phase
    param.state.level = level
    param.state.stage.extend(stages)
    return param


class Net(Graph):
    """Net(network_file, phase, level=0, stages=None, weights=None), or in the old form (network_file, weights, phase).

    network_file: a prototxt; phase: caffe.TRAIN or caffe.TEST; weights: a .caffemodel, or several separated by commas
    Raises TypeError for wrong arguments, and CaffeError for errors that end the process in BVLC Caffe.
    """

    def __init__(self, network_file, phase, level=0, stages=None, weights=None):
        if isinstance(phase, str):
            warnings.warn("Net(network_file, weights, phase) is the old form; give weights= instead", stacklevel=2)
            phase, level, weights = level, 0, phase
        Graph.__init__(self, read_net(str(network_file), phase, level or 0, stages or ()))
        for path in str(weights).split(",") if weights else ():
            self.copy_from(path)

    @classmethod
    def from_param(cls, param):
        """A net from a NetParameter whose state is set. Raises CaffeError."""
        net = cls.__new__(cls)
        Graph.__init__(net, param)
        return net

    # Names and blobs --------------------------------------------------------------------------------------

    @property
    def blobs(self):
        """Blobs by name, in the order of the layers."""
        return collections.OrderedDict(self.blob_map)

    @property
    def blob_loss_weights(self):
        """Loss weight of each blob, by name."""
        found = collections.OrderedDict.fromkeys(self.blob_map, 0.0)
        for node in self.nodes:
            found.update((name, weight) for name, weight in zip(node.tops, node.losses) if weight)
        return found

    @property
    def params(self):
        """The list of parameter blobs of each layer that has any, by name of the layer."""
        return collections.OrderedDict((node.name, list(node.layer.blobs)) for node in self.nodes if node.layer.blobs)

    @property
    def layers(self):
        """The layer objects, in order; of Python layers, the objects of the user's classes."""
        return [node.layer.object if isinstance(node.layer, Python) else node.layer for node in self.nodes]

    @property
    def layer_dict(self):
        """The layer objects by name, in order."""
        return collections.OrderedDict(zip(self._layer_names, self.layers))

    @property
    def top_names(self):
        """The list of names of the top blobs of each layer, by name of the layer."""
        return collections.OrderedDict((node.name, list(node.tops)) for node in self.nodes)

    @property
    def bottom_names(self):
        """The list of names of the bottom blobs of each layer, by name of the layer."""
        return collections.OrderedDict((node.name, list(node.bottoms)) for node in self.nodes)

    _layer_names = property(lambda self: [node.name for node in self.nodes])
    _blob_names = property(lambda self: list(self.blob_map))
    _blobs = property(lambda self: list(self.blob_map.values()))
    _blob_loss_weights = property(lambda self: list(self.blob_loss_weights.values()))
    _inputs = property(lambda self: [list(self.blob_map).index(name) for name in self.inputs])
    _outputs = property(lambda self: [list(self.blob_map).index(name) for name in self.outputs])

    def _bottom_ids(self, layer):
        names = list(self.blob_map)
        return [names.index(name) for name in self.nodes[layer].bottoms]

    def _top_ids(self, layer):
        names = list(self.blob_map)
        return [names.index(name) for name in self.nodes[layer].tops]

    # Passes -----------------------------------------------------------------------------------------------

    def _number(self, name):
        """The index of a layer. Raises CaffeError for an unknown name."""
        names = self._layer_names
        if name not in names:
            raise CaffeError(f"no layer {name!r} in net {self.name!r}; it has {', '.join(names)}")
        return names.index(name)

    def _forward(self, start, end):
        return self.forward_range(start, end)

    def _backward(self, start, end):
        self.backward_range(start, end)

    def _part(self, start, end, names, whole, ends):
        """(index of the first layer, of the last, names of the blobs to return) of a pass.

        start, end: names of layers, or None for those of the whole net; names: blobs that the caller asks for, or None
        whole: (first, last, blobs to return) of the whole net; ends: layer -> blobs to return where the pass ends
        """
        first, last, outputs = whole
        if end is not None:
            last, outputs = self._number(end), ends[end]
        return first if start is None else self._number(start), last, {*outputs, *(names or ())}

    def forward(self, blobs=None, start=None, end=None, **kwargs):
        """Run the net forward.

        blobs: names of blobs to return in addition to the outputs (with `end`: to the tops of that layer)
        start, end: names of the first and the last layer to run
        keywords: arrays for all input blobs; without keywords, their current data are used
        Returns a dict of name -> live array. Raises CaffeError for unknown layers and for wrong names or batch sizes.
        """
        whole = 0, len(self.nodes) - 1, self.outputs
        first, last, outputs = self._part(start, end, blobs, whole, self.top_names)
        if kwargs:
            self._fill(kwargs, self.inputs, "data", "Input")
        self._forward(first, last)
        return {name: self.blob_map[name].data for name in outputs}

    def backward(self, diffs=None, start=None, end=None, **kwargs):
        """Run the net backward.

        diffs: names of blobs whose diffs to return in addition to the inputs' (with `end`: to that layer's bottoms')
        start, end: names of the first and the last layer to run, in the order of the backward pass
        keywords: diffs for all output blobs; without keywords, their current diffs are used
        Returns a dict of name -> live array. Raises CaffeError for unknown layers and for wrong names or batch sizes.
        """
        whole = len(self.nodes) - 1, 0, self.inputs
        first, last, outputs = self._part(start, end, diffs, whole, self.bottom_names)
        if kwargs:
            self._fill(kwargs, self.outputs, "diff", "Top diff")
        self._backward(first, last)
        return {name: self.blob_map[name].diff for name in outputs}

    def _fill(self, arrays, names, what, kind):
        """Copy arrays, a dict, to the data or diffs of the blobs in `names`; kind: for errors. Raises CaffeError."""
        if set(arrays) != set(names):
            raise CaffeError(f"{kind} arguments {sorted(arrays)} do not match net blobs {sorted(names)}")
        for name, array in arrays.items():
            blob = self.blob_map[name]
            if len(array) != (blob.shape[0] if blob.shape else 1):
                raise CaffeError(f"{kind} {name!r} has {len(array)} rows, but its blob has shape {blob.shape}")
            getattr(blob, what)[...] = array

    def forward_all(self, blobs=None, **kwargs):
        """Run forward over arrays with any number of rows, in batches of the net's batch size.

        blobs: names of blobs to return in addition to the outputs; keywords: arrays for all input blobs
        Returns a dict of name -> array with a row per input row. Raises CaffeError as `forward` does.
        """
        outputs = collections.defaultdict(list)
        for batch in self._batch(kwargs):
            for name, array in self.forward(blobs=blobs, **batch).items():
                outputs[name].extend(np.atleast_1d(array).copy())
        return self._cut(outputs, kwargs)

    def forward_backward_all(self, blobs=None, diffs=None, **kwargs):
        """Run forward and backward over arrays with any number of rows, in batches of the net's batch size.

        blobs, diffs: names of blobs whose data or diffs to return in addition to the outputs and the inputs' diffs
        keywords: arrays for all input blobs, and optionally diffs for all output blobs
        Returns two dicts of name -> array, of data and of diffs. Raises CaffeError as `forward` does.
        """
        outputs, gradients = collections.defaultdict(list), collections.defaultdict(list)
        forward = self._batch({name: kwargs[name] for name in self.inputs if name in kwargs})
        backward = self._batch({name: kwargs[name] for name in self.outputs if name in kwargs})
        for inputs, tops in zip_longest(forward, backward, fillvalue={}):
            for name, array in self.forward(blobs=blobs, **inputs).items():
                outputs[name].extend(np.atleast_1d(array).copy())
            for name, array in self.backward(diffs=diffs, **tops).items():
                gradients[name].extend(np.atleast_1d(array).copy())
        return self._cut(outputs, kwargs), self._cut(gradients, kwargs)

    @staticmethod
    def _cut(rows, arrays):
        """Arrays of the rows, without those that filled up the last batch."""
        count = len(next(iter(arrays.values())))
        return {name: np.asarray(found)[:count] for name, found in rows.items()}

    def _batch(self, arrays):
        """Yield batches, dicts of name -> array, of the net's batch size; the last one is filled up with zeros."""
        if not arrays:
            return
        count = len(next(iter(arrays.values())))
        size = next(iter(self.blob_map.values())).shape[0]
        for start in range(0, count, size):
            batch = {}
            for name, array in arrays.items():
                part = np.asarray(array[start : start + size])
                if len(part) < size:
                    part = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
                batch[name] = part
            yield batch

    def set_input_arrays(self, data, labels):
        """Set the images (N, C, H, W) and labels (N,) or (N, 1, 1, 1) of the first layer, which must be MemoryData.

        Both are float32, and N must be a multiple of the batch size. Raises CaffeError.
        """
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data, labels):
        layer = self.nodes[0].layer
        check(layer.type == "MemoryData", "set_input_arrays needs a net whose first layer is MemoryData")
        layer.set_arrays(data, labels)

    # Callbacks --------------------------------------------------------------------------------------------

    def before_forward(self, call):
        """Register a function that is called with the layer's index before each layer of a forward pass."""
        self.before_forward_calls.append(call)

    def after_forward(self, call):
        """Register a function that is called with the layer's index after each layer of a forward pass."""
        self.after_forward_calls.append(call)

    def before_backward(self, call):
        """Register a function that is called with the layer's index before each layer of a backward pass."""
        self.before_backward_calls.append(call)

    def after_backward(self, call):
        """Register a function that is called with the layer's index after each layer of a backward pass."""
        self.after_backward_calls.append(call)

    # Weights ----------------------------------------------------------------------------------------------

    def copy_from(self, path):
        """Copy weights from a .caffemodel (binary or HDF5) to the layers of the same names. Raises CaffeError."""
        weights.copy_from(self, str(path))

    def load_hdf5(self, path):
        """Like copy_from, for a file that must be HDF5. Raises CaffeError."""
        check(hdf5.is_hdf5(str(path)), f"{path}: not an HDF5 file")
        weights.copy_from(self, str(path))

    def share_with(self, other):
        """Share the parameters of another net's layers of the same names. Raises CaffeError if shapes differ."""
        weights.share_with(self, other)

    def save(self, path):
        """Write the net's parameters as binary .caffemodel. Raises CaffeError."""
        weights.save(self, str(path))

    def save_hdf5(self, path):
        """Write the net's parameters as HDF5. Raises CaffeError."""
        weights.save(self, str(path), hdf5_file=True)


class Timer:
    """Measures milliseconds; on a GPU it waits for the work in progress before it reads the clock."""

    def __init__(self):
        self._begin, self._end = 0.0, 0.0

    @staticmethod
    def _now():
        """The time in seconds, after the GPU's work."""
        if context.state.gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self):
        """Start to measure."""
        self._begin = self._end = self._now()

    def stop(self):
        """End the measurement."""
        self._end = self._now()

    @property
    def ms(self):
        """Milliseconds between the last start and stop."""
        return 1000 * (self._end - self._begin)


def layer_type_list():
    """The sorted names of the supported layer types."""
    from .layer_types import TYPES

    return sorted(TYPES)
