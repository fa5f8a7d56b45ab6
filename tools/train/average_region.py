"""Measure the average region of each attribute and write it into the weights joint training starts from.

    .caffe/bin/python -m tools.train.average_region --model models/region/train_val.prototxt \\
        --weights build/region_iter_30000.caffemodel --out build/average.caffemodel --rectangles measured

Task one, trained alone, sees positive faces of each attribute from its training LMDB (the one its prototxt
names). The mean of their responses becomes the average response (section 3.2 of the paper). The rectangle
of each response point is its receptive field (theoretical, the paper) or the rectangle that stands out of the
mean gradient-times-activation map on conv3 over the faces for which the point fires (measured). Both become
the blobs of layer region_mapper in a copy of the weights.
"""

import argparse
import pathlib
import sys

import caffe
import numpy as np
from tqdm import tqdm

from models import table1
from python_layers.region_mapper import theoretical_rectangles
from tools import networks
from tools.errors import ToolError

KINDS = ("theoretical", "measured")


def dense_rectangle(mass, density):
    """Rectangle that stands out of a map (H, W) >= 0: (x1, y1, x2, y2), half-open.

    The one with the largest sum of mass less `density` times the map's mean: a cell counts for it when it
    holds more than that, and against it when it holds less.
    """
    excess = mass - density * mass.mean()
    height, width = mass.shape
    table = np.zeros((height + 1, width + 1))
    table[1:, 1:] = excess.cumsum(axis=0).cumsum(axis=1)
    y1, y2 = np.triu_indices(height + 1, 1)
    x1, x2 = np.triu_indices(width + 1, 1)
    sums = table[y2][:, x2] - table[y1][:, x2] - table[y2][:, x1] + table[y1][:, x1]
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    return x1[column], y1[row], x2[column], y2[row]


def one_hot(chosen, shape):
    """(b, A, 4, 4) of 1 at the chosen point (b, A) of each map, nowhere where it is -1."""
    points = shape[2] * shape[3]
    return (np.arange(points) == chosen[..., np.newaxis]).astype(np.float32).reshape(shape)


def choose_fired(fired, rng):
    """One of the fired points (b, A, 16) of each map at random, (b, A); -1 where none fired."""
    chosen = np.where(fired, rng.random(fired.shape), -1).argmax(axis=-1)
    return np.where(fired.any(axis=-1), chosen, -1)


def measure(net, faces, passes, threshold, seed=0):
    """Mean responses, and mean gradient-times-activation maps of the points that fire, over positive faces.

    net: region train_val net in the TRAIN phase; faces: positives per attribute; passes: points looked at
    per face (0: no maps)
    Returns average (A, 4, 4), maps (A, 16, 13, 13), counts (A, 16) of the faces each map is the mean of.
    """
    rng = np.random.default_rng(seed)
    batch, attributes = net.blobs["d"].data.shape[:2]
    size = table1.MAP_SIZE
    total, seen = np.zeros((attributes, 4, 4)), 0
    maps = np.zeros((attributes, 16, size, size))
    counts = np.zeros((attributes, 16))
    with tqdm(total=faces, unit="face", desc="average region", disable=None) as bar:
        while seen < faces:
            net.forward(end="d")
            positive = net.blobs["label"].data == 1
            response = 1 / (1 + np.exp(-net.blobs["d"].data))
            total += (response * positive[..., np.newaxis, np.newaxis]).sum(axis=0)
            seen += batch // 2
            fired = (response > threshold).reshape(batch, attributes, -1) & positive[..., np.newaxis]
            activation = net.blobs["conv3"].data.reshape(batch, attributes, -1, size, size)
            for _ in range(passes):
                chosen = choose_fired(fired, rng)
                net.blobs["d"].diff[...] = one_hot(chosen, response.shape)
                net.backward(start="d", end="conv4")
                gradient = net.blobs["conv3"].diff.reshape(activation.shape)
                found = np.maximum(np.einsum("bachw,bachw->bahw", gradient, activation), 0)
                # Each face counts alike, however steep its score is.
                found /= np.maximum(found.sum(axis=(2, 3), keepdims=True), 1e-12)
                for image, attribute in zip(*np.nonzero(chosen >= 0)):
                    point = chosen[image, attribute]
                    maps[attribute, point] += found[image, attribute]
                    counts[attribute, point] += 1
            bar.update(batch // 2)
    return total / seen, maps / np.maximum(counts, 1)[..., np.newaxis, np.newaxis], counts


def measured_rectangles(maps, counts, density, least):
    """Rectangles (A, 4, 4, 4) of points in conv3 cells; the formula's where fewer than `least` faces fired."""
    rectangles = np.tile(theoretical_rectangles(), (len(maps), 1, 1, 1)).reshape(len(maps), -1, 4)
    for attribute, point in zip(*np.nonzero(counts >= least)):
        rectangles[attribute, point] = dense_rectangle(maps[attribute, point], density)
    return rectangles.reshape(len(maps), table1.RESPONSE_SIZE, table1.RESPONSE_SIZE, 4)


def write(weights, out, average, rectangles):
    """Write a copy of the weights with the blobs of layer region_mapper set. Raises ToolError, OSError."""
    message = networks.read_weights(weights)
    kept = [layer for layer in message.layer if layer.name not in ("region_mapper", "early_stopping", "balanced_data")]
    del message.layer[:]
    message.layer.extend(kept)
    layer = message.layer.add(name="region_mapper", type="Python")
    for array in (average, rectangles):
        blob = layer.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.data.extend(np.asarray(array, dtype=np.float32).ravel())
    partial = pathlib.Path(f"{out}.partial")
    partial.write_bytes(message.SerializeToString())
    partial.replace(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="train_val.prototxt of the region net")
    add("--weights", required=True, help="its .caffemodel")
    add("--out", required=True, help=".caffemodel to write")
    add("--rectangles", choices=KINDS, default="theoretical", help="of the points (default theoretical)")
    add("--faces", type=int, default=200, help="positive faces per attribute (default 200)")
    add("--points", type=int, default=4, help="measured: fired points looked at per face (default 4)")
    add("--density", type=float, default=2.0, help="measured: times a map's mean from which cells count (default 2)")
    add("--least", type=int, default=10, help="measured: faces a point must have fired for (default 10)")
    add("--threshold", type=float, default=0.5, help="response above which a point fires (default 0.5)")
    arguments = parser.parse_args()
    try:
        if arguments.density < 0:
            raise ToolError(f"--density must not be negative, not {arguments.density}")
        net = networks.load(arguments.model, arguments.weights, caffe.TRAIN)
        if "d" not in net.blobs or "label" not in net.blobs:
            raise ToolError(f"{arguments.model}: not a region net for training (no blobs d and label)")
        measures = arguments.rectangles == "measured"
        passes = arguments.points if measures else 0
        average, maps, counts = measure(net, arguments.faces, passes, arguments.threshold)
        rectangles = np.tile(theoretical_rectangles(), (len(average), 1, 1, 1))
        if measures:
            rectangles = measured_rectangles(maps, counts, arguments.density, arguments.least)
        write(arguments.weights, arguments.out, average, rectangles)
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.out}: {arguments.rectangles} rectangles, average response of {arguments.faces} faces each")


if __name__ == "__main__":
    main()
