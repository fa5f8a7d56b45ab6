"""An ONNX graph in the making, and the layers of a deploy net in it."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from python_layers import bilinear, regions, roi_warp
from tools import model_files
from tools.errors import ToolError
from tools.export.values import Value

KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(bool): TensorProto.BOOL}
# Operators whose constant inputs are places and sizes, which ONNX wants as whole numbers.
OF_PLACES = ("Reshape", "Slice", "Squeeze", "Unsqueeze", "Gather", "Tile", "Split")


class Graph:
    """Nodes and constants, each made once. Attribute inputs: ONNX's descriptions of the graph's inputs."""

    def __init__(self):
        self.nodes, self.constants, self.inputs = {}, {}, []

    @staticmethod
    def kind(dtype):
        """ONNX's number of a type of NumPy's."""
        return KINDS.get(np.dtype(dtype), TensorProto.INT64)

    def input(self, name, kind, shape, example):
        """An input of the graph. shape: numbers and names of what may vary; example: array."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return Value(self, name, np.asarray(example))

    def node(self, operator, inputs, example, **attributes):
        """The output of an operator, a Value, or a tuple of them for a tuple of examples.

        inputs: Values, arrays and numbers; example: what it is for one example, an array
        """
        names = [self._name(value, operator in OF_PLACES) for value in inputs]
        key = operator, *names, *((name, str(value)) for name, value in sorted(attributes.items()))
        examples = example if isinstance(example, tuple) else (example,)
        if key not in self.nodes:
            title = f"{operator}_{len(self.nodes)}"
            outputs = [title if len(examples) == 1 else f"{title}_{place}" for place in range(len(examples))]
            self.nodes[key] = helper.make_node(operator, names, outputs, name=title, **attributes)
        values = tuple(Value(self, name, np.asarray(e)) for name, e in zip(self.nodes[key].output, examples))
        return values if isinstance(example, tuple) else values[0]

    def _name(self, value, is_place):
        if isinstance(value, Value):
            return value.name
        value = np.asarray(value)
        if value.dtype != bool:
            value = value.astype(np.int64 if is_place else np.float32)
        key = value.shape, value.dtype.str, value.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(value, f"constant_{len(self.constants)}")
        return self.constants[key].name

    def proto(self, name, outputs):
        """The graph as GraphProto, without what no output needs. outputs: dict name -> Value with the batch first."""
        nodes = list(self.nodes.values())
        # Nodes' values get names of their own; the outputs get names that users read.
        nodes += [helper.make_node("Identity", [v.name], [name], name=f"give_{name}") for name, v in outputs.items()]
        needed, kept = set(outputs), []
        for node in reversed(nodes):
            if needed & set(node.output):
                kept.insert(0, node)
                needed.update(node.input)
        described = [
            helper.make_tensor_value_info(name, self.kind(value.dtype), ["N", *value.shape[1:]])
            for name, value in outputs.items()
        ]
        constants = [constant for constant in self.constants.values() if constant.name in needed]
        return helper.make_graph(kept, name, self.inputs, described, constants)


class Layers:
    """Translates the layers of a deploy net into a Graph, one after the other.

    net: the loaded net; description: its NetParameter; pixels: the Value of its input layer; adjustable: dict of
    parameters of RegionMapper to Values that replace the constants. Raises ToolError for a layer without translation.
    Attribute values: Caffe's blob -> the Value that holds it now (layers may work in place), and `revised_response`,
    the response maps revised by the average response
    """

    def __init__(self, net, description, pixels, adjustable):
        self.graph, self.adjustable = pixels.graph, adjustable
        self.weights = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
        self.shapes = {name: (1, *blob.data.shape[1:]) for name, blob in net.blobs.items()}
        self.values = {description.layer[0].top[0]: pixels}
        for layer in description.layer[1:]:
            kind = layer.python_param.layer if layer.type == "Python" else layer.type
            translate = getattr(self, f"_{kind}", None)
            if translate is None:
                raise ToolError(f"layer {layer.name}: type {kind} has no translation to ONNX")
            bottoms = [self.values[bottom] for bottom in layer.bottom]
            tops = translate(layer, *bottoms)
            self.values.update(zip(layer.top, tops if isinstance(tops, tuple) else (tops,)))

    def _node(self, operator, inputs, layer, **attributes):
        """A node with the shape of the layer's first top."""
        return self.graph.node(operator, inputs, np.zeros(self.shapes[layer.top[0]], np.float32), **attributes)

    def _Power(self, layer, bottom):
        p = layer.power_param
        if p.power != 1:
            raise ToolError(f"layer {layer.name}: Power with power {p.power} has no translation to ONNX")
        return bottom * p.scale + p.shift

    def _Convolution(self, layer, bottom):
        p = layer.convolution_param
        kernel, stride, pad = p.kernel_size[0], (list(p.stride) or [1])[0], (list(p.pad) or [0])[0]
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self._node("Conv", [bottom, *self.weights[layer.name]], layer, group=p.group, **sizes)

    def _ReLU(self, layer, bottom):
        return self._node(layer.type.capitalize(), [bottom], layer)

    _Sigmoid = _ReLU

    def _Pooling(self, layer, bottom):
        p = layer.pooling_param
        if p.pool != p.MAX or p.pad:
            raise ToolError(f"layer {layer.name}: only MAX pooling without padding has a translation to ONNX")
        if p.global_pooling:
            return self._node("GlobalMaxPool", [bottom], layer)
        sizes = {"kernel_shape": [p.kernel_size] * 2, "strides": [p.stride] * 2}
        return self._node("MaxPool", [bottom], layer, ceil_mode=1, **sizes)

    def _Tile(self, layer, bottom):
        repeats = np.ones(len(bottom.shape))
        repeats[layer.tile_param.axis] = layer.tile_param.tiles
        return self._node("Tile", [bottom, repeats], layer)

    def _Reshape(self, layer, bottom):
        return self._node("Reshape", [bottom, np.array(layer.reshape_param.shape.dim)], layer)

    def _Slice(self, layer, bottom):
        axis, examples = layer.slice_param.axis, tuple(np.zeros(self.shapes[top], np.float32) for top in layer.top)
        sizes = [example.shape[axis] for example in examples]
        return self.graph.node("Split", [bottom, np.array(sizes)], examples, axis=axis)

    def _Concat(self, layer, *bottoms):
        return self._node("Concat", bottoms, layer, axis=layer.concat_param.axis)

    def _Eltwise(self, layer, *bottoms):
        p = layer.eltwise_param
        if p.operation != p.SUM:
            raise ToolError(f"layer {layer.name}: only SUM of Eltwise has a translation to ONNX")
        factors = list(p.coeff) or [1] * len(bottoms)
        return sum(bottom * factor for bottom, factor in zip(bottoms[1:], factors[1:])) + bottoms[0] * factors[0]

    def _RegionMapper(self, layer, response):
        parameters = model_files.parameters(layer, regions.Parameters)
        average, rectangles = self.weights[layer.name]
        threshold, weight = (
            self.adjustable.get(name, getattr(parameters, name)) for name in ("threshold", "average_weight")
        )
        self.values["revised_response"] = regions.revise(response, average, weight)
        spaces = regions.SPACES[: len(layer.top)]
        return tuple(regions.regions(response, average, rectangles, threshold, weight, space) for space in spaces)

    def _RoIWarp(self, layer, features, rois=None):
        parameters = model_files.parameters(layer, roi_warp.Parameters)
        images, channels, height, width = features.shape
        rois = np.array([[[0, 0, width, height]]], np.float32) if rois is None else rois
        groups = rois.shape[1]
        features = features.reshape(images, groups, channels // groups, height, width)
        warped, _, _ = bilinear.warp(features, rois, parameters.warp)
        pooled = bilinear.max_pool(warped, parameters.pool)
        return pooled.reshape(images, channels, *pooled.shape[-2:])
