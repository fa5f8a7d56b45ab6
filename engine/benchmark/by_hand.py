"""The region net as a plain PyTorch loop, as good as we can write it: what the engine is measured against.

A convolution per attribute, channels last, bfloat16 by autocast; the responses of all attributes at once; only the
gradients that are needed. On the GPU the pass is captured as a CUDA graph.
"""

import torch
import torch.nn.functional as F
from torch import nn

from models import table1

CONV1, CONV2 = (row for row in table1.SHARED if not row.name.startswith("pool"))
BRANCH = (table1.CONV3, *table1.TASK_ONE)


def convolution(row, channels):
    return nn.Conv2d(channels, row.channels, row.kernel, row.stride, row.padding)


class Region(nn.Module):
    """Task one for A attributes: images (b * A, 3, 224, 224) in batch layout, labels (b, A) -> loss."""

    def __init__(self, attributes):
        super().__init__()
        self.conv1 = convolution(CONV1, 3)
        self.conv2 = convolution(CONV2, CONV1.channels)
        self.branches = nn.ModuleList()
        for _ in range(attributes):
            channels, layers = CONV2.channels, []
            for row in BRANCH:
                layers.append(convolution(row, channels))
                channels = row.channels
            self.branches.append(nn.ModuleList(layers))

    def forward(self, images, labels):
        x = images * 0.015625 - 1.75
        for layer in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(layer(x), inplace=True), 3, 2, ceil_mode=True)
        scores = []
        attributes = len(self.branches)
        for index, branch in enumerate(self.branches):
            y = x[index::attributes]
            for layer in branch[:-1]:
                y = F.relu(layer(y), inplace=True)
            scores.append(branch[-1](y))
        scores = torch.stack(scores, 1).float()
        largest = (scores[:, :, 1] - scores[:, :, 0]).flatten(2).amax(2)
        return F.binary_cross_entropy_with_logits(largest, labels, reduction="sum") / len(labels)


class Loop:
    """Passes of the net on one batch.

    channels_last: of weights and images; device: "cpu" or "cuda"
    """

    def __init__(self, attributes, batch, precision, images, channels_last=True, device="cpu"):
        order = torch.channels_last if channels_last else torch.contiguous_format
        self.net = Region(attributes).to(device).to(memory_format=order)
        self.images = images.to(device).contiguous(memory_format=order)
        self.labels = (torch.arange(batch, device=device) % 2).float()[:, None].repeat(1, attributes)
        self.device, self.low = device, precision == "bfloat16"

    def step(self):
        """Forward and backward; the loss."""
        for parameter in self.net.parameters():
            parameter.grad = None
        with torch.autocast(self.device, torch.bfloat16, enabled=self.low):
            loss = self.net(self.images, self.labels)
        loss.backward()
        return loss
