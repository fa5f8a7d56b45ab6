"""Pictures of nets: the graph of layers and blobs in Graphviz's language, drawn by its program `dot`.

The functions have the names and arguments of pycaffe's draw.py, which needs pydot; this module needs only Graphviz.
"""

import shutil
import subprocess

from .errors import CaffeError
from .proto import caffe_pb2

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
LAYER_COLOURS = {"Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF"}
NEURONS = ("ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "Dropout")


class Graph:
    """A directed graph with those methods of a pydot graph that users of pycaffe's draw.py call."""

    def __init__(self, name, rankdir):
        self.name, self.rankdir = name, rankdir
        self.nodes, self.edges = {}, []

    def to_string(self):
        """The graph in Graphviz's language."""
        lines = [f"digraph {quoted(self.name)} {{", f"rankdir={self.rankdir};"]
        lines += [f"{quoted(name)} [{attributes(style)}];" for name, style in self.nodes.items()]
        lines += [
            f"{quoted(source)} -> {quoted(target)} [{attributes({'label': label})}];"
            for source, target, label in self.edges
        ]
        return "\n".join([*lines, "}\n"])

    def create(self, prog="dot", format="ps"):
        """The picture as bytes in a format of Graphviz. Raises CaffeError if Graphviz is missing or fails."""
        if format in ("dot", "raw"):
            return self.to_string().encode()
        if shutil.which(prog) is None:
            raise CaffeError(f"drawing as {format} needs the program {prog}; install Graphviz, or write a .dot file")
        done = subprocess.run([prog, f"-T{format}"], input=self.to_string().encode(), capture_output=True)
        if done.returncode:
            raise CaffeError(f"{prog}: {done.stderr.decode().strip()}")
        return done.stdout


def quoted(text):
    """Text as a quoted string of Graphviz, in which \\n stays a line break."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\\\\n", "\\n") + '"'


def attributes(style):
    """A dict as the attribute list of a node or an edge."""
    return ", ".join(f"{key}={quoted(value)}" for key, value in style.items())


def get_pooling_types_dict():
    """A dict of PoolMethod numbers -> names."""
    return {value.number: value.name for value in caffe_pb2.PoolingParameter.PoolMethod.DESCRIPTOR.values}


def get_edge_label(layer):
    """The label of the edges from a layer to its tops: the batch size or num_output."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return '""'


def get_layer_lr_mult(layer):
    """The lr_mult of a layer's parameters, for convolutions and inner products."""
    if layer.type not in ("Convolution", "Deconvolution", "InnerProduct"):
        return []
    return [spec.lr_mult for spec in layer.param]


def get_layer_label(layer, rankdir, display_lrm=False):
    """The label of a layer: its name and type, and kernel size, stride and pad of convolutions and poolings.

    The parts are on one line if the graph is drawn top-down or bottom-up, otherwise on a line each.
    """
    gap = " " if rankdir in ("TB", "BT") else "\\n"
    parts, param = [layer.name, f"({layer.type})"], None
    if layer.type in ("Convolution", "Deconvolution"):
        param = layer.convolution_param
    elif layer.type == "Pooling":
        param = layer.pooling_param
        parts[1] = f"({get_pooling_types_dict()[param.pool]} {layer.type})"
    for field, default in (("kernel_size", 1), ("stride", 1), ("pad", 0)) if param else ():
        value = getattr(param, field)  # of convolutions a list
        value = (list(value) or [default])[0] if hasattr(value, "append") else value
        parts.append(f"{field.replace('_', ' ')}: {value}")
    if display_lrm and (rates := get_layer_lr_mult(layer)):
        parts.append("lr mult: " + ", ".join(f"{rate:g}" for rate in rates))
    return gap.join(parts)


def choose_color_by_layertype(layertype):
    """The fill colour of a layer, as #RRGGBB."""
    return LAYER_COLOURS.get(layertype, "#6495ED")


def in_phase(layer, phase):
    """Whether a layer's include and exclude rules allow a phase. None allows all layers."""
    if phase is None:
        return True
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def get_pydot_graph(caffe_net, rankdir, label_edges=True, phase=None, display_lrm=False):
    """The Graph of a NetParameter.

    rankdir: direction of the graph, LR, TB or BT; label_edges: whether edges show batch sizes and num_output
    phase: the phase whose layers are drawn, None for all; display_lrm: whether layers show their lr_mult
    """
    graph = Graph(caffe_net.name or "Net", rankdir)
    for layer in caffe_net.layer:
        if not in_phase(layer, phase):
            continue
        node = f"{layer.name}_{layer.type}"
        in_place = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]
        style = dict(NEURON_LAYER_STYLE if in_place or layer.type in NEURONS else LAYER_STYLE_DEFAULT)
        if not in_place:
            style["fillcolor"] = choose_color_by_layertype(layer.type)
        graph.nodes[node] = {"label": get_layer_label(layer, rankdir, display_lrm), **style}
        for bottom in layer.bottom:
            graph.nodes[f"{bottom}_blob"] = {"label": bottom, **BLOB_STYLE}
            graph.edges.append((f"{bottom}_blob", node, ""))
        for top in layer.top:
            graph.nodes[f"{top}_blob"] = {"label": top, **BLOB_STYLE}
            label = get_edge_label(layer) if label_edges else ""
            graph.edges.append((node, f"{top}_blob", label.strip('"')))
    return graph


def draw_net(caffe_net, rankdir, ext="png", phase=None, display_lrm=False):
    """The picture of a NetParameter as bytes; ext: a format of Graphviz, or "dot" for text. Raises CaffeError."""
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(format=ext)


def draw_net_to_file(caffe_net, filename, rankdir="LR", phase=None, display_lrm=False):
    """Draw a NetParameter to a file; the end of its name determines the format. Raises CaffeError, OSError."""
    picture = draw_net(caffe_net, rankdir, str(filename).rsplit(".", 1)[-1], phase, display_lrm)
    with open(filename, "wb") as file:
        file.write(picture)
