"""Layers that only move data: Split, Reshape, Flatten, Concat, Slice, Tile, Crop, Silence, Input, Parameter."""

import math

import torch

from ..tensors import shaped
from .base import BuiltIn, Derived, register


@register
class Split(BuiltIn):
    """Gives the same data to several layers, and sums their gradients. Net inserts it; see graph.insert_splits."""

    tops = (1, None)
    shares_tops = True

    def reshape(self, bottom, top):
        for blob in top:
            self.check(blob is not bottom[0], "Split cannot work in place")
            blob.reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        for blob in top:
            blob.share_data(bottom[0])

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        parts = [blob.raw_gradient() for blob in top if blob.diff_memory.content is not None]
        if len(parts) < 2:
            bottom[0].put_gradient(parts[0].clone() if parts else torch.zeros_like(bottom[0].value()))
            return
        # The sum gets the shape and strides of the first part, the gradient of the first layer that reads the blob.
        total = parts[0] + shaped(parts[1], parts[0].shape)
        for part in parts[2:]:
            total += shaped(part, total.shape)
        bottom[0].put_gradient(total)


class View(BuiltIn):
    """Base of layers whose top has the bottom's memory in another shape."""

    shares_tops = True

    def share(self, bottom, top):
        """Give the top the memories of the bottom. Raises CaffeError if they are the same blob."""
        self.check(top[0] is not bottom[0], f"{self.type} cannot work in place")
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])

    def forward(self, bottom, top):
        self.share(bottom, top)

    def backward(self, top, propagate_down, bottom):
        """Nothing to do: the diff is shared."""


@register
class Reshape(View):
    """Replaces num_axes axes from `axis` on by reshape_param.shape, in which 0 copies the bottom's size.

    One size may be -1; it is computed from the number of elements.
    """

    def reshape(self, bottom, top):
        param, shape = self.param.reshape_param, bottom[0].shape
        axes = len(shape)
        start = param.axis if param.axis >= 0 else axes + param.axis + 1
        self.check(0 <= start <= axes, f"reshape_param.axis {param.axis} is out of range for shape {shape}")
        self.check(param.num_axes >= -1, "reshape_param.num_axes must be at least -1")
        end = axes if param.num_axes == -1 else start + param.num_axes
        self.check(end <= axes, f"reshape_param takes axes {start} to {end - 1} of a blob of shape {shape}")
        dims = list(param.shape.dim)
        self.check(dims.count(-1) <= 1, "reshape_param.shape can have one dim of -1 only")
        for index, dim in enumerate(dims):
            if dim == 0:
                self.check(start + index < axes, f"dim 0 at place {index} copies an axis that is not in shape {shape}")
                dims[index] = shape[start + index]
        new = [*shape[:start], *dims, *shape[end:]]
        if -1 in new:
            others = math.prod(dim for dim in new if dim != -1)
            self.check(others and math.prod(shape) % others == 0, f"shape {shape} does not divide into {new}")
            new[new.index(-1)] = math.prod(shape) // others
        self.check(math.prod(new) == math.prod(shape), f"shapes {shape} and {tuple(new)} differ in their numbers")
        top[0].reshape(*new)
        self.share(bottom, top)


@register
class Flatten(View):
    """Flattens the axes from `axis` to `end_axis` inclusive to one."""

    def reshape(self, bottom, top):
        shape, param = bottom[0].shape, self.param.flatten_param
        start, end = self.axis(param.axis, bottom[0]), self.axis(param.end_axis, bottom[0])
        self.check(end >= start, f"flatten_param.end_axis {param.end_axis} lies before axis {param.axis}")
        top[0].reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        self.share(bottom, top)


class Joint(BuiltIn):
    """Base of Concat and Slice, which join and part along an axis."""

    def chosen_axis(self, param, old, bottom):
        """The index of the axis that a message gives in `axis` or in the field `old`. Raises CaffeError for both."""
        self.check(not (param.HasField("axis") and param.HasField(old)), f"give axis or {old}, not both")
        return self.axis(getattr(param, old) if param.HasField(old) else param.axis, bottom[0])


@register
class Concat(Joint):
    """Concatenates bottoms along an axis."""

    bottoms = (1, None)

    def reshape(self, bottom, top):
        self.dim, shape = self.chosen_axis(self.param.concat_param, "concat_dim", bottom), list(bottom[0].shape)
        self.sizes = [blob.shape[self.dim] if len(blob.shape) == len(shape) else 0 for blob in bottom]
        for blob, size in zip(bottom, self.sizes):
            shape[self.dim] = size
            fits = blob.shape == tuple(shape)
            self.check(fits, f"shapes to concatenate along axis {self.dim} differ: {blob.shape}, {bottom[0].shape}")
        shape[self.dim] = sum(self.sizes)
        top[0].reshape(*shape)

    def forward(self, bottom, top):
        top[0].put(torch.cat([blob.value() for blob in bottom], self.dim))

    def backward(self, top, propagate_down, bottom):
        parts = top[0].gradient().split(self.sizes, self.dim)
        for blob, part, wanted in zip(bottom, parts, propagate_down):
            if wanted:
                blob.put_gradient(part.clone())


@register
class Slice(Joint):
    """Splits a bottom along an axis, at slice_point or into equal parts."""

    tops = (1, None)

    def reshape(self, bottom, top):
        param, shape = self.param.slice_param, list(bottom[0].shape)
        self.dim = self.chosen_axis(param, "slice_dim", bottom)
        total, points = shape[self.dim], list(param.slice_point)
        if points:
            self.check(
                len(points) == len(top) - 1, f"{len(top)} tops need {len(top) - 1} slice_point, not {len(points)}"
            )
            bounds = [0, *points, total]
            self.check(bounds == sorted(set(bounds)), f"slice_point must rise within 0 to {total}, not {points}")
            self.sizes = [high - low for low, high in zip(bounds, bounds[1:])]
        else:
            self.check(total % len(top) == 0, f"axis {self.dim} of size {total} does not divide into {len(top)} tops")
            self.sizes = [total // len(top)] * len(top)
        for blob, size in zip(top, self.sizes):
            shape[self.dim] = size
            blob.reshape(*shape)

    def forward(self, bottom, top):
        for blob, part in zip(top, bottom[0].value().split(self.sizes, self.dim)):
            blob.put(part.clone())

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].put_gradient(torch.cat([blob.gradient() for blob in top], self.dim))


@register
class Tile(Derived):
    """Repeats a bottom `tiles` times along an axis."""

    def reshape(self, bottom, top):
        param, shape = self.param.tile_param, list(bottom[0].shape)
        self.check(param.HasField("tiles") and param.tiles > 0, "tile_param.tiles must be at least 1")
        self.dim, self.tiles = self.axis(param.axis, bottom[0]), param.tiles
        shape[self.dim] *= self.tiles
        top[0].reshape(*shape)

    def compute(self, x):
        return torch.cat([x] * self.tiles, self.dim)


@register
class Crop(Derived):
    """The part of bottom 0, at `offset`, that has the sizes of bottom 1 in the axes from `axis` on."""

    bottoms = 2

    def reshape(self, bottom, top):
        param, shape = self.param.crop_param, list(bottom[0].shape)
        start = self.axis(param.axis, bottom[0])
        offsets, axes = list(param.offset), len(shape) - start
        self.check(len(offsets) in (0, 1, axes), f"crop_param.offset: give none, one or {axes}, not {len(offsets)}")
        if len(offsets) < 2:
            offsets = (offsets or [0]) * axes
        sizes = bottom[1].shape
        self.check(len(sizes) == len(shape), f"shapes {tuple(shape)} and {sizes} differ in their number of axes")
        self.slices = [slice(None)] * start
        for axis, offset in enumerate(offsets, start):
            end = offset + sizes[axis]
            self.check(end <= shape[axis], f"offset {offset} and size {sizes[axis]} exceed axis {axis} of {shape}")
            self.slices.append(slice(offset, end))
        top[0].reshape(*shape[:start], *sizes[start:])

    def compute(self, x, _):
        return x[tuple(self.slices)].clone()


@register
class Silence(BuiltIn):
    """Reads blobs that no other layer reads, so that they are not outputs of the net."""

    bottoms = (1, None)
    tops = 0

    def backward(self, top, propagate_down, bottom):
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.put_gradient(torch.zeros_like(blob.value()))


@register
class Input(BuiltIn):
    """Blobs that the user fills before a forward pass."""

    bottoms = 0
    tops = (1, None)
    shares_tops = True

    def setup(self, bottom, top):
        shapes = self.param.input_param.shape
        self.check(
            len(shapes) in (0, 1, len(top)), f"give no shape, one, or one per top ({len(top)}), not {len(shapes)}"
        )
        for index, blob in enumerate(top):
            if shapes:
                blob.reshape(*shapes[index if len(shapes) > 1 else 0].dim)


@register
class Parameter(BuiltIn):
    """A top that is a learned parameter blob, data and diff."""

    bottoms = 0
    shares_tops = True

    def setup(self, bottom, top):
        shape = tuple(self.param.parameter_param.shape.dim)
        self.blobs.add_blob(*shape)
        top[0].reshape(*shape)

    def forward(self, bottom, top):
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0])
