"""Measure the average region of each attribute; joint training starts from the weights that hold it (section 3.2).

  face-cascade average                  a stage of build/run; `face-cascade train` does it too
  face-cascade average --run .          of build/region_iter_*.caffemodel, trained with Caffe's own commands

Task one, trained alone, sees positive faces of each attribute from its training data. The mean of their responses
becomes the average response. The rectangle of each response point is its receptive field (theoretical, the paper) or
the rectangle that stands out of the evidence for the attribute on the faces for which the point fires (measured, see
tools/train/rectangles.py). Both become the blobs of layer region_mapper in a copy of the weights.

The run's record supplies what is left out; the defaults below are those of a new run.
"""

import contextlib
import dataclasses
import os
import time

import numpy as np
from tqdm import tqdm

from data_prep import files
from data_prep.settings import add_options, given
from models.networks import STATE_LAYERS
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

    with locked(runs.Run.read(arguments.run).output):
        found = runs.Run.read(arguments.run)  # again, because another process may have changed it before
        if found.handed_on():
            raise ToolError(f"{found.folder}: holds a model that was handed on; measure the average region in its run")
        found.settings.average = dataclasses.replace(found.settings.average, **given(arguments, record.Average))
        networks.use_device((arguments.device or found.settings.device).split(",")[0])
        average_stage(found, arguments.restart or not found.recorded)
    return 0


def average_stage(run, restart=False):
    """The stage `average` of a run, unless it is done. Raises ToolError, OSError."""
    import caffe

    from tools import networks

    if plan.actions(run, ["average"], restart)["average"] == plan.DONE:
        print(f"average: already done, nothing to do ({run.weights('average')})")
        return
    run.check_data()
    kept, place = run.settings.average, run.places("cascade")["weights"]  # from which the cascade starts
    files_of = run.train_val("region"), run.weights("region"), run.folder / place
    model, weights, out = (os.path.relpath(path, run.folder) for path in files_of)  # as its prototxts name them
    stage = record.Stage(plan.inputs(run, "average"))
    stage.made_with = {"engine": "bvlc" if networks.is_bvlc() else "torch", "commit": stages.commit()}
    if run.recorded:
        stages.write_networks(run, ["region"])
    (run.folder / place).parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.callback(os.chdir, os.getcwd())
        os.chdir(run.folder)
        net = networks.load(model, weights, caffe.TRAIN, measuring=True)
        if "d" not in net.blobs or "label" not in net.blobs:
            raise ToolError(f"{model}: not a region net for training (it has no blobs d and label)")
        response, evidence = measure(
            net, kept.faces, run.network().threshold, kept.rectangles not in ("theoretical", "whole")
        )
        positives = evidence.faces[1]
        if not positives.all():
            raise ToolError(
                f"{model}: the training data held no positive face of attribute number {positives.argmin()}"
            )
        if positives.min() < kept.faces:
            print(f"average region: at least one attribute had only {positives.min()} positive faces", flush=True)
        try:
            of_points = rectangles.of_points(
                kept.rectangles, evidence.maps(), evidence.firings, kept.min_firings, run.settings.seed
            )
        except ValueError as error:
            raise ToolError(f"--rectangles {kept.rectangles}: {error}")
        write(weights, out, response, of_points)
    stage.state, stage.seconds, stage.images = "done", time.monotonic() - begun, run.stages["region"].images
    stage.weights, stage.checksum = place, files.sha256(run.folder / place)
    stage.deploy = files.sha256(run.folder / run.places("region")["deploy"])
    run.stages["average"] = stage
    run.write()
    print(f"average: done, {kept.rectangles} rectangles, {kept.faces} faces each: {run.folder / place}")
    if run.outdated("cascade"):
        again = f"{run.command('cascade')} --restart"
        print(f"cascade: {run.state('cascade')}; measure again with the earlier settings, or run: {again}")


def measure(net, faces, threshold, with_gradients=True):
    """What task one does on positive faces: the mean response (A, 4, 4), and rectangles.Evidence.

    net: a region train_val net in the TRAIN phase; faces: positives per attribute; threshold: response above which a
    point fires; with_gradients: whether the evidence is wanted. Ends early where batches hold too few positives of an
    attribute.
    """
    batch, attributes = net.blobs["d"].data.shape[:2]
    channels, size = net.blobs[rectangles.BLOB].data.shape[1:3]
    # Batches are laid out image by image: record i * A + a is image i of attribute a.
    shape = batch, attributes, channels, size, size
    evidence = rectangles.Evidence(*shape[1:4])
    total, images, done = np.zeros((attributes, 4, 4)), 0, 0
    with tqdm(total=faces, unit="face", desc="average region", disable=None) as bar:
        while done < faces and images < PATIENCE * faces:
            net.forward(end="d")
            positive = net.blobs["label"].data == 1
            response = 1 / (1 + np.exp(-net.blobs["d"].data))
            total += (response * positive[..., np.newaxis, np.newaxis]).sum(axis=0)
            images += batch
            evidence.add_faces(net.blobs[rectangles.BLOB].data.reshape(shape), positive)
            if with_gradients:
                fired = (response > threshold).reshape(batch, attributes, -1) & positive[..., np.newaxis]
                # The gradient of each face's mean score over the points that fire: each face counts alike.
                share = fired / np.maximum(fired.sum(axis=-1, keepdims=True), 1)
                net.blobs["d"].diff[...] = share.reshape(net.blobs["d"].data.shape)
                net.backward(start="d", end=rectangles.NEXT_LAYER)
                evidence.add_gradients(net.blobs[rectangles.BLOB].diff.reshape(shape), fired)
            before, done = done, min(int(evidence.faces[1].min()), faces)
            bar.update(done - before)
            if bar.disable and 4 * done // faces > 4 * before // faces:  # no terminal: a line for each quarter
                print(f"average: {done} of {faces} faces for each attribute", flush=True)
    return total / np.maximum(evidence.faces[1], 1)[:, np.newaxis, np.newaxis], evidence


def write(weights, out, average, of_points):
    """Write a copy of the weights with the average response and the rectangles of response points in it.

    The copy keeps the place in the sequence of mini-batches, so that joint training goes on there. Raises ToolError,
    OSError.
    """
    message = model_files.bare(weights, STATE_LAYERS)
    layer = message.layer.add(name="region_mapper", type="Python")
    for array in (average, of_points):
        blob = layer.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.data.extend(np.asarray(array, dtype=np.float32).ravel())
    files.write_bytes(out, message.SerializeToString())
