"""Table 1 of the paper: every convolution and pooling of the network, stated once, and the same times a width.

The generator writes the prototxts from these rows, and the region mapper derives its receptive fields
from them.
"""

import collections

from data_prep import geometry

# Except in `shared`, channels are per attribute. Kernel, stride and padding are in cells of the layer's input.
Row = collections.namedtuple("Row", "name channels kernel stride padding output")
# shared: rows of the layers that all attributes share; conv3: the row that both tasks share; task_one, task_two: rows
Table = collections.namedtuple("Table", "shared conv3 task_one task_two")

# 224: (224 - 11) / 4 + 1 rounds down to the 54 of the table; 227, AlexNet's input, would give 55.
INPUT_SIZE = geometry.PATCH_SIZE

SHARED = (
    Row("conv1", 96, 11, 4, 0, 54),
    Row("pool1", 96, 3, 2, 0, 27),  # Caffe's pooling rounds up
    Row("conv2", 256, 5, 1, 2, 27),
    Row("pool2", 256, 3, 2, 0, 13),
)
CONV3 = Row("conv3", 384, 3, 1, 1, 13)
TASK_ONE = (
    Row("conv4", 384, 3, 1, 1, 13),
    Row("conv5", 256, 3, 1, 1, 13),
    Row("conv6", 64, 3, 2, 0, 6),
    Row("conv7", 2, 3, 1, 0, 4),  # score absent, score present
)
TASK_TWO = (
    Row("conv4-t2", 128, 3, 1, 1, 5),
    Row("conv5-t2", 64, 3, 1, 1, 5),
    # The table prints padding 1, which with kernel 1 would give 7; its output column says 5.
    Row("conv6-t2", 1, 1, 1, 0, 5),
)
SCORES = ("conv7", "conv6-t2")  # rows whose channels are scores, so that no width changes their number
MAP_SIZE = CONV3.output
RESPONSE_SIZE = TASK_ONE[-1].output


def scaled(width):
    """The Table with all channels times a width, the paper's table for 1; those of SCORES stay as they are.

    Raises ValueError for a width that is not above 0 and at most 1, or gives a layer no whole number of channels.
    """
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width <= 1:
        raise ValueError(f"width: must be above 0 and at most 1, which is the paper's table 1, not {width!r}")

    def row(row):
        channels = row.channels if row.name in SCORES else row.channels * width
        if channels != int(channels):
            raise ValueError(
                f"width: with {width:g} layer {row.name} would have {channels:.4g} channels; widths are 1, 1/2, 1/4, "
                "1/8, 1/16 and others that give every layer a whole number of channels"
            )
        return row._replace(channels=int(channels))

    return Table(tuple(map(row, SHARED)), row(CONV3), tuple(map(row, TASK_ONE)), tuple(map(row, TASK_TWO)))
