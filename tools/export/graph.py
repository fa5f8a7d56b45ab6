"""The layers of a deploy net as a graph of ONNX operators, RegionMapper and RoIWarp included."""

import dataclasses

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models import table1
from python_layers import regions, roi_warp
from tools import model_files
from tools.errors import ToolError


class Exporter:
    """Turns the layers of a deploy net into ONNX nodes, one after the other: `translate`.

    net: caffe_pb2.NetParameter; weights: dict layer -> list of arrays; shapes: dict blob -> shape, for Slice
    names: Caffe's blob -> the ONNX value that holds it now (layers may work in place), and `revised_response`, the
    response maps revised by the average response
    adjustable: parameters of RegionMapper that are inputs of the graph, scalars, instead of constants
    """

    def __init__(self, net, weights, shapes, adjustable=()):
        self.net, self.weights, self.shapes, self.adjustable = net, weights, shapes, adjustable
        self.nodes, self.constants = [], []
        self.names = {}
        self.count = 0

    def translate(self, data):
        """Add the nodes of all layers. data: the ONNX value that the input layer gives. Raises ToolError."""
        self.names[self.net.layer[0].top[0]] = data
        for layer in self.net.layer[1:]:
            translate = getattr(self, f"_{layer.type}", None)
            if translate is None:
                raise ToolError(f"layer {layer.name}: type {layer.type} has no translation to ONNX")
            translate(layer)

    # The pieces -------------------------------------------------------------------------------------------

    def node(self, kind, inputs, outputs=None, **attributes):
        """Add a node; returns its only output's name, or the list of those given."""
        self.count += 1
        made = outputs or [f"{kind}_{self.count}"]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=f"{kind}_{self.count}", **attributes))
        return made[0] if outputs is None else made

    def constant(self, values, dtype=np.float32):
        """A constant; returns its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def ints(self, *values):
        return self.constant(values, np.int64)

    def bottoms(self, layer):
        return [self.names[bottom] for bottom in layer.bottom]

    def give(self, layer, *values):
        self.names.update(zip(layer.top, values))

    # The layers -------------------------------------------------------------------------------------------

    def _Power(self, layer):
        p = layer.power_param
        if p.power != 1:
            raise ToolError(f"layer {layer.name}: Power with power {p.power} has no translation to ONNX")
        scaled = self.node("Mul", [*self.bottoms(layer), self.constant(p.scale)])
        self.give(layer, self.node("Add", [scaled, self.constant(p.shift)]))

    def _Convolution(self, layer):
        p = layer.convolution_param
        kernel, stride, pad = p.kernel_size[0], (list(p.stride) or [1])[0], (list(p.pad) or [0])[0]
        inputs = [*self.bottoms(layer), *(self.constant(array) for array in self.weights[layer.name])]
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        self.give(layer, self.node("Conv", inputs, group=p.group, **sizes))

    def _ReLU(self, layer):
        self.give(layer, self.node("Relu", self.bottoms(layer)))

    def _Sigmoid(self, layer):
        self.give(layer, self.node("Sigmoid", self.bottoms(layer)))

    def _Pooling(self, layer):
        p = layer.pooling_param
        if p.pool != p.MAX or p.pad:
            raise ToolError(f"layer {layer.name}: only MAX pooling without padding has a translation to ONNX")
        if p.global_pooling:
            self.give(layer, self.node("GlobalMaxPool", self.bottoms(layer)))
            return
        sizes = {"kernel_shape": [p.kernel_size] * 2, "strides": [p.stride] * 2}
        self.give(layer, self.node("MaxPool", self.bottoms(layer), ceil_mode=1, **sizes))

    def _Tile(self, layer):
        p, (bottom,) = layer.tile_param, layer.bottom
        repeats = [1] * len(self.shapes[bottom])
        repeats[p.axis] = p.tiles
        self.give(layer, self.node("Tile", [*self.bottoms(layer), self.ints(*repeats)]))

    def _Reshape(self, layer):
        self.give(layer, self.node("Reshape", [*self.bottoms(layer), self.ints(*layer.reshape_param.shape.dim)]))

    def _Slice(self, layer):
        outputs = [f"slice_{top}" for top in layer.top]
        size = self.shapes[layer.bottom[0]][layer.slice_param.axis] // len(outputs)
        inputs = [*self.bottoms(layer), self.ints(*[size] * len(outputs))]
        self.give(layer, *self.node("Split", inputs, outputs, axis=layer.slice_param.axis))

    def _Concat(self, layer):
        self.give(layer, self.node("Concat", self.bottoms(layer), axis=layer.concat_param.axis))

    def _Eltwise(self, layer):
        p = layer.eltwise_param
        if p.operation != p.SUM:
            raise ToolError(f"layer {layer.name}: only SUM of Eltwise has a translation to ONNX")
        factors = list(p.coeff) or [1] * len(layer.bottom)
        parts = [self.node("Mul", [b, self.constant(c)]) for b, c in zip(self.bottoms(layer), factors)]
        self.give(layer, self.node("Sum", parts))

    def _Python(self, layer):
        p = layer.python_param
        translate = {"RegionMapper": self._region_mapper, "RoIWarp": self._roi_warp}.get(p.layer)
        if translate is None:
            raise ToolError(f"layer {layer.name}: Python layer {p.layer} has no translation to ONNX")
        translate(layer)

    def _region_mapper(self, layer):
        """Section 3.2, as python_layers.regions.regions computes it."""
        parameters = dataclasses.asdict(model_files.parameters(layer, regions.Parameters))
        average, rectangles = self.weights[layer.name]
        attributes, points = len(average), table1.RESPONSE_SIZE**2
        w, threshold = (
            name if name in self.adjustable else self.constant(parameters[name])
            for name in ("average_weight", "threshold")
        )
        scaled = self.node("Mul", [*self.bottoms(layer), self.node("Sub", [self.constant(1), w])])
        revised = self.node("Add", [scaled, self.node("Mul", [self.constant(average), w])])
        self.names["revised_response"] = revised
        flat = self.node("Reshape", [revised, self.ints(0, attributes, points)])
        above = self.node("Greater", [flat, threshold])
        usual = self.node("Greater", [self.constant(average.reshape(1, attributes, points)), threshold])
        best = self.node("ArgMax", [flat], axis=2, keepdims=1)
        largest = self.node("Equal", [best, self.constant(np.arange(points).reshape(1, 1, points), np.int64)])
        chosen = self._where_any(above, self._where_any(usual, largest))
        chosen = self.node("Unsqueeze", [chosen, self.ints(3)])
        cells = self._bounds(chosen, rectangles.reshape(1, attributes, points, 4))
        tops = [self.node("Clip", [cells, self.constant(0), self.constant(table1.MAP_SIZE)])]
        if len(layer.top) > 1:
            pixels = regions.point_rectangles_in_image(rectangles)
            tops.append(self._bounds(chosen, pixels.reshape(1, attributes, points, 4)))
        self.give(layer, *tops)

    def _where_any(self, points, others):
        """Points (b, A, 16) bool of a map where there are any, else others."""
        number = self.node("ReduceMax", [self.node("Cast", [points], to=TensorProto.FLOAT)], axes=[2], keepdims=1)
        none = self.node("Not", [self.node("Greater", [number, self.constant(0)])])
        return self.node("Or", [points, self.node("And", [none, others])])

    def _bounds(self, chosen, rectangles):
        """Smallest rectangles round those of the chosen points, (b, A, 4)."""
        sides = []
        for part, kind, other in ((rectangles[..., :2], "ReduceMin", 1e9), (rectangles[..., 2:], "ReduceMax", -1e9)):
            kept = self.node("Where", [chosen, self.constant(part), self.constant(other)])
            sides.append(self.node(kind, [kept], axes=[2], keepdims=0))
        return self.node("Concat", sides, axis=2)

    def _roi_warp(self, layer):
        """Eq. 3, as python_layers.bilinear has it: wy F wx^T of every channel, then max-pool."""
        parameters = model_files.parameters(layer, roi_warp.Parameters)
        samples, pool = parameters.warp, parameters.pool
        _, channels, height, width = self.shapes[layer.bottom[0]]
        if len(layer.bottom) > 1:
            groups = self.shapes[layer.bottom[1]][1]
            ends = self.node("Split", [self.bottoms(layer)[1], self.ints(1, 1, 1, 1)], self._fresh(4), axis=2)
        else:
            groups = 1
            ends = [self.constant([[[value]]]) for value in (0, 0, width, height)]
        x, y = (self._weights(ends[axis], ends[axis + 2], samples, size) for axis, size in ((0, width), (1, height)))
        wx = self.node("Unsqueeze", [self.node("Transpose", [x], perm=[0, 1, 3, 2]), self.ints(2)])
        wy = self.node("Unsqueeze", [y, self.ints(2)])
        shape = self.ints(0, groups, channels // groups, height, width)
        features = self.node("Reshape", [self.bottoms(layer)[0], shape])
        warped = self.node("MatMul", [self.node("MatMul", [wy, features]), wx])
        flat = self.node("Reshape", [warped, self.ints(0, channels, samples, samples)])
        self.give(layer, self.node("MaxPool", [flat], kernel_shape=[pool] * 2, strides=[pool] * 2))

    def _fresh(self, number):
        self.count += 1
        return [f"part_{self.count}_{place}" for place in range(number)]

    def _weights(self, low, high, samples, cells):
        """Bilinear weights (b, A, samples, cells) of the samples of intervals, whose ends are (b, A, 1)."""
        share = self.constant((np.arange(samples) + 0.5) / samples)
        inside = self.node("Mul", [self.node("Sub", [high, low]), share])
        x = self.node("Sub", [self.node("Add", [low, inside]), self.constant(0.5)])
        x = self.node("Clip", [x, self.constant(0), self.constant(cells - 1)])
        x = self.node("Unsqueeze", [x, self.ints(3)])
        distance = self.node("Abs", [self.node("Sub", [x, self.constant(np.arange(cells))])])
        return self.node("Relu", [self.node("Sub", [self.constant(1), distance])])
