"""From the network's blobs to answers, in ONNX operators: what tools.predict.predictor computes of them."""

import numpy as np

from data_prep.geometry import FACE_SIZE, MARGIN


def answers(graph, score, calibration, attributes):
    """Add the nodes. Returns dict output -> value: `probability` float and `present` bool, both (N, A).

    graph: tools.export.graph.Exporter; score: blob of the network that decides; calibration: its ScoreCalibration;
    attributes: how many
    """
    node, constant = graph.node, graph.constant
    threshold, slope, offset = (
        constant(np.broadcast_to(values, (1, attributes)))
        for values in (calibration.threshold, calibration.slope, calibration.offset)
    )
    value = graph.names[score]
    line = node("Add", [node("Mul", [value, slope]), offset])
    return {"probability": node("Sigmoid", [line]), "present": node("Greater", [value, threshold])}


def region(graph, size):
    """Add the nodes. Returns the value of the regions (N, A, 4): x1 y1 x2 y2 in pixels of the picture.

    size: value of W, H, W, H, see tools.export.patch_graph
    """
    node = graph.node
    shares = node(
        "Mul", [node("Add", [graph.names["rois_image"], graph.constant(MARGIN)]), graph.constant(1 / FACE_SIZE)]
    )
    return node("Mul", [shares, size])
