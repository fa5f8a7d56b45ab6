"""From a picture of an aligned face to the network's patch, in ONNX operators: what data_prep.geometry does by OpenCV.

A picture is brought to 256 x 256 pixels by two matrix products, one for its columns and one for its rows, of which only
the 224 x 224 pixels of the centre patch are computed. The matrices depend on the picture's size, so the graph makes
them. OpenCV's rules (`face` in data_prep.geometry; resize.cpp of OpenCV 4) are repeated with their rounding, since the
networks learned from its numbers.
"""

import numpy as np
from onnx import TensorProto

from data_prep.geometry import FACE_SIZE, MARGIN, PATCH_SIZE

# OpenCV computes linear weights in steps of 1 / STEPS, and drops the remainders of two divisions on the way.
STEPS, FIRST_DIVISOR, SECOND_DIVISOR = 2048, 16, 65536


def patch(graph, image):
    """Add the nodes. Returns the names of the patches and of the pictures' size.

    graph: tools.export.graph.Exporter; image: name of uint8 (N, H, W, 3), R G B. Patches are float (N, 3, 224, 224),
    B G R, whole numbers 0 to 255; the size is float (4,): W, H, W, H
    """
    node, constant = graph.node, graph.constant
    pixels = node("Cast", [node("Transpose", [image], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
    pixels = node("Gather", [pixels, graph.ints(2, 1, 0)], axis=1)
    shape = node("Shape", [image])
    size = node("Cast", [node("Gather", [shape, graph.ints(2, 1, 2, 1)])], to=TensorProto.FLOAT)
    width, height = (node("Gather", [size, constant(place, np.int64)]) for place in (0, 1))
    # INTER_AREA is asked for where the height shrinks; OpenCV averages only where the width does not grow.
    tall = node("Greater", [height, constant(FACE_SIZE)])
    averaged = node("And", [tall, node("GreaterOrEqual", [width, constant(FACE_SIZE)])])
    columns, _ = _weights(graph, width, tall, averaged)
    rows, upper = _weights(graph, height, tall, averaged)

    across = node("MatMul", [pixels, node("Transpose", [columns], perm=[1, 0])])
    cut = node("Floor", [node("Mul", [across, constant(STEPS / FIRST_DIVISOR)])])
    across = node("Where", [averaged, across, cut])
    # Each of a row's two products is cut to quarters of a level.
    parts = [node("MatMul", [part, across]) for part in (upper, node("Sub", [rows, upper]))]
    to_quarters = constant(STEPS / SECOND_DIVISOR)
    quarters = [node("Floor", [node("Mul", [part, to_quarters])]) for part in parts]
    linear = node("Floor", [node("Mul", [node("Sum", [*quarters, constant(2)]), constant(0.25)])])
    # Halves are rounded to even, but of a picture twice as large to the next higher level: 0.1 decides for halves only.
    double = node("Equal", [node("Add", [width, height]), constant(4.0 * FACE_SIZE)])
    double = node("And", [double, node("Equal", [width, height])])
    upwards = node("Mul", [node("Cast", [double], to=TensorProto.FLOAT), constant(0.1)])
    average = node("Round", [node("Sum", [*parts, upwards])])
    return node("Where", [averaged, average, linear]), size


def _weights(graph, length, tall, averaged):
    """What each of the patch's rows takes of each of a picture's, (224, length), and of these only the upper one.

    length: scalar, the picture's rows (or columns); tall, averaged: scalars, bool, see `patch`
    """
    node, constant = graph.node, graph.constant
    ends = [constant(value) for value in (0.0, 1.0)]
    cells = node("Range", [ends[0], length, ends[1]])
    step = node("Mul", [length, constant(1 / FACE_SIZE)])
    last = node("Sub", [length, ends[1]])
    number = np.arange(MARGIN, MARGIN + PATCH_SIZE).reshape(-1, 1)
    low, high = (node("Mul", [constant(number + more), step]) for more in (0, 1))

    # A picture that grows: the two pixels round the middle of the new one.
    middle = node("Sub", [node("Mul", [constant(number + 0.5), step]), constant(0.5)])
    # INTER_AREA where only the height shrinks: the two pixels from the new one's beginning on.
    first = node("Floor", [low])
    beyond = node("Relu", [node("Div", [node("Sub", [high, node("Add", [first, ends[1]])]), step])])
    beyond = node("Sub", [beyond, node("Floor", [beyond])])
    start, beyond = node("Where", [tall, first, ends[0]]), node("Where", [tall, beyond, middle])
    beyond = node("Mul", [node("Round", [node("Mul", [beyond, constant(STEPS)])]), constant(1 / STEPS)])
    place = node("Min", [node("Max", [node("Add", [start, beyond]), ends[0]]), last])
    near = node("Relu", [node("Sub", [ends[1], node("Abs", [node("Sub", [place, cells])])])])
    # INTER_AREA: the share of each pixel in the new one.
    right, left = node("Min", [high, node("Add", [cells, ends[1]])]), node("Max", [low, cells])
    share = node("Div", [node("Relu", [node("Sub", [right, left])]), step])

    weights = node("Where", [averaged, share, near])
    is_upper = node("LessOrEqual", [cells, node("Where", [averaged, last, place])])
    return weights, node("Where", [is_upper, weights, ends[0]])
