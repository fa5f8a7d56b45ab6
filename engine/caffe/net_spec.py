"""NetSpec: nets written in Python, with layers as functions of their inputs, as in pycaffe's net_spec.py.

from caffe import layers as L, params as P
n = caffe.NetSpec()
n.data, n.label = L.Data(source="train", backend=P.Data.LMDB, batch_size=64, ntop=2)
n.conv1 = L.Convolution(n.data, num_output=96, kernel_size=11, stride=4)
n.relu1 = L.ReLU(n.conv1, in_place=True)
print(n.to_proto())
"""

from collections import Counter, OrderedDict

from .proto import caffe_pb2


def param_name_dict():
    """A dict of layer type -> name of the field with its own parameters, without _param: Convolution -> convolution."""
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    names = [name for name in fields if name.endswith("_param")]
    return {fields[name].message_type.name[: -len("Parameter")]: name[: -len("_param")] for name in names}


def to_proto(*tops):
    """A NetParameter with all layers that are needed to compute these Tops."""
    return named_proto(tops, {})


def named_proto(tops, names):
    """The same with the names of some of the Tops given: dict of Top -> name."""
    layers, autonames = OrderedDict(), Counter()
    for top in tops:
        top._to_proto(layers, names, autonames)
    return caffe_pb2.NetParameter(layer=layers.values())


def assign_proto(proto, name, val):
    """Set a field of a message: from a list if it is repeated, from a dict if it is a message.

    Raises AttributeError for an unknown field.
    """
    field = getattr(proto, name)
    repeated = proto.DESCRIPTOR.fields_by_name[name].is_repeated
    if repeated and not isinstance(val, (list, tuple)):
        val = [val]
    if isinstance(val, (list, tuple)):
        if val and isinstance(val[0], dict):
            for item in val:
                added = field.add()
                for key, inner in item.items():
                    assign_proto(added, key, inner)
        else:
            field.extend(val)
    elif isinstance(val, dict):
        for key, inner in val.items():
            assign_proto(field, key, inner)
    else:
        setattr(proto, name, val)


class Top:
    """One output of a layer; fn: the Function; n: index among its outputs."""

    def __init__(self, fn, n):
        self.fn, self.n = fn, n

    def to_proto(self):
        """A NetParameter with all layers that are needed to compute this Top."""
        return to_proto(self)

    def _to_proto(self, layers, names, autonames):
        return self.fn._to_proto(layers, names, autonames)


class Function:
    """A layer: its type, the Tops that it reads, and its parameters as a dict.

    Two parameters are not fields: ntop, the number of tops (default 1), and in_place, whether the tops are the bottoms.
    Raises TypeError for an input that is no Top.
    """

    def __init__(self, type_name, inputs, params):
        self.type_name, self.inputs = type_name, inputs
        for number, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {number} is not a Top (type is {type(top)})")
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, number) for number in range(self.ntop))

    def _get_name(self, names, autonames):
        if self not in names and self.ntop > 0:
            names[self] = self._get_top_name(self.tops[0], names, autonames)
        elif self not in names:
            autonames[self.type_name] += 1
            names[self] = f"{self.type_name}{autonames[self.type_name]}"
        return names[self]

    def _get_top_name(self, top, names, autonames):
        if top not in names:
            autonames[top.fn.type_name] += 1
            names[top] = f"{top.fn.type_name}{autonames[top.fn.type_name]}"
        return names[top]

    def _to_proto(self, layers, names, autonames):
        if self in layers:
            return
        bottoms = []
        for top in self.inputs:
            top.fn._to_proto(layers, names, autonames)
            bottoms.append(layers[top.fn].top[top.n])
        layer = caffe_pb2.LayerParameter(type=self.type_name, bottom=bottoms)
        if self.in_place:
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(self._get_top_name(top, names, autonames) for top in self.tops)
        layer.name = self._get_name(names, autonames)
        own = _param_names.get(self.type_name)
        for key, value in self.params.items():
            if key.endswith("param") or own is None:
                assign_proto(layer, key, value)
                continue
            try:
                assign_proto(getattr(layer, f"{own}_param"), key, value)
            except (AttributeError, KeyError):
                assign_proto(layer, key, value)
        layers[self] = layer


class NetSpec:
    """A net whose attributes are its Tops; the attribute's name becomes the name of the top.

    Names that are no identifiers are set as items: n["conv4-t2"] = ...
    """

    def __init__(self):
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name, value):
        self.tops[name] = value

    def __getattr__(self, name):
        try:
            return self.tops[name]
        except KeyError:
            raise AttributeError(f"the net has no top {name!r}")

    def __setitem__(self, key, value):
        self.tops[key] = value

    def __getitem__(self, item):
        return self.tops[item]

    def to_proto(self):
        """A NetParameter with the layers of all Tops set so far, in the order in which they were set."""
        return named_proto(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """L.Type(inputs, parameters) makes a layer and returns its Top, a tuple of Tops, or with ntop=0 the Function."""

    def __getattr__(self, name):
        def layer_fn(*args, **kwargs):
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer_fn


class Parameters:
    """P.Message.NAME is a value of an enum in MessageParameter, such as P.Pooling.MAX."""

    def __getattr__(self, name):
        class Param:
            def __getattr__(self, param_name):
                return getattr(getattr(caffe_pb2, name + "Parameter"), param_name)

        return Param()


_param_names = param_name_dict()
layers = Layers()
params = Parameters()
