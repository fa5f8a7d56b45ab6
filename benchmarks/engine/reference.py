"""The networks in plain PyTorch, as fast as we can write them: the reference for the engine.

Channels last, bfloat16 by autocast, a convolution per attribute (or grouped ones, on the GPU faster), on the GPU the
pixels of 4 x 4 squares as channels of conv1, the responses of all attributes at once, only the gradients that are
needed. There is no early stopping, which favours these loops.
"""

import torch
import torch.nn.functional as F
from torch import nn

from data_prep import geometry
from models import table1
from python_layers import bilinear, regions

CONV1, CONV2 = (row for row in table1.SHARED if not row.name.startswith("pool"))


def convolution(row, channels, groups=1):
    return nn.Conv2d(groups * channels, groups * row.channels, row.kernel, row.stride, row.padding, groups=groups)


class Stack(nn.Module):
    """Rows of table 1 for A attributes, with ReLUs between and, if `ends`, after them.

    Maps are a list of A tensors (b, C, H, W), or where `grouped` one tensor (b, A * C, H, W).
    """

    def __init__(self, rows, channels, attributes, grouped, ends=False):
        super().__init__()
        self.grouped, self.ends = grouped, ends
        self.branches = nn.ModuleList()
        for _ in range(1 if grouped else attributes):
            inputs = [channels, *(row.channels for row in rows)]
            groups = attributes if grouped else 1
            self.branches.append(nn.ModuleList(convolution(row, c, groups) for row, c in zip(rows, inputs)))

    def forward(self, maps):
        if self.grouped:
            return self.run(self.branches[0], maps)
        return [self.run(branch, y) for branch, y in zip(self.branches, maps)]

    def run(self, layers, y):
        for index, layer in enumerate(layers):
            y = layer(y)
            if self.ends or index + 1 < len(layers):
                y = F.relu(y, inplace=True)
        return y


class Region(nn.Module):
    """Task one for A attributes: images (b * A, 3, 224, 224) in batch layout, labels (b, A) -> loss."""

    def __init__(self, attributes, grouped=False):
        super().__init__()
        self.attributes, self.grouped = attributes, grouped
        self.conv1, self.conv2 = convolution(CONV1, 3), convolution(CONV2, CONV1.channels)
        self.conv3 = Stack([table1.CONV3], CONV2.channels, attributes, grouped, ends=True)
        self.task_one = Stack(table1.TASK_ONE, table1.CONV3.channels, attributes, grouped)

    def features(self, images):
        """The maps of conv3."""
        x = (images - geometry.PIXEL_MEAN) / geometry.PIXEL_SCALE
        for layer in (self.packed_conv1 if x.is_cuda else self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(layer(x), inplace=True), 3, 2, ceil_mode=True)
        if self.grouped:
            return self.conv3(x.reshape(-1, self.attributes * x.shape[1], *x.shape[2:]))
        return self.conv3([x[index :: self.attributes] for index in range(self.attributes)])

    def packed_conv1(self, x):
        """conv1 over 4 x 4 squares of pixels as channels, which a GPU computes faster than 3 channels."""
        side = CONV1.stride
        squares = F.pixel_unshuffle(x, side).contiguous(memory_format=torch.channels_last)
        weight = F.pad(self.conv1.weight, (0, -CONV1.kernel % side) * 2)
        return F.conv2d(squares, F.pixel_unshuffle(weight, side), self.conv1.bias)

    def joined(self, maps):
        """Maps as one tensor (b, A, C, H, W)."""
        return maps.unflatten(1, (self.attributes, -1)) if self.grouped else torch.stack(maps, 1)

    def responses(self, maps):
        """Scores (b, A, 2, 4, 4), and d (b, A, 4, 4)."""
        scores = self.joined(self.task_one(maps)).float()
        return scores, scores[:, :, 1] - scores[:, :, 0]

    def forward(self, images, labels):
        _, d = self.responses(self.features(images))
        return cross_entropy(d.flatten(2).amax(2), labels)


class Cascade(Region):
    """Both tasks: the same inputs -> the sum of both losses. Regions by the formula, the average at the threshold."""

    def __init__(self, attributes, grouped=False):
        super().__init__(attributes, grouped)
        self.task_two = Stack(table1.TASK_TWO, table1.CONV3.channels, attributes, grouped)
        self.weights = nn.Parameter(torch.full((attributes, 3), 0.5))
        self.bias = nn.Parameter(torch.zeros(attributes))
        rectangles = torch.from_numpy(regions.theoretical_rectangles()).expand(attributes, 4, 4, 4)
        self.register_buffer("rectangles", rectangles.contiguous())
        self.register_buffer("average", torch.full((attributes, 4, 4), 0.5))

    def forward(self, images, labels):
        maps = self.features(images)
        scores, d = self.responses(maps)
        with torch.no_grad():
            revised = regions.revise(torch.sigmoid(d), self.average, 0.5)
            points = regions.region_points(revised, self.average, 0.5)
            rois = regions.bounding_rectangles(points, self.rectangles)
        warped, _, _ = bilinear.warp(self.joined(maps), rois, 10)
        pooled = F.max_pool2d(warped.flatten(1, 2), 2)
        if not self.grouped:
            last = torch.channels_last
            pooled = [part.contiguous(memory_format=last) for part in pooled.chunk(self.attributes, 1)]
        second = self.joined(self.task_two(pooled)).float().flatten(2).amax(2, keepdim=True)
        largest = scores.flatten(3).amax(3)
        vector = torch.cat([-largest[:, :, :1], largest[:, :, 1:], second], 2)
        logits = (vector * self.weights).sum(2) + self.bias
        return cross_entropy(d.flatten(2).amax(2), labels) + cross_entropy(logits, labels)


def cross_entropy(scores, labels):
    return F.binary_cross_entropy_with_logits(scores, labels, reduction="sum") / len(labels)


class Training:
    """Training of "region" or "cascade" with SGD, on a device.

    images (b * A, 3, 224, 224) and labels (b, A) are tensors on the device that a caller fills before each step.
    channels_last: memory order of weights and images; clip: largest norm of the gradients
    """

    def __init__(self, net, attributes, batch, precision, device, grouped, channels_last, clip):
        cls = Cascade if net == "cascade" else Region
        order = torch.channels_last if channels_last else torch.contiguous_format
        self.net = cls(attributes, grouped).to(device).to(memory_format=order)
        size = (attributes * batch, 3, table1.INPUT_SIZE, table1.INPUT_SIZE)
        self.images = torch.zeros(size, device=device).contiguous(memory_format=order)
        self.labels = torch.zeros(batch, attributes, device=device)
        self.device, self.low, self.clip = device, precision == "bfloat16", clip
        self.solver = torch.optim.SGD(self.net.parameters(), 1e-4, 0.9, weight_decay=5e-4, fused=True)

    def passes(self):
        """Forward and backward; the loss."""
        self.solver.zero_grad(set_to_none=True)
        # Casts are not kept between passes: a captured graph must repeat them.
        with torch.autocast(self.device, torch.bfloat16, enabled=self.low, cache_enabled=False):
            loss = self.net(self.images, self.labels)
        loss.backward()
        return loss.detach()

    def update(self):
        """Change the weights by their gradients."""
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.clip, foreach=True)
        self.solver.step()

    def recorded(self):
        """Both as a CUDA graph: a function that replays it and returns the loss."""

        def step():
            loss = self.passes()
            self.update()
            return loss

        # A few steps on another stream, which capturing requires.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step()

        def replay():
            graph.replay()
            return loss.item()

        return replay
