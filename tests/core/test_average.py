"""The average region is the mean over the positive faces that batches really hold, balanced or not."""

import shutil

import caffe
import numpy as np
import pytest

from models import networks as texts
from models.options import NetworkOptions
from python_layers.regions import theoretical_rectangles
from tools import ablation, cli, networks
from tools import run as runs
from tools.train import average, plan, rectangles


def test_natural_batches_are_counted_by_their_labels(small_run, small_lmdb, tmp_path):
    ablation.natural_data(small_lmdb, tmp_path / "natural")
    run = runs.Run.read(small_run)
    options = NetworkOptions(run.attributes, tmp_path / "natural", batch=2, width=1 / 16)
    model = tmp_path / "train_val.prototxt"
    model.write_text(texts.network("region", options))
    weights = run.weights("region")
    mean, evidence = average.measure(networks.load(model, weights, caffe.TRAIN), 12, 0.5, with_gradients=False)
    counts = evidence.faces[1]

    net, responses, batches = networks.load(model, weights, caffe.TRAIN), ([], []), 0
    while min(map(len, responses)) < counts.max():
        net.forward()
        label, d = net.blobs["label"].data, net.blobs["d"].data
        for image in range(2):
            for attribute in range(2):
                if label[image, attribute] == 1:
                    responses[attribute].append(1 / (1 + np.exp(-d[image, attribute].astype(np.float64))))
        batches += 1
    assert counts.min() >= 12
    assert [len(of_one) for of_one in responses] != [batches, batches]  # as if half of each batch of 2 were positive
    expected = [np.mean(of_one[:faces], axis=0) for of_one, faces in zip(responses, counts)]
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_evidence_is_of_all_positive_faces(small_run):
    run = runs.Run.read(small_run)
    net = networks.load(run.train_val("region"), run.weights("region"), caffe.TRAIN)
    _, evidence = average.measure(net, 3, threshold=0)  # every point fires
    np.testing.assert_array_equal(evidence.firings, np.repeat(evidence.faces[1][:, np.newaxis], 17, axis=1))
    maps = evidence.maps()
    assert maps.shape == (2, 17, 27, 27)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1, rtol=1e-6)


def test_gradients_of_activations_are_the_same_without_those_of_weights(small_run):
    run = runs.Run.read(small_run)
    model, weights = run.train_val("region"), run.weights("region")
    found = []
    for weight_gradients in (True, False):
        net = networks.load(model, weights, caffe.TRAIN, weight_gradients)
        net.forward(end="d")
        net.blobs["d"].diff[...] = 1
        net.backward(start="d", end="conv2")
        found.append((net.blobs["pool1"].diff.copy(), float(np.abs(net.params["conv4"][0].diff).max())))
    (slow, learned), (fast, skipped) = found
    assert np.abs(slow).max() > 0
    np.testing.assert_allclose(fast, slow, atol=1e-4 * np.abs(slow).max())
    assert learned > 0 and skipped == 0


def test_controls_replace_the_measured_rectangles_only():
    """Whole map, another attribute's rectangles, and random ones of the same size."""
    maps, firings = np.zeros((3, 17, 27, 27)), np.full((3, 17), 50)
    for attribute in range(3):
        maps[attribute, :, 4 + 6 * attribute : 9 + 6 * attribute, 8:19] = 1 / 55
    measured, whole, other, theoretical = (
        rectangles.of_points(kind, maps, firings, 10, 1) for kind in ("measured", "whole", "other", "theoretical")
    )
    assert (whole == [0, 0, 13, 13]).all() and (other == measured[[1, 2, 0]]).all()
    assert (theoretical == theoretical_rectangles()).all() and (measured != theoretical).any()
    drawn = [rectangles.of_points("random", maps, firings, 10, seed) for seed in (1, 1, 2)]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    sizes = drawn[0][..., 2:] - drawn[0][..., :2]
    np.testing.assert_allclose(sizes, measured[..., 2:] - measured[..., :2], atol=1e-6)
    assert drawn[0].min() >= 0 and drawn[0].max() <= 13
    with pytest.raises(ValueError, match="need at least two attributes"):
        rectangles.of_points("other", maps[:1], firings[:1], 10, 1)


def test_an_interrupted_repetition_leaves_the_average_region_and_the_cascade(small_run, tmp_path, monkeypatch):
    """Once the cascade was then said to have been made with other weights."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    run = shutil.copytree(small_run, tmp_path / "run")
    monkeypatch.setattr(average, "measure", interrupt)
    assert cli.main(["average", "--run", str(run), "--restart"]) == 130
    monkeypatch.undo()
    stages = ["region", "average", "cascade"]
    assert plan.actions(runs.Run.read(run), stages) == dict.fromkeys(stages, plan.DONE)
    assert cli.main(["average", "--run", str(run), "--restart"]) == 0
    assert plan.actions(runs.Run.read(run), stages) == dict.fromkeys(stages, plan.DONE)


def test_a_failure_of_the_average_region_ends_the_training(small_run, tmp_path, capfd):
    run = runs.Run.read(shutil.copytree(small_run, tmp_path / "run"))
    for name in ("average", "cascade"):
        del run.stages[name]
        shutil.rmtree(run.place(name))
    run.write()
    run.place("average").write_text("a file where a folder has to be")
    with pytest.raises(SystemExit, match="^1$"):
        cli.main(["train", "--run", str(run.folder)])
    error = capfd.readouterr().err
    assert error.startswith("error: ") and str(run.place("average")) in error and error.count("\n") == 1
    assert list(runs.Run.read(run.folder).stages) == ["region"]
