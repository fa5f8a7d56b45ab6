"""Table 1 of the paper: every convolution and pooling of the network, stated once.

The generator writes the prototxts from these rows, and the region mapper derives its receptive fields
from them.
"""

import collections

from data_prep import geometry

# Except in SHARED, channels are per attribute. Kernel, stride and padding are in cells of the layer's input.
Row = collections.namedtuple("Row", "name channels kernel stride padding output")

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
MAP_SIZE = CONV3.output
RESPONSE_SIZE = TASK_ONE[-1].output
