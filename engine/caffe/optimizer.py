"""The update of the weights: gradient clipping, learning rates, weight decay, and the solver's histories."""

import torch

from . import context, glog
from .errors import check
from .glog import number
from .model_file import same_shape
from .tensors import flat, in_order_of
from .updates import learning_rate

# Number of gradients whose squares are summed in one piece for their norm.
NORM_PART = 1 << 16


class Optimizer:
    """Updates the weights of a net by their gradients.

    param: SolverParameter; net: the net; rule: an updates.Rule, which implements one solver type
    step: number of learning-rate steps so far, for the policies "step" and "multistep" (current_step in a .solverstate)
    histories: one list of tensors per kind of history of the rule, with one entry per learnable blob, None for zeros
    """

    def __init__(self, param, net, rule):
        self.param, self.net, self.rule = param, net, rule
        self.step = 0
        self.histories = [[None] * len(net.learnable) for _ in range(rule.histories)]

    def rate(self, iteration):
        """The learning rate at an iteration, before the lr_mult of the parameters. Raises CaffeError."""
        return learning_rate(self.param, iteration, self.step)[0]

    def update(self, iteration):
        """Update the weights, as BVLC's SGDSolver::ApplyUpdate: clip, divide by iter_size, decay, apply the rule.

        Parameters with the same lr_mult and decay_mult are updated together. Raises CaffeError for a wrong lr_policy.
        """
        param, net = self.param, self.net
        before = self.step
        rate, self.step = learning_rate(param, iteration, self.step)
        if param.lr_policy == "multistep" and self.step > before:
            glog.info(f"MultiStep Status: Iteration {iteration}, step = {self.step}")
        if param.display and iteration % param.display == 0:
            glog.info(f"Iteration {iteration}, lr = {number(rate)}")
        with torch.no_grad():
            scale = self._clip_factor() / param.iter_size
            groups = {}
            for index in range(len(net.learnable)):
                if net.rates[index] == 0 and self.histories[0][index] is None:
                    continue
                groups.setdefault((net.rates[index], net.decays[index]), []).append(index)
            for (lr_mult, decay_mult), indices in groups.items():
                self._update(indices, rate * lr_mult, param.weight_decay * decay_mult, scale, iteration)

    def _update(self, indices, rate, decay, scale, iteration):
        """Update the learnable blobs at these indices, which have the same learning rate and weight decay."""
        blobs = [self.net.learnable[index] for index in indices]
        weights = [blob.data_memory.writable(blob.shape) for blob in blobs]
        gradients = [in_order_of(blob.diff_memory.writable(blob.shape), w) for blob, w in zip(blobs, weights)]
        for kind in self.histories:
            for index, weight in zip(indices, weights):
                history = kind[index]
                kind[index] = torch.zeros_like(weight) if history is None else in_order_of(history, weight)
        histories = [[kind[index] for index in indices] for kind in self.histories]
        # The rule takes the numbers as they follow each other in memory, because PyTorch is slow with other strides.
        tensors = [list(map(flat, tensors)) for tensors in (weights, gradients, *histories)]
        in_history = self.rule.apply(*tensors[:2], tensors[2:], rate, decay, scale, iteration)
        # As in BVLC Caffe, the diffs of parameters hold their updates until the next pass.
        for blob, update in zip(blobs, histories[0] if in_history else gradients):
            blob.data_memory.changed()
            if in_history:
                blob.diff_memory.borrow(update)
            else:
                blob.diff_memory.set(update)
                blob.diff_memory.changed()

    def _clip_factor(self):
        """The factor, at most 1, that brings the L2 norm of all gradients down to clip_gradients (negative: off)."""
        limit = self.param.clip_gradients
        if limit < 0 or not self.net.learnable:
            return 1.0
        gradients = [flat(blob.diff_memory.writable(blob.shape)) for blob in self.net.learnable]
        # PyTorch sums the squares of a tensor sequentially in float32. For millions of elements the relative error is
        # 1e-4, so the norm is computed from the norms of shorter pieces, as a GPU does it anyway.
        parts = gradients if context.state.gpu else [p for gradient in gradients for p in gradient.split(NORM_PART)]
        norm = float(torch.stack(torch._foreach_norm(parts)).norm())
        if not norm > limit:
            return 1.0
        scale = limit / norm
        glog.info(
            f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > {number(limit)}) "
            f"by scale factor {number(scale)}"
        )
        return scale

    def non_finite_layer(self):
        """The name of the first layer with learned weights or histories that are not finite, or None."""
        for index, (blob, rate) in enumerate(zip(self.net.learnable, self.net.rates)):
            tensors = [blob.value(), *(kind[index] for kind in self.histories if kind[index] is not None)]
            if rate and not all(torch.isfinite(tensor).all() for tensor in tensors):
                return next(n.name for n in self.net.nodes if any(b is blob for b in n.layer.blobs))
        return None

    def arrays(self):
        """Yield the histories in the order of a .solverstate: all first histories, then all second ones, as arrays."""
        for kind in self.histories:
            for history, blob in zip(kind, self.net.learnable):
                history = torch.zeros(blob.shape) if history is None else history.reshape(blob.shape)
                yield history.cpu().contiguous().numpy()

    def check_arrays(self, arrays, path):
        """Raise CaffeError unless arrays, read from the snapshot `path`, fit the histories of this net and rule."""
        blobs = self.net.learnable * self.rule.histories
        check(
            len(arrays) == len(blobs),
            f"{path}: holds {len(arrays)} histories, but this solver and net have {len(blobs)}",
        )
        for index, (array, blob) in enumerate(zip(arrays, blobs)):
            check(
                same_shape(array.shape, blob.shape),
                f"{path}: history {index} has shape {array.shape}, its parameter {blob.shape}",
            )

    def restore(self, arrays, step):
        """Continue with the histories and the learning-rate step of a snapshot, which `check_arrays` has checked."""
        blobs, kinds = self.net.learnable, self.rule.histories
        tensors = [
            torch.from_numpy(array.astype("float32").reshape(blob.shape)) for array, blob in zip(arrays, blobs * kinds)
        ]
        tensors = [tensor.to(context.device()) if tensor.any() else None for tensor in tensors]
        self.histories = [tensors[kind * len(blobs) : (kind + 1) * len(blobs)] for kind in range(kinds)]
        self.step = step
