"""A net: built from a NetParameter, run forward and backward, as BVLC Caffe's net.cpp."""

import contextlib
import math

import torch

from . import TRAIN, glog
from .blob import Blob
from .errors import CaffeError, check
from .graph import filter_layers, insert_splits, prune_backward
from .layer_types import layer_type
from .proto import caffe_pb2
from .prototxt import check_finite
from .upgrade import upgrade_net


class Node:
    """A layer with its connections in the net.

    param: LayerParameter; layer: the object that computes it; name: its name
    bottoms, tops: names of its blobs; bottom_blobs, top_blobs: the blobs
    losses: loss weight of each top
    needs_backward: whether the backward pass runs it; propagate_down: whether to compute the gradient, per bottom
    shapes: shapes of the bottoms for which the layer was last reshaped
    """

    def __init__(self, param, layer):
        self.param, self.layer, self.name = param, layer, param.name
        self.bottoms, self.tops = list(param.bottom), list(param.top)
        self.bottom_blobs, self.top_blobs = [], []
        self.losses, self.propagate_down = [], []
        self.needs_backward = False
        self.shapes = None


class Graph:
    """The layers and blobs of one net. The subclass in pycaffe.py adds the interface for users.

    nodes: list of Node, in order; blob_map: dict of name -> Blob, in order; inputs, outputs: names of blobs
    learnable: the parameter blobs, of shared ones only the owner; rates, decays: their lr_mult and decay_mult
    """

    inputs = outputs = ()

    def __init__(self, param):
        """param: NetParameter with its state set. Raises CaffeError."""
        upgrade_net(param, param.name or "net")
        check_finite(param, f"net {param.name!r}")
        self.name, self.phase = param.name, param.state.phase
        self.debug_info = param.debug_info
        param = insert_splits(filter_layers(param))
        glog.info(f"Initializing net {self.name!r} for phase {'TRAIN' if self.phase == TRAIN else 'TEST'}")
        self.nodes, self.blob_map = [], {}
        self.inputs, self.outputs = [], []
        self.learnable, self.rates, self.decays = [], [], []
        self._owners = {}
        self._wants_gradient = {}
        available, self.memory = {}, 0
        for layer_param in param.layer:
            self._add(layer_param, available)
        # The blobs that no layer reads, in the order of BVLC Caffe, which keeps their names in a std::set.
        self.outputs = sorted(available)
        prune_backward(self.nodes)
        if param.force_backward:
            self._force_backward()
        for node in reversed(self.nodes):
            glog.info(f"{node.name} {'needs' if node.needs_backward else 'does not need'} backward computation.")
        for name in self.outputs:
            glog.info(f"This network produces output {name}")
        glog.info("Network initialization done.")
        self.before_forward_calls, self.after_forward_calls = [], []
        self.before_backward_calls, self.after_backward_calls = [], []

    # Building ---------------------------------------------------------------------------------------------

    def _add(self, param, available):
        """Add one layer; available: dict with the names of the tops that no layer has read yet. Raises CaffeError."""
        if not param.HasField("phase"):
            param.phase = self.phase
        check(
            len(param.propagate_down) in (0, len(param.bottom)),
            f"layer {param.name!r}: give propagate_down never or once per bottom ({len(param.bottom)})",
        )
        check(not param.blobs, f"layer {param.name!r}: blobs in a prototxt are not supported; give weights in a file")
        layer = layer_type(param.type, param.name)(param, param.phase)
        node = Node(param, layer)
        glog.info(f"Creating Layer {node.name}")
        needs_backward = False
        for position, name in enumerate(node.bottoms):
            glog.info(f"{node.name} <- {name}")
            del available[name]
            node.bottom_blobs.append(self.blob_map[name])
            wants = self._wants_gradient[name]
            needs_backward |= wants
            if param.propagate_down:
                wants = param.propagate_down[position]
            node.propagate_down.append(wants)
        self._add_tops(node, available)
        with layer_errors(node):
            layer.check_counts(node.bottom_blobs, node.top_blobs)
            layer.setup(node.bottom_blobs, node.top_blobs)
            self._reshape(node)
        self._set_loss_weights(node)
        for blob in node.top_blobs:
            self.memory += blob.count
            glog.info(f"Top shape: {' '.join(map(str, blob.shape))} ({blob.count})")
        glog.info(f"Memory required for data: {4 * self.memory}")
        if param.type == "Input":
            self.inputs += node.tops
        needs_backward |= self._add_parameters(node)
        node.needs_backward = needs_backward
        for name in node.tops:
            self._wants_gradient[name] = needs_backward
        self.nodes.append(node)

    def _add_tops(self, node, available):
        """Create the top blobs of a layer, or use a bottom of the same name in place. Raises CaffeError."""
        if node.layer.is_loss and not node.tops:
            node.tops.append(f"(automatic top of {node.name})")
        for position, name in enumerate(node.tops):
            if position < len(node.bottoms) and node.bottoms[position] == name:
                glog.info(f"{node.name} -> {name} (in-place)")
                blob = self.blob_map[name]
            else:
                check(name not in self.blob_map, f"layer {node.name!r}: an earlier layer has the top {name!r} already")
                glog.info(f"{node.name} -> {name}")
                blob = self.blob_map[name] = Blob(0)
            node.top_blobs.append(blob)
            if name in node.param.top:
                available[name] = True

    def _set_loss_weights(self, node):
        """Set the loss weights of a layer's tops: as loss_weight says, else 1 for the first top of a loss layer."""
        weights = list(node.param.loss_weight)
        if node.layer.is_loss and not weights:
            weights = [1.0] + [0.0] * (len(node.tops) - 1)
        check(
            len(weights) in (0, len(node.tops)),
            f"layer {node.name!r}: give loss_weight never or once per top ({len(node.tops)})",
        )
        node.losses = weights or [0.0] * len(node.tops)
        self._write_loss_weights(node)

    def _write_loss_weights(self, node):
        """Fill the diffs of the tops with their loss weights, where loss layers read them, as in BVLC Caffe."""
        for blob, weight in zip(node.top_blobs, node.losses):
            if weight:
                blob.put_gradient(torch.full(blob.shape, weight))

    def _add_parameters(self, node):
        """Register a layer's parameter blobs with their ParamSpec and share those with a known name.

        Returns whether any of them is learned (lr_mult is not 0). Raises CaffeError.
        """
        specs, blobs = list(node.param.param), list(node.layer.blobs)
        check(
            len(specs) <= len(blobs),
            f"layer {node.name!r}: {len(specs)} param messages, but {len(blobs)} parameter blobs",
        )
        check(
            not blobs or not any(other.name == node.name and other.layer.blobs for other in self.nodes),
            f"layer {node.name!r}: another layer with parameters has this name, by which they are stored; rename one",
        )
        learns = []
        for index, blob in enumerate(blobs):
            spec = specs[index] if index < len(specs) else caffe_pb2.ParamSpec()
            learns.append(spec.lr_mult != 0)
            owner = self._owners.get(spec.name) if spec.name else None
            if owner is None:
                owner_index = len(self.learnable)
                self.learnable.append(blob)
                self.rates.append(spec.lr_mult)
                self.decays.append(spec.decay_mult)
                if spec.name:
                    self._owners[spec.name] = (owner_index, spec)
                continue
            self._share(node, spec, blob, *owner)
        node.layer.learns = learns
        return any(learns)

    def _share(self, node, spec, blob, owner_index, first):
        """Share a parameter blob with its owner, the first blob whose ParamSpec has the same name.

        owner_index: index of the owner in `learnable`; first: the owner's ParamSpec
        Raises CaffeError if shape (PERMISSIVE: count), lr_mult or decay_mult differ.
        """
        owner = self.learnable[owner_index]
        where = f"layer {node.name!r}: param {spec.name!r}"
        if spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE:
            check(owner.count == blob.count, f"{where} has {blob.count} numbers, its owner {owner.count}")
        else:
            check(owner.shape == blob.shape, f"{where} has shape {blob.shape}, its owner {owner.shape}")
        blob.share_data(owner)
        blob.share_diff(owner)
        for field, values in (("lr_mult", self.rates), ("decay_mult", self.decays)):
            if spec.HasField(field):
                value = getattr(spec, field)
                if first.HasField(field):
                    check(value == values[owner_index], f"{where}: {field} is {value}, elsewhere {values[owner_index]}")
                else:
                    values[owner_index] = value
                    setattr(first, field, value)

    def _force_backward(self):
        """Compute all gradients that layers can compute (force_backward of NetParameter)."""
        for node in self.nodes:
            node.needs_backward = True
            for position in range(len(node.bottoms)):
                allowed = position not in node.layer.no_gradient
                node.propagate_down[position] = node.propagate_down[position] or allowed
            node.layer.learns = [True] * len(node.layer.blobs)

    # Running ----------------------------------------------------------------------------------------------

    def _reshape(self, node):
        """Reshape a layer's tops for the shapes of its bottoms. Raises CaffeError."""
        node.layer.reshape(node.bottom_blobs, node.top_blobs)
        node.shapes = [blob.shape for blob in node.bottom_blobs]
        if any(node.losses):
            self._write_loss_weights(node)

    def reshape(self):
        """Reshape all layers, in order, for the current shapes of the inputs. Raises CaffeError."""
        for node in self.nodes:
            self._reshape(node)

    def _run_forward(self, node):
        """Run one layer forward, after a reshape if needed, and release the old content of its tops."""
        layer, bottoms, tops = node.layer, node.bottom_blobs, node.top_blobs
        if layer.type == "Python" or node.shapes != [blob.shape for blob in bottoms]:
            self._reshape(node)
        if not layer.shares_tops:
            for blob in tops:
                if blob not in bottoms:
                    blob.data_memory.drop()
        layer.forward(bottoms, tops)

    def forward_range(self, start, end):
        """Run the layers from index `start` to `end` inclusive; returns the weighted sum of their losses, a float.

        Raises CaffeError, and what Python layers raise.
        """
        return float(self.forward_layers(range(start, end + 1)))

    def forward_layers(self, indices):
        """Like forward_range for any layers, but returns a tensor on the device, or 0 without losses; does not wait."""
        losses = []
        for index in indices:
            node = self.nodes[index]
            for call in self.before_forward_calls:
                call(index)
            with layer_errors(node):
                self._run_forward(node)
            losses += [blob.value().sum() * weight for blob, weight in zip(node.top_blobs, node.losses) if weight]
            for call in self.after_forward_calls:
                call(index)
            if self.debug_info:
                self._describe_forward(node)
        return sum(losses)

    def backward_range(self, start, end):
        """Run the layers from index `start` down to `end` inclusive backward, if they need it.

        Raises CaffeError, and what Python layers raise.
        """
        for index in range(start, end - 1, -1):
            node = self.nodes[index]
            for call in self.before_backward_calls:
                call(index)
            if node.needs_backward:
                with layer_errors(node):
                    self._run_backward(node)
                if self.debug_info:
                    self._describe_backward(node)
            for call in self.after_backward_calls:
                call(index)

    def _run_backward(self, node):
        """Run one layer backward, and release the old diffs of its bottoms. Raises CaffeError."""
        layer, bottoms, tops = node.layer, node.bottom_blobs, node.top_blobs
        for index in layer.no_gradient:
            if index < len(bottoms):
                what = f"{layer.type} has no gradient to bottom {index}, {node.bottoms[index]!r}"
                layer.check(not node.propagate_down[index], f"{what}; set propagate_down: false there")
        if not layer.shares_tops or layer.type == "Split":
            for blob, wanted in zip(bottoms, node.propagate_down):
                if wanted and blob not in tops:
                    blob.diff_memory.drop()
        layer.backward(tops, node.propagate_down, bottoms)

    def clear_param_diffs(self):
        """Set the gradients of all parameters to zero."""
        for blob in self.learnable:
            blob.diff_memory.clear()

    # Log lines of debug_info ------------------------------------------------------------------------------

    def _describe_forward(self, node):
        head = f"    [Forward] Layer {node.name}"
        for name, blob in zip(node.tops, node.top_blobs):
            glog.info(f"{head}, top blob {name} data: {mean_abs(blob.value())}")
        for index, blob in enumerate(node.layer.blobs):
            glog.info(f"{head}, param blob {index} data: {mean_abs(blob.value())}")

    def _describe_backward(self, node):
        head = f"    [Backward] Layer {node.name}"
        for name, blob, wanted in zip(node.bottoms, node.bottom_blobs, node.propagate_down):
            if wanted:
                glog.info(f"{head}, bottom blob {name} diff: {mean_abs(blob.gradient())}")
        for index, (blob, learns) in enumerate(zip(node.layer.blobs, node.layer.learns)):
            if learns:
                glog.info(f"{head}, param blob {index} diff: {mean_abs(blob.gradient())}")


def mean_abs(tensor):
    """The mean of the absolute values of a tensor, as text for the log."""
    return glog.number(float(tensor.abs().mean()) if tensor.numel() else math.nan)


# What PyTorch and Python raise if settings or sizes cannot be computed, for example for lack of memory.
COMPUTE_ERRORS = (RuntimeError, MemoryError, OverflowError)


@contextlib.contextmanager
def layer_errors(node):
    """Context: adds the name of a layer to exceptions raised inside.

    COMPUTE_ERRORS of the engine's layers become a CaffeError of one line. Exceptions of a user's Python layer keep
    their type and get a note.
    """
    try:
        yield
    except CaffeError as error:
        if str(error).startswith("layer "):
            raise
        raise CaffeError(f"layer {node.name!r}: {error}") from error
    except Exception as error:
        kind = node.layer.type
        if isinstance(error, COMPUTE_ERRORS) and kind != "Python":
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            where = f"layer {node.name!r}: {kind}"
            raise CaffeError(f"{where} cannot be computed with these settings and sizes: {reason}") from error
        error.add_note(f"(raised in layer {node.name!r}, type {kind})")
        raise
