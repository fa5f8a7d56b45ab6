"""RoIWarp in a real Caffe: expected values, those of SciPy, gradients by finite differences, degenerate regions."""

import caffe
import numpy as np
import pytest
from layer_nets import backward, build, forward, numeric_gradient
from scipy.ndimage import map_coordinates


def test_roi_warp_of_a_ramp_has_the_expected_values(tmp_path):
    # Value = 10 row + column on 4 x 4; the region [1, 3) x [0, 2) sampled 2 x 2 is cells 1, 2 of rows 0, 1.
    net = build(tmp_path, "RoIWarp", [(1, 1, 4, 4), (1, 1, 4)], parameters={"warp": 2, "pool": 1})
    ramp = 10 * np.arange(4)[:, None] + np.arange(4)
    assert forward(net, ramp, [[[1, 0, 3, 2]]])[0, 0].tolist() == [[1, 2], [11, 12]]
    # [0.5, 2.5): samples at columns 0.5 and 1.5.
    assert forward(net, ramp, [[[0.5, 0, 2.5, 2]]])[0, 0].tolist() == [[0.5, 1.5], [10.5, 11.5]]


def test_roi_warp_of_the_whole_map_is_the_identity_then_max_pool(tmp_path):
    features = np.random.default_rng(0).normal(size=(2, 3, 10, 10)).astype(np.float32)
    net = build(tmp_path, "RoIWarp", [(2, 3, 10, 10)])
    expected = features.reshape(2, 3, 5, 2, 5, 2).max(axis=(3, 5))
    np.testing.assert_allclose(forward(net, features), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_roi_warp_equals_map_coordinates_of_scipy(tmp_path, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 6, 13, 13)).astype(np.float32)
    low = rng.uniform(-2, 8, (2, 3, 2))
    rois = np.concatenate([low, low + rng.uniform(0.1, 9, (2, 3, 2))], axis=-1).astype(np.float32)
    net = build(tmp_path, "RoIWarp", [features.shape, rois.shape], parameters={"warp": 10, "pool": 1})
    found = forward(net, features, rois)
    for image, channel in np.ndindex(2, 6):
        x1, y1, x2, y2 = rois[image, channel // 2].astype(np.float64)
        steps = (np.arange(10) + 0.5) / 10
        x = np.clip(x1 + steps * (x2 - x1) - 0.5, 0, 12)
        y = np.clip(y1 + steps * (y2 - y1) - 0.5, 0, 12)
        grid = np.meshgrid(y, x, indexing="ij")
        expected = map_coordinates(features[image, channel].astype(np.float64), grid, order=1, mode="nearest")
        np.testing.assert_allclose(found[image, channel], expected, atol=1e-5)


@pytest.mark.parametrize("pool", (1, 2))
def test_roi_warp_gradients_equal_finite_differences(tmp_path, pool):
    rng = np.random.default_rng(3)
    # A permutation: no ties in the max-pool. Off-lattice ends, one pair outside the map: clamped samples.
    features = rng.permutation(2 * 4 * 25).reshape(2, 4, 5, 5).astype(np.float32) / 20
    rois = np.array([[[0.31, 0.77, 4.13, 4.59], [-0.83, 1.17, 3.71, 6.37]]] * 2, dtype=np.float32)
    rois[1] += 0.0713
    net = build(tmp_path, "RoIWarp", [features.shape, rois.shape], parameters={"warp": 4, "pool": pool})
    top_diff = rng.normal(size=forward(net, features, rois).shape)
    backward(net, top_diff)
    exact = [net.blobs["in0"].diff.copy(), net.blobs["in1"].diff.copy()]
    inputs = [features, rois]
    for index, step in ((0, 1e-2), (1, 2e-3)):
        numeric = numeric_gradient(net, inputs, index, top_diff, step)
        assert abs(numeric).max() > 0.1
        np.testing.assert_allclose(exact[index], numeric, atol=5e-3 * abs(numeric).max())


def test_roi_warp_gives_the_gradient_of_a_tie_to_one_cell(tmp_path):
    net = build(tmp_path, "RoIWarp", [(1, 1, 2, 2)], parameters={"warp": 2, "pool": 2})
    forward(net, np.ones((1, 1, 2, 2)))
    backward(net, 3)
    assert net.blobs["in0"].diff.ravel().tolist() == [3, 0, 0, 0]


@pytest.mark.parametrize(
    "roi",
    [
        (3, 3, 3, 3),
        (9, 9, 2, 2),
        (-50, -50, -40, -40),
        (40, 40, 90, 90),
        (0, 0, 1e30, 1e30),
        (np.nan, 0, 5, 5),
        (0, 0, np.inf, 5),
    ],
)
def test_roi_warp_is_finite_for_any_region(tmp_path, roi):
    features = np.random.default_rng(1).normal(size=(1, 2, 13, 13))
    net = build(tmp_path, "RoIWarp", [(1, 2, 13, 13), (1, 1, 4)])
    assert np.isfinite(forward(net, features, [[roi]])).all()
    backward(net, 1)
    assert np.isfinite(net.blobs["in0"].diff).all() and np.isfinite(net.blobs["in1"].diff).all()


def test_roi_warp_does_not_write_a_diff_that_is_not_requested(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("""
        layer { name: "map" type: "Input" top: "map" input_param { shape { dim: 1 dim: 2 dim: 13 dim: 13 } } }
        layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 1 dim: 4 } } }
        layer { name: "features" type: "Convolution" bottom: "map" top: "features"
                convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "gaussian" } } }
        layer { name: "layer" type: "Python" bottom: "features" bottom: "rois" top: "out"
                python_param { module: "python_layers.roi_warp" layer: "RoIWarp" } }
        layer { name: "loss" type: "Reduction" bottom: "out" top: "loss" loss_weight: 1 }
    """)
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["map"].data[...] = np.random.default_rng(1).normal(size=(1, 2, 13, 13))
    net.blobs["rois"].data[...] = [1.2, 1.3, 7.4, 8.5]
    net.forward()
    net.blobs["rois"].diff[...] = 7
    net.backward()
    assert (net.blobs["rois"].diff == 7).all() and abs(net.blobs["features"].diff).max() > 0
