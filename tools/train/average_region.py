"""Measure the average region of each attribute; joint training starts from the weights that hold it (section 3.2).

  face-cascade average --run build/run                        a stage of a run; `face-cascade train` does it too
  face-cascade average --model models/region/train_val.prototxt --weights build/region_iter_30000.caffemodel \\
      --out build/average.caffemodel                          the same on bare files

Task one, trained alone, sees positive faces of each attribute from its training data. The mean of their responses
becomes the average response. The rectangle of each response point is its receptive field (theoretical, the paper) or
the rectangle that stands out of the evidence for the attribute on the faces for which the point fires (measured, see
tools/train/rectangles.py). Both become the blobs of layer region_mapper in a copy of the weights.
"""

import dataclasses
import pathlib
import time

import caffe
import numpy as np
from tqdm import tqdm

from data_prep import files
from models.networks import STATE_LAYERS
from python_layers.regions import theoretical_rectangles
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError
from tools.train import plan, rectangles, stages

# Natural batches hold few positives of a rare attribute: after this many images per face asked for, those are enough.
PATIENCE = 50


@dataclasses.dataclass
class Measured:
    """What task one does on positive faces.

    average: mean response (A, 4, 4); faces: positives it is the mean of (A,); maps: evidence (A, 17, 27, 27) and
    firings: faces each map is the mean of (A, 17), as tools.train.rectangles has them, or None where not asked for
    """

    average: np.ndarray
    faces: np.ndarray
    maps: np.ndarray = None
    firings: np.ndarray = None


class Positives:
    """Positive faces of several batches as one batch, so that no time is spent on what negative faces do not need.

    put: pool1 of positive faces; fill: take the next batch of them
    """

    def __init__(self, batch, attributes):
        self.batch, self.waiting = batch, [[] for _ in range(attributes)]

    def put(self, activation, positive):
        """Add the positive faces of an activation (b, A, ...)."""
        for face, attribute in zip(*np.nonzero(positive)):
            self.waiting[attribute].append(activation[face, attribute].copy())

    def full(self):
        """Whether an attribute has a batch of faces."""
        return max(map(len, self.waiting)) >= self.batch

    def fill(self, activation):
        """Write the next faces to activation (b, A, ...): which places hold one, (b, A) bool."""
        filled = np.zeros(activation.shape[:2], bool)
        for attribute, waiting in enumerate(self.waiting):
            for face, array in enumerate(waiting[: self.batch]):
                activation[face, attribute] = array
            filled[: len(waiting), attribute] = True
            del waiting[: self.batch]
        return filled


def measure(net, faces, threshold, with_maps=True):
    """Measure a region train_val net in the TRAIN phase: a Measured.

    faces: positives per attribute; threshold: response above which a point fires; with_maps: whether the evidence is
    wanted. Ends early, with a warning, where batches hold too few positives of an attribute.
    """
    batch, attributes = net.blobs["d"].data.shape[:2]
    channels, size = net.blobs[rectangles.BLOB].data.shape[1:3]
    evidence = rectangles.Evidence(attributes, channels, size) if with_maps else None
    total, seen, images, done = np.zeros((attributes, 4, 4)), np.zeros(attributes, int), 0, 0
    waiting = Positives(batch, attributes)
    with tqdm(total=faces, unit="face", desc="average region", disable=None) as bar:
        while seen.min() < faces and images < PATIENCE * faces:
            net.forward(end=rectangles.BLOB)
            positive = net.blobs["label"].data == 1
            # Batches are laid out image by image: record i * A + a is image i of attribute a.
            activation = net.blobs[rectangles.BLOB].data.reshape(batch, attributes, channels, size, size)
            if with_maps:
                evidence.add_faces(activation, positive)
            waiting.put(activation, positive)
            images += batch
            if not waiting.full() and images < PATIENCE * faces:
                continue
            filled = waiting.fill(activation)
            net.forward(start=rectangles.NEXT_LAYER, end="d")
            response = 1 / (1 + np.exp(-net.blobs["d"].data))
            total += (response * filled[..., np.newaxis, np.newaxis]).sum(axis=0)
            seen += filled.sum(axis=0)
            if with_maps:
                fired = (response > threshold).reshape(batch, attributes, -1) & filled[..., np.newaxis]
                evidence.add_gradients(gradient(net, fired).reshape(activation.shape), fired)
            before, done = done, min(int(seen.min()), faces)
            bar.update(done - before)
            if bar.disable and 4 * done // faces > 4 * before // faces:  # no terminal: a line for each quarter
                print(f"average: {done} of {faces} faces for each attribute", flush=True)
    found = Measured(total / np.maximum(seen, 1)[:, np.newaxis, np.newaxis], seen)
    if with_maps:
        found.maps, found.firings = evidence.maps(), evidence.firings
    return found


def gradient(net, fired):
    """The gradient at pool1, (b * A, C, H, W), of each face's mean score over the points that fire, (b, A, 16)."""
    # Each face counts alike, however many of its points fire.
    share = fired / np.maximum(fired.sum(axis=-1, keepdims=True), 1)
    net.blobs["d"].diff[...] = share.reshape(net.blobs["d"].data.shape)
    net.backward(start="d", end=rectangles.NEXT_LAYER)
    return net.blobs[rectangles.BLOB].diff


def write(weights, out, average, rectangles):
    """Write a copy of the weights with the blobs of layer region_mapper set. Raises ToolError, OSError."""
    message = networks.read_weights(weights)
    kept = [layer for layer in message.layer if layer.name not in STATE_LAYERS]
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
    net = networks.load(model, weights, caffe.TRAIN, weight_gradients=False)
    if "d" not in net.blobs or "label" not in net.blobs:
        raise ToolError(f"{model}: not a region net for training (it has no blobs d and label)")
    with_maps = settings.rectangles == "measured"
    found = measure(net, settings.faces, threshold, with_maps)
    if not found.faces.all():
        raise ToolError(f"{model}: the training data held no positive face of attribute number {found.faces.argmin()}")
    if found.faces.min() < settings.faces:
        print(f"average region: at least one attribute had only {found.faces.min()} positive faces", flush=True)
    of_points = np.tile(theoretical_rectangles(), (len(found.average), 1, 1, 1))
    if with_maps:
        of_points = rectangles.measured(found.maps, found.firings, settings.min_firings)
    write(weights, out, found.average, of_points)


def average_stage(run, restart=False):
    """The stage `average` of a run, unless it is done. Raises ToolError, OSError."""
    ((_, action),) = plan.actions(run, ["average"], restart)
    if action == "done":
        print(f"average: done already, nothing to do ({run.weights('average')})")
        return
    run.check_data()
    weights = run.weights("region")
    stage = run.stages["average"] = record.Stage(plan.normal(run.inputs("average")))
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
    add("--run", metavar="FOLDER", help="The folder of the run whose task one is trained (default: build/run).")
    add("--model", metavar="FILE", help="Without a run: the train_val.prototxt of the region net.")
    add("--weights", metavar="FILE", help="Without a run: the .caffemodel of task one.")
    add("--out", metavar="FILE", help="Without a run: the .caffemodel to write.")
    add(
        "--rectangles",
        choices=record.RECTANGLES,
        help="The rectangle of each response point: measured on training faces, or theoretical, its receptive field as "
        f"in the paper (default: {default.rectangles}).",
    )
    add(
        "--faces",
        type=int,
        metavar="N",
        help=f"Positive faces per attribute to average over (default: {default.faces}).",
    )
    add(
        "--min-firings",
        type=int,
        metavar="N",
        help="The number of faces for which a response point must fire to get a rectangle of its own; a point with "
        f"fewer gets the rectangle of its attribute (default: {default.min_firings}).",
    )
    add(
        "--threshold",
        type=float,
        help="Without a run: the response, 0 to 1, above which a point fires (default: the net's own).",
    )
    add("--restart", action="store_true", help="Measure again, even if nothing has changed (default: reuse).")
    add("--device", help="The device: cpu, cuda or cuda:N (default: the run's).")


def run(arguments):
    """`face-cascade average`. Raises ToolError, OSError."""
    given = {name: getattr(arguments, name) for name in record.Average.__dataclass_fields__}
    given = {name: value for name, value in given.items() if value is not None}
    for name, least in (("faces", 1), ("min_firings", 1)):
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
