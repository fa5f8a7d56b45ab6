"""The networks that are measured: their prototxts, databases and arithmetic."""

import numpy as np

from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.store import databases
from models import generate, solvers, table1
from models.networks import network
from models.options import NetworkOptions

REGION = (*table1.SHARED, table1.CONV3, *table1.TASK_ONE)


def operations(net, attributes, batch):
    """Floating-point operations of forward and backward through the convolutions of "region" or "cascade".

    Twice as many backward as forward, except for conv1, whose input needs no gradient.
    """
    total, channels = 0, 3
    for row in REGION:
        if not row.name.startswith("pool"):
            total += products(row, channels) * (4 if channels == 3 else 6)
            channels = row.channels
    channels = table1.CONV3.channels
    for row in table1.TASK_TWO if net == "cascade" else ():
        total += products(row, channels) * 6
        channels = row.channels
    return total * attributes * batch


def products(row, channels):
    """Multiplications of one image's pass through a row of table 1."""
    return row.channels * channels * row.kernel**2 * row.output**2


def parameters(net, attributes):
    """The number of parameters of "region" or "cascade", without the few of the head."""
    total, channels = 0, 3
    for row in REGION:
        if not row.name.startswith("pool"):
            branches = 1 if row in table1.SHARED else attributes
            total += branches * row.channels * (channels * row.kernel**2 + 1)
            channels = row.channels
    channels = table1.CONV3.channels
    for row in table1.TASK_TWO if net == "cascade" else ():
        total += attributes * row.channels * (channels * row.kernel**2 + 1)
        channels = row.channels
    return total


def input_net(net, attributes, batch, width=1):
    """A network for training whose data and label_flat the caller fills: prototxt. attributes: names"""
    text = network(net, NetworkOptions(attributes, batch=batch, width=width))
    _, marker, rest = text.partition('layer {\n  name: "label"')
    count, size = len(attributes) * batch, table1.INPUT_SIZE
    shapes = f"shape {{ dim: {count} dim: 3 dim: {size} dim: {size} }} shape {{ dim: {count} }}"
    inputs = f'layer {{ name: "data" type: "Input" top: "data" top: "label_flat" input_param {{ {shapes} }} }}\n'
    return text[: text.index("layer {")] + inputs + marker + rest


def write_input_solver(folder, net, attributes, batch, width=1):
    """Write a network as of input_net and a solver for it into a folder; returns the solver's path.

    attributes: names
    """
    (folder / "net.prototxt").write_text(input_net(net, attributes, batch, width))
    path = folder / "solver.prototxt"
    path.write_text(
        f'train_net: "{folder}/net.prototxt" base_lr: 1e-4 lr_policy: "fixed" momentum: 0.9 weight_decay: 5e-4 '
        f"clip_gradients: {solvers.clipping(len(attributes))} max_iter: 1000000 snapshot_after_train: false\n"
    )
    return path


def write_training(folder, attributes, batch, max_iter, batches=1):
    """Write databases of smooth noise and what `caffe train` needs for every network into a folder.

    batches: batches of training images there are; attributes: how many
    """
    rng = np.random.default_rng(0)
    size = table1.INPUT_SIZE

    def image():
        return rng.integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)

    count, faces = attributes * batch * batches, NetworkOptions().test_batch
    train = (databases.image_datum(image(), "jpg", number // attributes % 2) for number in range(count))
    databases.write_lmdb(folder / "train", train, count, "train")
    images = (databases.image_datum(image(), "jpg") for _ in range(faces))
    databases.write_lmdb(folder / "val_images", images, faces, "images")
    labels = rng.integers(0, 2, (faces, attributes))
    databases.write_lmdb(folder / "val_labels", map(databases.label_datum, labels), faces, "labels")
    options = NetworkOptions(PAPER_ATTRIBUTES[:attributes], batch=batch, lmdb=str(folder))
    changes = {"max_iter": max_iter, "display": 1, "average_loss": 1, "test_interval": 1000, "snapshot": 0}
    generate.write(folder, options, changes)
