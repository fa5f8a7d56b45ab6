"""The average region: means over the positive faces that batches really hold, evidence, and rectangles of points."""

import itertools
import shutil

import caffe
import numpy as np
import pytest

from data_prep.build.builder import build
from data_prep.sources.opening import open_source
from data_prep.store import manifest
from models import networks as texts
from models import table1
from models.options import NetworkOptions
from python_layers import regions
from tools import cli, networks
from tools import run as runs
from tools.train import average, plan, rectangles


def test_natural_batches_are_counted_by_their_labels(small_run, small_faces, tmp_path):
    run = runs.Run.read(small_run)
    build(open_source(small_faces, manifest.Settings(sampling="natural")), tmp_path / "natural", run.attributes)
    options = NetworkOptions(run.attributes, tmp_path / "natural", batch=2, width=1 / 16)
    model = tmp_path / "train_val.prototxt"
    model.write_text(texts.network("region", options))
    nets = [networks.load(model, run.weights("region"), caffe.TRAIN) for _ in range(2)]
    mean, evidence = average.measure(nets[0], 12, 0.5, with_gradients=False)
    responses, labels = [], []
    while not labels or np.sum(labels, axis=(0, 1)).min() < 12:
        nets[1].forward()
        responses.append(1 / (1 + np.exp(-nets[1].blobs["d"].data.astype(np.float64))))
        labels.append(nets[1].blobs["label"].data.copy())
    responses, positive = np.concatenate(responses), np.concatenate(labels) == 1
    assert evidence.faces[1].tolist() == positive.sum(axis=0).tolist()
    assert evidence.faces[1].tolist() != [len(labels)] * 2  # as if half of each batch of 2 were positive
    for attribute in range(2):
        expected = responses[positive[:, attribute], attribute].mean(axis=0)
        np.testing.assert_allclose(mean[attribute], expected, rtol=1e-5)


def test_evidence_is_of_all_positive_faces(small_run):
    run = runs.Run.read(small_run)
    net = networks.load(run.train_val("region"), run.weights("region"), caffe.TRAIN)
    _, evidence = average.measure(net, 3, threshold=0)  # every point fires
    np.testing.assert_array_equal(evidence.firings, np.repeat(evidence.faces[1][:, np.newaxis], 17, axis=1))
    maps = evidence.maps()
    assert maps.shape == (2, 17, 27, 27)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1, rtol=1e-6)


def test_a_net_that_measures_sees_the_centres_of_training_faces(small_run):
    """Its gradients of activations are those of training; it computes none of weights."""
    run, found, choices = runs.Run.read(small_run), [], (False, True)
    weights, faces = run.weights("region"), {patch.tobytes() for patch in networks.patches(run.lmdb, "train")}
    nets = [networks.load(run.train_val("region"), weights, caffe.TRAIN, measuring) for measuring in choices]
    for net, measuring in zip(nets, choices):
        net.forward()
        images = net.blobs["data"].data.transpose(0, 2, 3, 1).astype(np.uint8)
        assert {image.tobytes() in faces for image in images} == {measuring}
        net.blobs["data"].data[...] = nets[0].blobs["data"].data
        net.forward(start="normalise", end="d")
        net.blobs["d"].diff[...] = 1
        net.backward(start="d", end="conv2")
        assert net.params["conv4"][0].diff.any() != measuring
        found.append(net.blobs["pool1"].diff.copy())
    assert np.abs(found[0]).max() > 0
    np.testing.assert_allclose(found[1], found[0], atol=1e-4 * np.abs(found[0]).max())


def test_an_interrupted_repetition_leaves_the_average_region_and_the_cascade(small_run, tmp_path, monkeypatch):
    """Once the cascade was then said to have been made with other weights."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    run = shutil.copytree(small_run, tmp_path / "run")
    stages = ["region", "average", "cascade"]
    monkeypatch.setattr(average, "measure", interrupt)
    for status in (130, 0):
        assert cli.main(["average", "--run", str(run), "--restart"]) == status
        assert plan.actions(runs.Run.read(run), stages) == dict.fromkeys(stages, plan.DONE)
        monkeypatch.undo()


def test_a_failure_of_the_average_region_ends_the_training(small_run, tmp_path, fails):
    run = runs.Run.read(shutil.copytree(small_run, tmp_path / "run"))
    for name in ("average", "cascade"):
        del run.stages[name]
        shutil.rmtree(run.place(name))
    run.write()
    run.place("average").write_text("a file where a folder has to be")
    fails("train", "--run", run.folder, says=str(run.place("average")))
    assert list(runs.Run.read(run.folder).stages) == ["region"]


# Rectangles -------------------------------------------------------------------------------------------------


def likelihood(inside, cells):
    """Kulldorff's log likelihood ratio of a share of the mass on a share of the cells, as printed."""
    if inside <= cells:
        return 0.0
    rest = 0.0 if inside == 1 else (1 - inside) * np.log((1 - inside) / (1 - cells))
    return inside * np.log(inside / cells) + rest


def test_scan_is_the_best_of_all_rectangles():
    rng = np.random.default_rng(0)
    maps = np.stack([*(rng.uniform(size=(6, 5)) ** power for power in (1, 4, 10)), np.ones((6, 5))])
    *found, uniform = rectangles.scan_rectangles(maps)
    for mass, (x1, y1, x2, y2) in zip(maps, found):
        share = mass / mass.sum()
        rows, columns = itertools.combinations(range(7), 2), list(itertools.combinations(range(6), 2))
        best = max(
            likelihood(share[a:b, c:d].sum(), (b - a) * (d - c) / 30)
            for (a, b), (c, d) in itertools.product(rows, columns)
            if (b - a) * (d - c) < 30
        )
        assert likelihood(share[y1:y2, x1:x2].sum(), (y2 - y1) * (x2 - x1) / 30) == pytest.approx(best, abs=1e-7)
    assert uniform.tolist() == [0, 0, 5, 6]


def test_evidence_is_the_mean_gradient_times_the_difference_of_the_classes():
    """Compared with the definition, on all faces and their mirror images at once."""
    rng = np.random.default_rng(1)
    faces, attributes, channels, size = 12, 2, 3, 4
    activation = rng.normal(size=(faces, attributes, channels, size, size))
    gradient = rng.normal(size=activation.shape)
    positive = rng.random((faces, attributes)) < 0.6
    fired = (rng.random((faces, attributes, 16)) < 0.2) & positive[..., np.newaxis]
    fired[..., 5] = False
    evidence = rectangles.Evidence(attributes, channels, size)
    for part in (slice(0, 4), slice(4, 12)):
        evidence.add_faces(activation[part], positive[part])
        evidence.add_gradients(gradient[part], fired[part])
    maps = evidence.maps()
    assert maps.shape == (2, 17, 4, 4)
    np.testing.assert_array_equal(evidence.faces, [(~positive).sum(axis=0), positive.sum(axis=0)])
    mirrored = np.concatenate([activation, activation[..., ::-1]])
    for attribute, row in np.ndindex(2, 17):
        of_class, seen = np.tile(positive[:, attribute], 2), mirrored[:, attribute]
        difference = seen[of_class].mean(axis=0) - seen[~of_class].mean(axis=0)
        chosen = fired[:, attribute].any(axis=-1) if row == 16 else fired[:, attribute, row]
        assert evidence.firings[attribute, row] == chosen.sum()
        gained = (gradient[chosen, attribute].sum(axis=0) * difference).sum(axis=0)
        expected = np.maximum(gained + gained[:, ::-1], 0)
        np.testing.assert_allclose(maps[attribute, row], expected / max(expected.sum(), 1e-9), atol=1e-5)
    assert not maps[:, 5].any() and maps[:, 16].any()


def test_cells_of_27_lie_in_the_image_where_those_of_conv3_do():
    # pool1 cell c is centred at pixel 8 c + 9: it stands for [8 c + 5, 8 c + 13),
    # conv3 cell c for [16 c + 9, 16 c + 25).
    found = rectangles.to_conv3((4, 10, 20, 12))
    np.testing.assert_allclose(found, [1.75, 4.75, 9.75, 5.75])
    np.testing.assert_allclose(regions.cells_to_image(found), [37, 85, 165, 101])
    np.testing.assert_array_equal(rectangles.to_conv3((0, 0, 27, 27)), [0, 0, 13, 13])


def test_a_point_has_the_rectangle_of_its_own_evidence_or_of_its_attribute():
    size = table1.SHARED[1].output
    maps, firings = np.zeros((3, 17, size, size)), np.zeros((3, 17), int)
    maps[0, 16, 4:8, 10:20] = 1
    maps[0, 3, 4:8, 10:14] = 9  # fires for many faces
    maps[0, 7, 20:22, 2:4] = 9  # for too few
    firings[0, [3, 7, 16]] = 30, 4, 31
    maps[1, 16, 4:8, 10:20] = 1
    firings[1, 16] = 4  # the attribute itself has too few faces
    maps[2, 16, 4:8, 10:20] = 1
    firings[2, 16] = 9  # enough faces, but no point fires for enough of them
    found = rectangles.measured(maps, firings, 5)
    # Interpolated to half cells, a sharp edge is half a cell further out.
    usual = rectangles.to_conv3((9.5, 3.5, 20.5, 8.5))
    np.testing.assert_allclose(found[0, 0, 3], rectangles.to_conv3((9.5, 3.5, 14.5, 8.5)), atol=1e-6)
    for point in (0, 7, 15):
        np.testing.assert_allclose(found[0].reshape(16, 4)[point], usual, atol=1e-6)
    np.testing.assert_array_equal(found[1], regions.theoretical_rectangles())
    np.testing.assert_allclose(found[2], np.tile(usual, (4, 4, 1)), atol=1e-6)


def test_controls_replace_the_measured_rectangles_only():
    """Whole map, another attribute's rectangles, and random ones of the same size."""
    maps, firings = np.zeros((3, 17, 27, 27)), np.full((3, 17), 50)
    for attribute in range(3):
        maps[attribute, :, 4 + 6 * attribute : 9 + 6 * attribute, 8:19] = 1 / 55
    measured, whole, other, theoretical = (
        rectangles.of_points(kind, maps, firings, 10, 1) for kind in ("measured", "whole", "other", "theoretical")
    )
    assert (whole == [0, 0, 13, 13]).all() and (other == measured[[1, 2, 0]]).all()
    assert (theoretical == regions.theoretical_rectangles()).all() and (measured != theoretical).any()
    drawn = [rectangles.of_points("random", maps, firings, 10, seed) for seed in (1, 1, 2)]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    sizes = drawn[0][..., 2:] - drawn[0][..., :2]
    np.testing.assert_allclose(sizes, measured[..., 2:] - measured[..., :2], atol=1e-6)
    assert drawn[0].min() >= 0 and drawn[0].max() <= 13
    with pytest.raises(ValueError, match="need at least two attributes"):
        rectangles.of_points("other", maps[:1], firings[:1], 10, 1)
