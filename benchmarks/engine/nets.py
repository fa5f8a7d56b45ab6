"""The networks that are measured: their prototxts, solvers and arithmetic."""

from models import solvers, table1
from models.networks import network
from models.options import NetworkOptions
from tools.train import plan


def operations(net, attributes, batch):
    """Floating-point operations of forward and backward through the convolutions of "region" or "cascade".

    A multiply-add is two, and backward has twice as many as forward, except for conv1, whose input needs no gradient.
    """
    parts, conv1 = plan.parts(), plan.multiply_adds(table1.scaled(1).shared[:1], 3)
    return attributes * batch * (6 * sum(parts[part] for part in plan.PARTS[net]) - 2 * conv1)


def write_input_solver(folder, net, attributes, batch, width=1, max_iter=1000000):
    """Write a network for training whose data and label_flat the caller fills, and a solver; returns the solver's path.

    attributes: names
    """
    text = network(net, NetworkOptions(attributes, batch=batch, form="stream", width=width))
    _, marker, rest = text.partition('layer {\n  name: "label"')
    count, size = len(attributes) * batch, table1.INPUT_SIZE
    shapes = f"shape {{ dim: {count} dim: 3 dim: {size} dim: {size} }} shape {{ dim: {count} }}"
    inputs = f'layer {{ name: "data" type: "Input" top: "data" top: "label_flat" input_param {{ {shapes} }} }}\n'
    (folder / "net.prototxt").write_text(text[: text.index("layer {")] + inputs + marker + rest)
    path = folder / "solver.prototxt"
    path.write_text(
        f'train_net: "{folder}/net.prototxt" base_lr: 1e-4 lr_policy: "fixed" momentum: 0.9 weight_decay: 5e-4 '
        f"clip_gradients: {solvers.clipping(len(attributes))} max_iter: {max_iter} display: 1 "
        "snapshot_after_train: false\n"
    )
    return path
