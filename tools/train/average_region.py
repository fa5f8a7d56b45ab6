"""Measure the average region of each attribute; joint training starts from the weights that hold it (section 3.2).

  face-cascade average --run build/run                        a stage of a run; `face-cascade train` does it too
  face-cascade average --model models/region/train_val.prototxt --weights build/region_iter_30000.caffemodel \\
      --out build/average.caffemodel                          the same on bare files

Task one, trained alone, sees positive faces of each attribute from its training data. The mean of their responses
becomes the average response. The rectangle of each response point is its receptive field (theoretical, the paper) or
the rectangle that stands out of the mean gradient-times-activation map on conv3 over the faces for which the point
fires (measured). Both become the blobs of layer region_mapper in a copy of the weights.
"""

import dataclasses
import pathlib
import time

import caffe
import numpy as np
from tqdm import tqdm

from data_prep import files
from models import table1
from python_layers.regions import theoretical_rectangles
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError, standalone
from tools.train import stages

# Natural batches hold few positives of a rare attribute: after this many images per face asked for, those are enough.
PATIENCE = 50


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


@dataclasses.dataclass
class Measured:
    """What task one does on positive faces.

    average: mean response (A, 4, 4); faces: positives it is the mean of (A,); maps: mean gradient times activation of
    the points that fire (A, 16, 13, 13), each face's map summing to 1; firings: faces each map is the mean of (A, 16)
    """

    average: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    firings: np.ndarray


def measure(net, faces, passes, threshold, seed=0):
    """Measure a region train_val net in the TRAIN phase: a Measured.

    faces: positives per attribute; passes: points looked at per face (0: no maps); threshold: response above which a
    point fires. Ends early, with a warning, where batches hold too few positives of an attribute.
    """
    rng = np.random.default_rng(seed)
    batch, attributes = net.blobs["d"].data.shape[:2]
    size = table1.MAP_SIZE
    total, seen, images = np.zeros((attributes, 4, 4)), np.zeros(attributes, int), 0
    maps = np.zeros((attributes, 16, size, size))
    firings = np.zeros((attributes, 16))
    with tqdm(total=faces, unit="face", desc="average region", disable=None) as bar:
        while seen.min() < faces and images < PATIENCE * faces:
            net.forward(end="d")
            positive = net.blobs["label"].data == 1
            response = 1 / (1 + np.exp(-net.blobs["d"].data))
            total += (response * positive[..., np.newaxis, np.newaxis]).sum(axis=0)
            seen += positive.sum(axis=0)
            images += batch
            fired = (response > threshold).reshape(batch, attributes, -1) & positive[..., np.newaxis]
            activation = net.blobs["conv3"].data.reshape(batch, attributes, -1, size, size)
            for _ in range(passes):
                chosen = choose_fired(fired, rng)
                net.blobs["d"].diff[...] = one_hot(chosen, response.shape)
                net.backward(start="d", end="conv4")
                gradient = net.blobs["conv3"].diff.reshape(activation.shape)
                evidence = np.maximum(np.einsum("bachw,bachw->bahw", gradient, activation), 0)
                # Each face counts alike, however steep its score is.
                evidence /= np.maximum(evidence.sum(axis=(2, 3), keepdims=True), 1e-12)
                for image, attribute in zip(*np.nonzero(chosen >= 0)):
                    point = chosen[image, attribute]
                    maps[attribute, point] += evidence[image, attribute]
                    firings[attribute, point] += 1
            bar.update(min(seen.min(), faces) - bar.n)
    average = total / np.maximum(seen, 1)[:, np.newaxis, np.newaxis]
    return Measured(average, seen, maps / np.maximum(firings, 1)[..., np.newaxis, np.newaxis], firings)


def measured_rectangles(maps, firings, density, min_firings):
    """Rectangles (A, 4, 4, 4) of points in conv3 cells; the receptive field of points with too few firings."""
    rectangles = np.tile(theoretical_rectangles(), (len(maps), 1, 1, 1)).reshape(len(maps), -1, 4)
    for attribute, point in zip(*np.nonzero(firings >= min_firings)):
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
    files.write_bytes(out, message.SerializeToString())


def average(model, weights, out, settings, threshold):
    """Measure the average region with a train_val prototxt and weights of task one, and write it. Raises ToolError.

    settings: tools.run.Average; threshold: response above which a point fires
    """
    net = networks.load(model, weights, caffe.TRAIN)
    if "d" not in net.blobs or "label" not in net.blobs:
        raise ToolError(f"{model}: not a region net for training (it has no blobs d and label)")
    measures = settings.rectangles == "measured"
    found = measure(net, settings.faces, settings.points if measures else 0, threshold)
    if not found.faces.all():
        raise ToolError(f"{model}: the training data held no positive face of attribute number {found.faces.argmin()}")
    if found.faces.min() < settings.faces:
        print(f"average region: at least one attribute had only {found.faces.min()} positive faces", flush=True)
    rectangles = np.tile(theoretical_rectangles(), (len(found.average), 1, 1, 1))
    if measures:
        rectangles = measured_rectangles(found.maps, found.firings, settings.density, settings.min_firings)
    write(weights, out, found.average, rectangles)


def average_stage(run, restart=False):
    """The stage `average` of a run, unless it is done. Raises ToolError, OSError."""
    ((_, action),) = stages.plan(run, ["average"], restart)
    if action == "done":
        print(f"average: done already, nothing to do ({run.weights('average')})")
        return
    run.check_data()
    weights = run.weights("region")
    stage = run.stages["average"] = record.Stage(stages.normal(run.inputs("average")))
    stage.made_with = {"engine": "bvlc" if hasattr(caffe, "_caffe") else "torch", "commit": stages.commit()}
    run.write()
    stages.write_networks(run, ["region"])
    out = run.folder / stages.AVERAGE_WEIGHTS
    out.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    try:
        average(run.place("region") / "train_val.prototxt", weights, out, run.settings.average, run.network().threshold)
    except KeyboardInterrupt:
        stage.state = "interrupted"
        run.write()
        raise
    stage.state, stage.seconds = "done", time.monotonic() - begun
    stage.weights, stage.checksum, stage.images = stages.AVERAGE_WEIGHTS, files.sha256(out), run.images("region")
    run.write()
    print(
        f"average: done, {run.settings.average.rectangles} rectangles, {run.settings.average.faces} faces each: {out}"
    )


def add_arguments(parser):
    """The options of `face-cascade average`."""
    add, default = parser.add_argument, record.Average()
    add("--run", metavar="FOLDER", help="Folder of the run whose task one is trained. Default: build/run.")
    add("--model", metavar="FILE", help="Without a run: train_val.prototxt of the region net.")
    add("--weights", metavar="FILE", help="Without a run: the .caffemodel of task one.")
    add("--out", metavar="FILE", help="Without a run: the .caffemodel to write.")
    add(
        "--rectangles",
        choices=record.RECTANGLES,
        help=f"Rectangle of each response point: measured on faces, or theoretical. Default: {default.rectangles}.",
    )
    add("--faces", type=int, help=f"Positive faces per attribute to average over. Default: {default.faces}.")
    add("--points", type=int, help=f"Fired points looked at per face, for measured ones. Default: {default.points}.")
    add(
        "--density",
        type=float,
        help="Multiple of a map's mean above which a cell counts for a measured rectangle; larger values give smaller "
        f"rectangles. Default: {default.density:g}.",
    )
    add(
        "--min-firings",
        type=int,
        help=f"Faces for which a point must fire to get a measured rectangle. Default: {default.min_firings}.",
    )
    add("--threshold", type=float, help="Without a run: response above which a point fires. Default: the net's own.")
    add("--restart", action="store_true", help="Measure anew, whatever was measured before in this run.")
    add("--device", help="cpu, cuda or cuda:N. Default: the run's.")


def run(arguments):
    """`face-cascade average`. Raises ToolError, OSError."""
    given = {name: getattr(arguments, name) for name in record.Average.__dataclass_fields__}
    given = {name: value for name, value in given.items() if value is not None}
    for name, least in (("faces", 1), ("points", 1), ("density", 0), ("min_firings", 1)):
        if name in given and not given[name] >= least:
            raise ToolError(f"--{name.replace('_', '-')} must be at least {least}, not {given[name]}")
    bare = [arguments.model, arguments.weights, arguments.out]
    if any(bare):
        if not all(bare) or arguments.run:
            raise ToolError("give either --run, or all of --model, --weights and --out")
        networks.use_device(arguments.device or "cpu")
        threshold = arguments.threshold
        if threshold is None:
            threshold = networks.region_mapper_parameters(pathlib.Path(arguments.model).with_name("deploy.prototxt"))[
                "threshold"
            ]
        average(arguments.model, arguments.weights, arguments.out, record.Average(**given), threshold)
        print(f"{arguments.out}: the average region of {arguments.weights}")
        return 0
    if arguments.threshold is not None:
        raise ToolError("--threshold belongs to bare files; a run has its own (face-cascade train --threshold)")
    folder = arguments.run or "build/run"
    with runs.locked(folder):
        made = runs.Run.read(folder)
        made.settings.average = dataclasses.replace(made.settings.average, **given)
        networks.use_device((arguments.device or made.settings.device).split(",")[0])
        average_stage(made, arguments.restart)
    return 0


if __name__ == "__main__":
    standalone(__doc__, add_arguments, run)
