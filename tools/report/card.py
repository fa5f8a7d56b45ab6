"""The model card of a report: use first, then facts."""

import shlex

from models import table1
from tools import model_files, networks
from tools.report import page
from tools.train import plan


def card(opened):
    """The model card of the chosen network. Raises ToolError."""
    path, train = opened.run.weights(opened.run.evaluated()[opened.chosen]), opened.manifest.splits.get("train")
    layers = {
        layer.name: layer for layer in model_files.read_weights(path).layer if layer.name not in networks.OPTIONAL
    }
    width = layers["conv1"].blobs[0].shape.dim[0] / table1.SHARED[0].channels
    of_parts, attributes = plan.parts(width), len(opened.attributes)
    # Multiply-adds of one face.
    operations = {part: of_parts[part] * (1 if part == "shared" else attributes) for part in plan.PARTS[opened.chosen]}
    return page.render(
        "card.html",
        opened=opened,
        quoted=shlex.quote(page.place(opened.run.folder)),
        parameters=sum(len(blob.data) for layer in layers.values() for blob in layer.blobs),
        bytes=path.stat().st_size,
        train=train.images if train else None,
        operations=operations,
        width=width,
        size=table1.INPUT_SIZE,
    )
