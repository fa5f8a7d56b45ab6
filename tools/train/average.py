"""Measure the average region of each attribute; joint training starts from the weights that hold it (section 3.2).

  face-cascade average                  a stage of build/run; `face-cascade train` does it too
  face-cascade average --run .          of build/region_iter_*.caffemodel, trained with Caffe's own commands

Task one, trained alone, sees positive faces of each attribute from its training data. The mean of their responses
becomes the average response. The rectangle of each response point is its receptive field (theoretical, the paper) or
the rectangle that stands out of the evidence for the attribute on the faces for which the point fires (measured, see
tools/train/rectangles.py). Both become the blobs of layer region_mapper in a copy of the weights.
"""

import contextlib
import dataclasses
import os
import time

import numpy as np
from tqdm import tqdm

from data_prep import files
from data_prep.settings import add_options, given
from tools import model_files, record
from tools import run as runs
from tools.errors import ToolError
from tools.locking import locked
from tools.train import plan, rectangles, stages

# Natural batches hold few positives of a rare attribute: after this many images per face asked for, those are enough.
PATIENCE = 50


def add_arguments(parser):
    """The options of `face-cascade average`."""
    runs.add_argument(parser, "of the run whose task one is trained")
    add_options(parser, record.Average)
    add_options(parser, record.Settings, ["device"])
    parser.add_argument("--restart", action="store_true", help="Measure again, even if nothing has changed.")


def run(arguments):
    """`face-cascade average`. Raises ToolError, OSError."""
    from tools import networks

    found = runs.Run.read(arguments.run)
    with locked(found.output):
        found = runs.Run.read(arguments.run)  # again, because another process may have changed it before
        found.settings.average = dataclasses.replace(found.settings.average, **given(arguments, record.Average))
        networks.use_device((arguments.device or found.settings.device).split(",")[0])
        average_stage(found, arguments.restart or not found.recorded)
    return 0


def average_stage(run, restart=False):
    """The stage `average` of a run, unless it is done. Raises ToolError, OSError."""
    from tools import networks

    if plan.actions(run, ["average"], restart)["average"] == plan.DONE:
        print(f"average: already done, nothing to do ({run.weights('average')})")
        return
    run.check_data()
    kept, place = run.settings.average, run.places("cascade")["weights"]  # from which the cascade starts
    weights, out, model = run.weights("region"), run.folder / place, run.train_val("region")
    stage = record.Stage(plan.inputs(run, "average"))
    stage.made_with = {"engine": "bvlc" if networks.is_bvlc() else "torch", "commit": stages.commit()}
    if run.recorded:
        stages.write_networks(run, ["region"])
    out.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    with current_folder(run.folder):  # where the paths in its prototxts start
        paths = (os.path.relpath(path, run.folder) for path in (model, weights, out))
        average(*paths, kept, run.network().threshold, run.settings.seed)
    stage.state, stage.seconds, stage.images = "done", time.monotonic() - begun, run.stages["region"].images
    stage.weights, stage.checksum = place, files.sha256(out)
    run.stages["average"] = stage
    run.write()
    print(f"average: done, {kept.rectangles} rectangles, {kept.faces} faces each: {out}")


@contextlib.contextmanager
def current_folder(folder):
    """Context: the current folder is another one."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def average(model, weights, out, settings, threshold, seed):
    """Measure the average region with a train_val prototxt and weights of task one, and write it. Raises ToolError.

    settings: record.Average; threshold: response above which a point fires; seed: of random rectangles
    """
    import caffe

    from tools import networks

    net = networks.load(model, weights, caffe.TRAIN, weight_gradients=False)
    if "d" not in net.blobs or "label" not in net.blobs:
        raise ToolError(f"{model}: not a region net for training (it has no blobs d and label)")
    found = measure(net, settings.faces, threshold, settings.rectangles not in ("theoretical", "whole"))
    if not found.faces.all():
        raise ToolError(f"{model}: the training data held no positive face of attribute number {found.faces.argmin()}")
    if found.faces.min() < settings.faces:
        print(f"average region: at least one attribute had only {found.faces.min()} positive faces", flush=True)
    try:
        of_points = rectangles.of_points(settings.rectangles, found.maps, found.firings, settings.min_firings, seed)
    except ValueError as error:
        raise ToolError(f"--rectangles {settings.rectangles}: {error}")
    write(weights, out, found.average, of_points)


@dataclasses.dataclass
class Measured:
    """What task one does on positive faces.

    average: mean response (A, 4, 4); faces: positives it is the mean of (A,); maps: evidence (A, 17, 27, 27), None
    where not asked for, and firings: faces each map is the mean of (A, 17), as tools.train.rectangles has them
    """

    average: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    firings: np.ndarray


def measure(net, faces, threshold, with_maps=True):
    """Measure a region train_val net in the TRAIN phase: a Measured.

    faces: positives per attribute; threshold: response above which a point fires; with_maps: whether the evidence is
    wanted. Ends early where batches hold too few positives of an attribute.
    """
    batch, attributes = net.blobs["d"].data.shape[:2]
    channels, size = net.blobs[rectangles.BLOB].data.shape[1:3]
    evidence = rectangles.Evidence(attributes, channels, size) if with_maps else None
    total, seen, images, done = np.zeros((attributes, 4, 4)), np.zeros(attributes, int), 0, 0
    with tqdm(total=faces, unit="face", desc="average region", disable=None) as bar:
        while seen.min() < faces and images < PATIENCE * faces:
            net.forward(end="d")
            positive = net.blobs["label"].data == 1
            response = 1 / (1 + np.exp(-net.blobs["d"].data))
            total += (response * positive[..., np.newaxis, np.newaxis]).sum(axis=0)
            seen += positive.sum(axis=0)
            images += batch
            if with_maps:
                # Batches are laid out image by image: record i * A + a is image i of attribute a.
                shape = batch, attributes, channels, size, size
                evidence.add_faces(net.blobs[rectangles.BLOB].data.reshape(shape), positive)
                fired = (response > threshold).reshape(batch, attributes, -1) & positive[..., np.newaxis]
                evidence.add_gradients(gradient(net, fired).reshape(shape), fired)
            before, done = done, min(int(seen.min()), faces)
            bar.update(done - before)
            if bar.disable and 4 * done // faces > 4 * before // faces:  # no terminal: a line for each quarter
                print(f"average: {done} of {faces} faces for each attribute", flush=True)
    mean = total / np.maximum(seen, 1)[:, np.newaxis, np.newaxis]
    return Measured(mean, seen, evidence.maps(), evidence.firings) if with_maps else Measured(mean, seen, None, seen)


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
