"""The preparation of a net, as in BVLC's Net::Init: include rules, Split layers, and which gradients are needed."""

import collections

from .errors import check
from .proto import caffe_pb2


def rule_holds(rule, state):
    """Whether a NetState meets a NetStateRule: phase, level and stages (Net::StateMeetsRule)."""
    stages = set(state.stage)
    return (
        not (rule.HasField("phase") and rule.phase != state.phase)
        and not (rule.HasField("min_level") and state.level < rule.min_level)
        and not (rule.HasField("max_level") and state.level > rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )


def filter_layers(net):
    """A copy of the net with only the layers that its state includes (Net::FilterNet).

    Raises CaffeError for a layer with both include and exclude rules.
    """
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(net)
    del filtered.layer[:]
    for layer in net.layer:
        check(not (layer.include and layer.exclude), f"layer {layer.name!r}: give include or exclude rules, not both")
        included = any(rule_holds(rule, net.state) for rule in layer.include) or not layer.include
        if included and not any(rule_holds(rule, net.state) for rule in layer.exclude):
            filtered.layer.append(layer)
    return filtered


def consumers(net):
    """Which layers read which tops. A top is a pair (index of its layer, index among the layer's tops).

    Returns two dicts: top -> number of bottoms that read it, and (index of a layer, index of its bottom) -> top.
    Raises CaffeError for a bottom that is no top of an earlier layer.
    """
    reads, source_of, latest = collections.Counter(), {}, {}
    for index, layer in enumerate(net.layer):
        for position, name in enumerate(layer.bottom):
            check(
                name in latest,
                f"layer {layer.name!r}: no layer before it has the top {name!r} that it reads as bottom {position}",
            )
            source_of[index, position] = latest[name]
            reads[latest[name]] += 1
        for position, name in enumerate(layer.top):
            latest[name] = (index, position)
    return reads, source_of


def insert_splits(net):
    """A copy of the net with a Split layer after every top that is read more than once (InsertSplits of BVLC Caffe).

    A loss weight of such a top counts as one more reader and moves to the first top of the Split. The names are those
    of BVLC Caffe: BLOB_LAYER_INDEX_split for the layer, and _0, _1, ... at the end for its tops. Raises CaffeError.
    """
    reads, source_of = consumers(net)
    weights = {
        (index, position): weight
        for index, layer in enumerate(net.layer)
        for position, weight in enumerate(layer.loss_weight[: len(layer.top)])
        if weight and reads[index, position]
    }
    reads.update(weights.keys())
    split = caffe_pb2.NetParameter()
    split.CopyFrom(net)
    del split.layer[:]
    used_tops = collections.Counter(weights.keys())

    def split_name(source):
        producer, position = source
        layer = net.layer[producer]
        return f"{layer.top[position]}_{layer.name}_{position}_split"

    for index, layer in enumerate(net.layer):
        copy = split.layer.add()
        copy.CopyFrom(layer)
        for position in range(len(layer.bottom)):
            source = source_of[index, position]
            if reads[source] > 1:
                copy.bottom[position] = f"{split_name(source)}_{used_tops[source]}"
                used_tops[source] += 1
        for position, top in enumerate(layer.top):
            source = (index, position)
            if reads[source] <= 1:
                continue
            name = split_name(source)
            tops = [f"{name}_{number}" for number in range(reads[source])]
            added = split.layer.add(name=name, type="Split", bottom=[top], top=tops)
            if source in weights:
                added.loss_weight.extend([weights[source]] + [0] * (len(tops) - 1))
                copy.ClearField("loss_weight")
    return split


def prune_backward(layers):
    """Turn off the gradients that are not needed, as the backward loop in Net::Init of BVLC Caffe.

    These are the gradients of layers that do not contribute to a loss, and of layers that receive none, because all
    layers above them have propagate_down: false.

    layers: list, in order, of objects with tops and bottoms (lists of blob names), losses (weight per top),
    needs_backward and propagate_down (bool per bottom); the last two are changed in place.
    """
    under_loss, skipped = set(), set()
    for layer in reversed(layers):
        contributes, skips = False, True
        for name, weight in zip(layer.tops, layer.losses):
            contributes = contributes or bool(weight) or name in under_loss
            skips = skips and name in skipped
            if contributes and not skips:
                break
        if layer.needs_backward and skips:
            layer.needs_backward = False
            layer.propagate_down = [False] * len(layer.bottoms)
        if not contributes:
            layer.needs_backward = False
        for position, name in enumerate(layer.bottoms):
            if contributes:
                under_loss.add(name)
            else:
                layer.propagate_down[position] = False
            if not layer.propagate_down[position]:
                skipped.add(name)
