"""Measure task one on positive training faces; write the average region into a copy of its weights (section 3.2)."""

import contextlib
import dataclasses
import os
import time

import caffe
import numpy as np
from tqdm import tqdm

from data_prep import files
from tools import model_files, networks, record
from tools.errors import ToolError
from tools.train import inputs, plan, rectangles, stages

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


def write(weights, out, average, of_points):
    """Write a copy of the weights with the average response and the rectangles of response points in it.

    The copy keeps the place in the sequence of mini-batches, so that joint training goes on there. Raises ToolError,
    OSError.
    """
    message = model_files.without_state(weights, keep_position=True)
    layer = message.layer.add(name="region_mapper", type="Python")
    for array in (average, of_points):
        blob = layer.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.data.extend(np.asarray(array, dtype=np.float32).ravel())
    files.write_bytes(out, message.SerializeToString())


def average(model, weights, out, settings, threshold, seed):
    """Measure the average region with a train_val prototxt and weights of task one, and write it. Raises ToolError.

    settings: record.Average; threshold: response above which a point fires; seed: of random rectangles
    """
    net = networks.load(model, weights, caffe.TRAIN, weight_gradients=False)
    if "d" not in net.blobs or "label" not in net.blobs:
        raise ToolError(f"{model}: not a region net for training (it has no blobs d and label)")
    with_maps = settings.rectangles not in ("theoretical", "whole")
    found = measure(net, settings.faces, threshold, with_maps)
    if not found.faces.all():
        raise ToolError(f"{model}: the training data held no positive face of attribute number {found.faces.argmin()}")
    if found.faces.min() < settings.faces:
        print(f"average region: at least one attribute had only {found.faces.min()} positive faces", flush=True)
    firings = found.firings if with_maps else found.faces
    try:
        of_points = rectangles.of_points(settings.rectangles, found.maps, firings, settings.min_firings, seed)
    except ValueError as error:
        raise ToolError(f"--rectangles {settings.rectangles}: {error}")
    write(weights, out, found.average, of_points)


def average_stage(run, restart=False):
    """The stage `average` of a run, unless it is done. Raises ToolError, OSError."""
    if plan.actions(run, ["average"], restart)["average"] == plan.DONE:
        print(f"average: already done, nothing to do ({run.weights('average')})")
        return
    run.check_data()
    weights, settings, out = run.weights("region"), run.settings.average, run.folder / average_weights(run)
    model = run.train_val("region")
    stage = record.Stage(inputs.inputs(run, "average"))
    stage.made_with = {"engine": "bvlc" if networks.is_bvlc() else "torch", "commit": stages.commit()}
    if run.recorded:
        stages.write_networks(run, ["region"])
    out.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    with current_folder(run.folder):  # where the paths in its prototxts start
        paths = (os.path.relpath(path, run.folder) for path in (model, weights, out))
        average(*paths, settings, run.network().threshold, run.settings.seed)
    stage.state, stage.seconds, stage.images = "done", time.monotonic() - begun, run.stages["region"].images
    stage.weights, stage.checksum = average_weights(run), files.sha256(out)
    run.stages["average"] = stage
    run.write()
    print(f"average: done, {settings.rectangles} rectangles, {settings.faces} faces each: {out}")


@contextlib.contextmanager
def current_folder(folder):
    """Context: the current folder is another one."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def average_weights(run):
    """The path of the weights with the average region, from the run's folder: that from which the cascade starts."""
    return run.places("cascade")["weights"]
