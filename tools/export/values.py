"""Arrays that are computed by an ONNX graph later: NumPy's functions and operators on them add nodes to it.

So the arithmetic of the layers (python_layers.regions, python_layers.bilinear) and of the calibration is written once
and serves here too. A Value knows what it is for one example, a batch of one, which gives its shape and type.
"""

import numpy as np

# NumPy's functions of elements -> ONNX operators.
OPERATORS = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.matmul: "MatMul",
    np.maximum: "Max",
    np.minimum: "Min",
    np.negative: "Neg",
    np.absolute: "Abs",
    np.floor: "Floor",
    np.rint: "Round",
    np.exp: "Exp",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
    np.equal: "Equal",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
    np.invert: "Not",
}


class Value(np.lib.mixins.NDArrayOperatorsMixin):
    """A value of an ONNX graph. graph: tools.export.graph.Graph; name: in it; example: what it is for one example."""

    def __init__(self, graph, name, example):
        example = example.astype(np.float32) if example.dtype == np.float64 else example
        self.graph, self.name, self.example = graph, name, example
        self.shape, self.dtype = example.shape, example.dtype

    def __array_ufunc__(self, function, method, *inputs, **options):
        return self.graph.node(OPERATORS[function], inputs, function(*map(example_of, inputs)))

    def __array_function__(self, function, types, arguments, options):
        return FUNCTIONS[function](*arguments, **options)

    def reshape(self, *shape):
        """With another shape; the length of the first axis, the batch, stays open."""
        example = self.example.reshape(*shape)
        return self.graph.node("Reshape", [self, np.array([0, *example.shape[1:]])], example)

    def __getitem__(self, key):
        """Parts and new axes as NumPy has them, of each example alike: the first axis, the batch, is whole."""
        if isinstance(key, tuple) and key[0] is Ellipsis and all(isinstance(part, slice) for part in key[1:]):
            axes = range(len(self.shape) - len(key) + 1, len(self.shape))
            ends = zip(*(part.indices(self.shape[axis]) for axis, part in zip(axes, key[1:])))
            starts, stops, steps = map(np.array, ends)
            return self.graph.node("Slice", [self, starts, stops, np.array(axes), steps], self.example[key])
        return self._taken(np.arange(self.example.size).reshape(self.shape)[key])

    def swapaxes(self, first, second):
        return self._taken(np.arange(self.example.size).reshape(self.shape).swapaxes(first, second))

    def _taken(self, places):
        """The numbers at these places of every example, in the shape of the places."""
        flat = self.reshape(1, -1)
        if places.size != flat.example.size or np.any(np.diff(places.ravel()) != 1):
            flat = self.graph.node("Gather", [flat, places.ravel()], flat.example[:, places.ravel()], axis=1)
        return flat.reshape(places.shape)

    def clip(self, low, high):
        return self.graph.node("Clip", [self, low, high], self.example.clip(low, high))

    def argmax(self, axis):
        return self.graph.node("ArgMax", [self], self.example.argmax(axis), axis=axis, keepdims=0).cast(np.float32)

    def any(self, axis, keepdims):
        return self.cast(np.float32).reduced("ReduceMax", np.amax, axis, keepdims) > 0

    def reduced(self, operator, function, axis, keepdims=False):
        """The numbers along an axis brought to one, by an operator that is NumPy's function."""
        example = function(self.example, axis=axis, keepdims=keepdims)
        return self.graph.node(operator, [self], example, axes=[axis], keepdims=int(keepdims))

    def cast(self, dtype):
        """With numbers of another type."""
        return self.graph.node("Cast", [self], self.example.astype(dtype), to=self.graph.kind(dtype))


def example_of(value):
    """What a Value is for one example; other values as they are."""
    return value.example if isinstance(value, Value) else value


def where(condition, yes, no):
    """np.where for Values."""
    values = condition, yes, no
    example = np.where(*map(example_of, values))
    if example.dtype == bool:  # ONNX Runtime chooses among numbers only
        return (condition & yes) | (~condition & no)
    graph = next(value.graph for value in values if isinstance(value, Value))
    return graph.node("Where", values, example)


def concatenate(values, axis):
    """np.concatenate for Values."""
    example = np.concatenate([value.example for value in values], axis)
    return values[0].graph.node("Concat", values, example, axis=axis % example.ndim)


FUNCTIONS = {
    np.where: where,
    np.concatenate: concatenate,
    np.clip: Value.clip,
    np.amin: lambda value, axis: value.reduced("ReduceMin", np.amin, axis),
    np.amax: lambda value, axis: value.reduced("ReduceMax", np.amax, axis),
    np.broadcast_to: lambda value, shape: value,  # what it is used with next broadcasts it
    np.nan_to_num: lambda value, **options: value,  # weights that are not finite are not exported
    np.ones_like: lambda value: np.ones_like(value.example),
}
