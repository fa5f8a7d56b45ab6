"""A solver's updates: clipping, decay, the rule's histories, and the histories in snapshots."""

import torch

from . import context, glog
from .errors import check
from .model_file import same_shape
from .updates import learning_rate

number = glog.number

# Numbers whose squares are added up in one go for the norm of the gradients.
NORM_PART = 1 << 16


class Optimizer:
    """Changes a net's weights by their gradients.

    step: current step of the policies of the learning rate that count steps
    histories: lists of tensors, one list per kind of history, None where a parameter was never learned
    """

    def __init__(self, param, net, rule):
        self.param, self.net, self.rule = param, net, rule
        self.step = 0
        self.histories = [[None] * len(net.learnable) for _ in range(rule.histories)]

    def rate(self, iteration):
        """The learning rate of an iteration's update."""
        return learning_rate(self.param, iteration, self.step)[0]

    def update(self, iteration):
        """Change the weights by what their gradients ask for."""
        param, net = self.param, self.net
        rate, self.step = learning_rate(param, iteration, self.step)
        if param.display and iteration % param.display == 0:
            glog.info(f"Iteration {iteration}, lr = {number(rate)}")
        with torch.no_grad():
            scale = self._clipping() / param.iter_size
            groups = {}
            for index, blob in enumerate(net.learnable):
                if net.rates[index] == 0 and self.histories[0][index] is None:
                    continue
                for history in self.histories:
                    if history[index] is None:
                        history[index] = torch.zeros(blob.shape, device=context.device())
                    elif history[index].device != context.device():
                        history[index] = history[index].to(context.device())
                groups.setdefault((net.rates[index], net.decays[index]), []).append(index)
            for (lr_mult, decay_mult), indices in groups.items():
                self._update(indices, rate * lr_mult, param.weight_decay * decay_mult, scale, iteration)

    def _update(self, indices, rate, decay, scale, iteration):
        blobs = [self.net.learnable[index] for index in indices]
        data = [blob.data_memory.plain(blob.shape) for blob in blobs]
        gradients = [blob.diff_memory.plain(blob.shape) for blob in blobs]
        histories = [[history[index] for index in indices] for history in self.histories]
        updates = self.rule.apply(data, gradients, histories, rate, decay, scale, iteration)
        for blob, gradient, update in zip(blobs, gradients, updates):
            blob.data_memory.changed()
            # The diffs of parameters are their updates until the next pass, as in BVLC Caffe.
            if update is gradient:
                blob.diff_memory.changed()
            else:
                blob.diff_memory.lend(update)

    def _clipping(self):
        """The factor by which gradients are scaled down so that their norm is at most clip_gradients."""
        limit = self.param.clip_gradients
        if limit < 0:
            return 1.0
        gradients = [blob.diff_memory.plain(blob.shape).view(-1) for blob in self.net.learnable]
        # PyTorch adds squares up one after the other, in float32: of millions of numbers that is wrong by 1e-4.
        parts = [part for gradient in gradients for part in gradient.split(NORM_PART)]
        norm = float(torch.stack(torch._foreach_norm(parts)).norm())
        if not norm > limit:
            return 1.0
        scale = limit / norm
        glog.info(
            f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > {number(limit)}) "
            f"by scale factor {number(scale)}"
        )
        return scale

    def spoilt(self):
        """Name of a layer whose learned weights or their histories are not finite, or None. Waits for the device."""
        suspects = []
        for index, (blob, rate) in enumerate(zip(self.net.learnable, self.net.rates)):
            if rate:
                tensors = [blob.value(), *(kind[index] for kind in self.histories if kind[index] is not None)]
                suspects.append((blob, torch.stack([torch.isfinite(t).all().to(context.device()) for t in tensors])))
        if not suspects or bool(torch.cat([good for _, good in suspects]).all()):
            return None
        blob = next(blob for blob, good in suspects if not good.all())
        return next(n.name for n in self.net.nodes if any(b is blob for b in list.__iter__(n.layer.blobs)))

    def arrays(self):
        """The histories as a snapshot holds them: a list of arrays."""
        return [
            (torch.zeros(blob.shape) if history is None else history).cpu().numpy()
            for kind in self.histories
            for history, blob in zip(kind, self.net.learnable)
        ]

    def check_arrays(self, arrays, path):
        """Raise CaffeError unless arrays of a snapshot are this net's and rule's histories."""
        blobs = self.net.learnable * self.rule.histories
        check(
            len(arrays) == len(blobs),
            f"{path}: holds {len(arrays)} histories; this solver and net have {len(blobs)}",
        )
        for index, (array, blob) in enumerate(zip(arrays, blobs)):
            check(
                same_shape(array.shape, blob.shape),
                f"{path}: history {index} has shape {array.shape}, its parameter {blob.shape}",
            )

    def restore(self, arrays, step):
        """Go on with the histories of a snapshot."""
        blobs, kinds = self.net.learnable, self.rule.histories
        tensors = [
            torch.from_numpy(array.astype("float32").reshape(blob.shape)).to(context.device()) if array.any() else None
            for array, blob in zip(arrays, blobs * kinds)
        ]
        self.histories = [tensors[kind * len(blobs) : (kind + 1) * len(blobs)] for kind in range(kinds)]
        self.step = step
