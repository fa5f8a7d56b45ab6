"""Upgrades of messages in older forms to those of Caffe 1.0, as in BVLC Caffe's upgrade_proto.cpp.

These are V1 layers (2014), `input` fields of nets, transformation fields of data layers, and solver_type.
"""

from . import glog
from .errors import CaffeError, check
from .proto import caffe_pb2
from .updates import RULES

V1 = caffe_pb2.V1LayerParameter

# V1 layer types whose present name is not the old one in camel case.
V1_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    "NONE": "",
}
# Fields that moved from the Data layer's own message to its transform_param.
MOVED = ("scale", "mean_file", "crop_size", "mirror")


def v1_type(number):
    """The present name of a V1 layer type, given by its number."""
    name = V1.LayerType.Name(number)
    return V1_NAMES.get(name, "".join(word.capitalize() for word in name.split("_")))


def upgrade_v1_layer(old, new):
    """Fill LayerParameter `new` from V1LayerParameter `old`. Raises CaffeError for a V0 layer (2013)."""
    check(not old.HasField("layer"), f"layer {old.layer.name!r} is in the form of 2013 (V0), which is not supported")
    new.name = old.name
    if old.HasField("type"):
        new.type = v1_type(old.type)
    for field in ("bottom", "top", "blobs", "loss_weight", "include", "exclude"):
        getattr(new, field).extend(getattr(old, field))
    count = max(len(old.param), len(old.blobs_lr), len(old.weight_decay), len(old.blob_share_mode))
    for index in range(count):
        spec = new.param.add()
        if index < len(old.param) and old.param[index]:
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            spec.share_mode = old.blob_share_mode[index]
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)


def upgrade_transformation(layer):
    """Move those fields of a Data layer to transform_param that have been there since 2014."""
    for field in MOVED if layer.type == "Data" else ():
        if layer.data_param.HasField(field):
            setattr(layer.transform_param, field, getattr(layer.data_param, field))
            layer.data_param.ClearField(field)


def upgrade_inputs(net):
    """Replace the `input` fields of a net by a first layer of type Input. Raises CaffeError."""
    if net.input:
        if len(net.input_shape) == len(net.input):
            shapes = [list(shape.dim) for shape in net.input_shape]
        else:
            check(
                not net.input_shape and len(net.input_dim) in (0, 4 * len(net.input)),
                f"{len(net.input)} inputs need as many input_shape, or four times as many input_dim",
            )
            shapes = [list(net.input_dim[at : at + 4]) for at in range(0, len(net.input_dim), 4)]
        layers = list(net.layer)
        del net.layer[:]
        first = net.layer.add(name="input", type="Input", top=net.input)
        for shape in shapes:
            first.input_param.shape.add(dim=shape)
        net.layer.extend(layers)
    for field in ("input", "input_dim", "input_shape"):
        net.ClearField(field)


def upgrade_net(net, name="net"):
    """Upgrade a NetParameter in place and return it; name: the net, for errors. Raises CaffeError."""
    if net.layers:
        if net.layer:
            raise CaffeError(f"{name}: has both `layer` and `layers`; the latter is the old form, use one of them")
        glog.info(f"{name}: reading layers in the form of 2014 (V1)")
        for old in net.layers:
            upgrade_v1_layer(old, net.layer.add())
        net.ClearField("layers")
    for layer in net.layer:
        upgrade_transformation(layer)
        # Of older nets, which give the three statistics rates (UpgradeNetBatchNorm); names share them.
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    if net.input or net.input_dim or net.input_shape:
        upgrade_inputs(net)
    return net


def upgrade_solver(solver):
    """Replace the enum solver_type by `type` in place and return the message. Raises CaffeError if both are given."""
    if solver.HasField("solver_type"):
        check(not solver.HasField("type"), "solver: both solver_type and type are given; use type")
        solver.type = tuple(RULES)[solver.solver_type]
        solver.ClearField("solver_type")
    return solver
