"""The three Python layers in a real Caffe: values, gradients against finite differences, state, errors."""

import json

import caffe
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from models import table1
from python_layers import bilinear, early_stopping, region_mapper

LAYERS = {
    "RegionMapper": "region_mapper",
    "RoIWarp": "roi_warp",
    "EarlyStopping": "early_stopping",
}


def build(tmp_path, cls, shapes, tops=1, parameters=None, phase=caffe.TRAIN, text=None):
    """A net of one Python layer on Input layers of these shapes; every blob gets gradients."""
    param_str = json.dumps(parameters or {}) if text is None else text
    names = [f"in{index}" for index in range(len(shapes))]
    lines = ["force_backward: true"]
    for name, shape in zip(names, shapes):
        dims = " ".join(f"dim: {d}" for d in shape)
        lines.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    outs = " ".join(f'top: "out{index}"' for index in range(tops))
    lines.append(
        f'layer {{ name: "layer" type: "Python" {bottoms} {outs} python_param {{ '
        f"module: 'python_layers.{LAYERS[cls]}' layer: '{cls}' param_str: '{param_str}' }} }}"
    )
    path = tmp_path / "net.prototxt"
    path.write_text("\n".join(lines))
    return caffe.Net(str(path), phase)


def forward(net, *inputs):
    for index, array in enumerate(inputs):
        net.blobs[f"in{index}"].data[...] = array
    net.forward()
    return net.blobs["out0"].data.copy()


def numeric_gradient(net, inputs, index, top_diff, step=1e-2):
    """Central differences of sum(out0 * top_diff) to one input, in float64 sums."""
    gradient = np.zeros(inputs[index].shape)
    for place in np.ndindex(*inputs[index].shape):
        values = []
        for sign in (1, -1):
            moved = [array.copy() for array in inputs]
            moved[index][place] += sign * step
            values.append((forward(net, *moved).astype(np.float64) * top_diff).sum())
        gradient[place] = (values[0] - values[1]) / (2 * step)
    return gradient


def backward(net, top_diff):
    net.blobs["out0"].diff[...] = top_diff
    net.backward()


# RoIWarp -----------------------------------------------------------------------------------------------


def test_roi_warp_of_a_ramp_by_hand(tmp_path):
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


@pytest.mark.parametrize("seed", range(5))
def test_roi_warp_against_map_coordinates(tmp_path, seed):
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
def test_roi_warp_gradients(tmp_path, pool):
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


def test_roi_warp_leaves_a_diff_alone_that_nobody_asked_for(tmp_path):
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


# RegionMapper ------------------------------------------------------------------------------------------


def response_with(points, low=0.1, high=0.9):
    response = np.full((1, 1, 4, 4), low, dtype=np.float32)
    for row, column in points:
        response[0, 0, row, column] = high
    return response


@pytest.mark.parametrize(
    "points, region",
    [
        # Point i sees cells [2i - 2, 2i + 9), clipped to [0, 13).
        ([(0, 0)], (0, 0, 9, 9)),
        ([(3, 3)], (4, 4, 13, 13)),
        ([(1, 2)], (2, 0, 13, 11)),
        ([(0, 3), (0, 2)], (2, 0, 13, 9)),
        ([(0, 0), (3, 3)], (0, 0, 13, 13)),
    ],
)
def test_region_of_points_above_the_threshold(tmp_path, points, region):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)])
    assert tuple(forward(net, response_with(points))[0, 0]) == region


def test_revision_and_its_fallbacks(tmp_path):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)], parameters={"average_weight": 0.5})
    average = net.params["layer"][0].data
    average[...] = 0.1
    average[0, 0, 0] = 0.9
    # r' = (0.2 + 0.9) / 2 at (0, 0) is above 0.5, (0.8 + 0.1) / 2 at (3, 3) is not.
    response = response_with([(3, 3)], low=0.2, high=0.8)
    assert tuple(forward(net, response)[0, 0]) == (0, 0, 9, 9)
    # Nothing above: the average's points above the threshold.
    assert tuple(forward(net, np.zeros((1, 1, 4, 4)))[0, 0]) == (0, 0, 9, 9)
    # Nothing there either: the largest point.
    average[...] = 0.1
    assert tuple(forward(net, response_with([(3, 0)], low=0.0, high=0.2))[0, 0]) == (0, 4, 9, 13)


def test_an_average_not_yet_written_changes_no_region(tmp_path):
    rng = np.random.default_rng(2)
    response = rng.uniform(size=(3, 5, 4, 4)).astype(np.float32)
    regions = [
        forward(build(tmp_path, "RegionMapper", [response.shape], parameters={"average_weight": w}), response)
        for w in (0, 0.5)
    ]
    np.testing.assert_array_equal(*regions)


def test_region_is_found_per_image_and_attribute_like_by_a_plain_loop(tmp_path):
    rng = np.random.default_rng(4)
    response = rng.uniform(size=(3, 5, 4, 4)).astype(np.float32)
    net = build(tmp_path, "RegionMapper", [response.shape], parameters={"threshold": 0.8})
    rectangles = net.params["layer"][1].data
    rectangles[...] = np.sort(rng.uniform(0, 13, (5, 4, 4, 4)), axis=-1)
    found = forward(net, response)
    for image, attribute in np.ndindex(3, 5):
        above = response[image, attribute] > 0.8
        if not above.any():
            above = response[image, attribute] == response[image, attribute].max()
        boxes = rectangles[attribute][above]
        expected = [boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()]
        np.testing.assert_allclose(found[image, attribute], expected, rtol=1e-6)


def test_region_in_the_image(tmp_path):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)], tops=2)
    forward(net, response_with([(0, 3)]))
    # Pixels [32i - 64, 32i + 195), clipped.
    assert net.blobs["out1"].data.ravel().tolist() == [32, 0, 224, 195]
    net.params["layer"][1].data[0, 0, 3] = (4, 2, 9, 5)  # measured: cell c is pixels [16c + 9, 16c + 25)
    forward(net, response_with([(0, 3)]))
    assert net.blobs["out1"].data.ravel().tolist() == [73, 41, 153, 89]


def test_region_gradient_is_zero_or_the_soft_one(tmp_path):
    rng = np.random.default_rng(5)
    response = rng.uniform(0.2, 0.9, (2, 3, 4, 4)).astype(np.float32)
    top_diff = rng.normal(size=(2, 3, 4))
    net = build(tmp_path, "RegionMapper", [response.shape])
    forward(net, response)
    net.blobs["in0"].diff[...] = 7
    backward(net, top_diff)
    assert not net.blobs["in0"].diff.any()

    net = build(tmp_path, "RegionMapper", [response.shape], parameters={"gradient": "soft", "average_weight": 0.3})
    forward(net, response)
    backward(net, top_diff)
    average, rectangles = (blob.data.astype(np.float64) for blob in net.params["layer"])

    def soft(r):
        return (region_mapper.soft_extents(0.7 * r + 0.3 * average, rectangles) * top_diff).sum()

    numeric = np.zeros(response.shape)
    for place in np.ndindex(*response.shape):
        step = np.zeros(response.shape)
        step[place] = 1e-5
        numeric[place] = (soft(response + step) - soft(response - step)) / 2e-5
    np.testing.assert_allclose(net.blobs["in0"].diff, numeric, atol=1e-4)


# EarlyStopping -----------------------------------------------------------------------------------------

LABELS = np.array([[0, 0], [1, 1]], dtype=np.float32)


def scores_with_loss(loss):
    """Scores whose cross-entropy is `loss` on LABELS for attribute 0, and about 0.7 for attribute 1."""
    score = -np.log(np.expm1(loss))
    return np.array([[-score, 0.0], [score, 0.0]], dtype=np.float32)


def early(tmp_path, phase=caffe.TRAIN, **parameters):
    parameters = {"window": 4, "range": 0.05, **parameters}
    return build(tmp_path, "EarlyStopping", [(2, 2), (2, 2)], 3, parameters, phase)


def test_attribute_losses_by_hand():
    found = early_stopping.attribute_losses(np.array([[0.0, 2.0], [0.0, -1.0]]), LABELS, "log")
    expected = [np.log(2), (np.log1p(np.exp(2)) + np.log1p(np.exp(1))) / 2]
    np.testing.assert_allclose(found, expected)
    found = early_stopping.attribute_losses(np.array([[0.0, 2.0], [0.0, -1.0]]), LABELS, "linear")
    sigmoid = 1 / (1 + np.exp([-2.0, 1.0]))
    np.testing.assert_allclose(found, [0.5, (sigmoid[0] + 1 - sigmoid[1]) / 2])


def test_early_stopping_fixes_epsilon_and_gates_the_gradient(tmp_path):
    net = early(tmp_path)
    window, state = net.params["layer"][0], net.params["layer"][1]
    for step, loss in enumerate((0.30, 0.21, 0.19, 0.20)):
        out = forward(net, scores_with_loss(loss), LABELS)
        np.testing.assert_array_equal(out, scores_with_loss(loss))
        if step < 3:
            assert state.data[0, 0] == 0 and net.blobs["out1"].data[0] == 2
            assert net.blobs["out2"].data.tolist() == [1, 1]
    # Standard deviation of the window is 0.044 <= 0.05: epsilon is its mean; 0.20 is below that, so it is gated.
    np.testing.assert_allclose(window.data[0], [0.30, 0.21, 0.19, 0.20], rtol=1e-5)
    np.testing.assert_allclose(state.data[0], [0.225, 4, 1], rtol=1e-5)
    # Attribute 1 vibrates even less, but at chance.
    np.testing.assert_allclose(state.data[1], [0, 4, 0])
    assert net.blobs["out1"].data[0] == 1 and net.blobs["out2"].data.tolist() == [0, 1]
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[0, 2], [0, 4]]
    # A loss above epsilon trains again, and epsilon stays.
    forward(net, scores_with_loss(0.5), LABELS)
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[1, 2], [3, 4]]
    np.testing.assert_allclose(state.data[0], [0.225, 5, 1], rtol=1e-5)


def test_early_stopping_can_be_off_and_is_the_identity_in_test(tmp_path):
    for net in (early(tmp_path, range=0), early(tmp_path, caffe.TEST)):
        for _ in range(6):
            out = forward(net, scores_with_loss(0.1), LABELS)
        np.testing.assert_array_equal(out, scores_with_loss(0.1))
        backward(net, [[1, 2], [3, 4]])
        assert net.blobs["in0"].diff.tolist() == [[1, 2], [3, 4]]
        assert not net.params["layer"][0].data.any() and not net.params["layer"][1].data.any()


def test_early_stopping_gradient_against_finite_differences(tmp_path):
    net = early(tmp_path, range=0)
    rng = np.random.default_rng(6)
    scores, top_diff = rng.normal(size=(2, 2)).astype(np.float32), rng.normal(size=(2, 2))
    forward(net, scores, LABELS)
    backward(net, top_diff)
    exact = net.blobs["in0"].diff.copy()
    np.testing.assert_allclose(exact, numeric_gradient(net, [scores, LABELS], 0, top_diff), atol=1e-3)


def test_early_stopping_sums_weighted_losses_of_two_scores(tmp_path):
    parameters = {"window": 2, "range": 0.1, "forms": ["log", "linear"], "weights": [1, 2]}
    net = build(tmp_path, "EarlyStopping", [(2, 2)] * 3, 3, parameters)
    forward(net, scores_with_loss(0.2), np.zeros((2, 2)), LABELS)
    np.testing.assert_allclose(net.params["layer"][0].data[0, 0], 0.2 + 2 * 0.5, rtol=1e-5)


# Parameters --------------------------------------------------------------------------------------------

GOOD_SHAPES = {
    "RegionMapper": [(1, 2, 4, 4)],
    "RoIWarp": [(1, 4, 13, 13), (1, 2, 4)],
    "EarlyStopping": [(2, 2), (2, 2)],
}


@pytest.mark.parametrize("cls", LAYERS)
def test_empty_param_str_works(tmp_path, cls):
    build(tmp_path, cls, GOOD_SHAPES[cls], text="")


@pytest.mark.parametrize(
    "cls, parameters, words",
    [
        ("RegionMapper", {"treshold": 0.5}, ["RegionMapper", "treshold", "threshold"]),
        ("RegionMapper", {"threshold": 2}, ["RegionMapper", "threshold", "0 to 1"]),
        ("RegionMapper", {"gradient": "hard"}, ["gradient", "soft"]),
        ("RoIWarp", {"warp": 0}, ["RoIWarp", "warp", "at least 1"]),
        ("RoIWarp", {"warp": 10, "pool": 3}, ["RoIWarp", "pool", "divides"]),
        ("EarlyStopping", {"window": 1}, ["EarlyStopping", "window", "at least 2"]),
        ("EarlyStopping", {"range": -1}, ["EarlyStopping", "range", ">= 0"]),
        ("EarlyStopping", {"forms": ["log", "log"]}, ["EarlyStopping", "forms", "one entry per score"]),
        ("EarlyStopping", {"forms": ["cubic"]}, ["EarlyStopping", "forms", "linear"]),
    ],
)
def test_wrong_parameters_are_named(tmp_path, cls, parameters, words):
    with pytest.raises(ValueError) as error:
        build(tmp_path, cls, GOOD_SHAPES[cls], parameters=parameters)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("text", ["not json", "[1]"])
def test_param_str_that_is_no_json_object(tmp_path, text):
    with pytest.raises(ValueError, match="RoIWarp: param_str"):
        build(tmp_path, "RoIWarp", GOOD_SHAPES["RoIWarp"], text=text)


@pytest.mark.parametrize(
    "cls, shapes",
    [
        ("RegionMapper", [(1, 2, 5, 5)]),
        ("RegionMapper", [(1, 2, 4, 4), (1, 1)]),
        ("RoIWarp", [(1, 5, 13, 13), (1, 2, 4)]),
        ("RoIWarp", [(1, 4, 13, 13), (2, 2, 4)]),
        ("EarlyStopping", [(2, 2), (2, 3)]),
        ("EarlyStopping", [(2, 2)]),
    ],
)
def test_wrong_shapes_are_named(tmp_path, cls, shapes):
    with pytest.raises(ValueError, match=cls):
        build(tmp_path, cls, shapes)


# Receptive fields --------------------------------------------------------------------------------------


def test_receptive_fields_by_brute_force(tmp_path):
    """Which conv7 outputs change when an input pixel does, through a real Caffe with table 1's geometry."""
    rows = table1.SHARED + (table1.CONV3,) + table1.TASK_ONE
    size = table1.INPUT_SIZE
    shape = f"shape {{ dim: 8 dim: 1 dim: {size} dim: {size} }}"
    text = [f'layer {{ name: "in" type: "Input" top: "in" input_param {{ {shape} }} }}']
    bottom = "in"
    for row in rows:
        window = f"kernel_size: {row.kernel} stride: {row.stride} pad: {row.padding}"
        if row.name.startswith("pool"):  # the mean, so that every input in the window counts
            body = f'type: "Pooling" pooling_param {{ pool: AVE {window} }}'
        else:
            filler = 'weight_filler { type: "constant" value: 1 }'
            body = f'type: "Convolution" convolution_param {{ num_output: 1 {window} {filler} bias_term: false }}'
        text.append(f'layer {{ name: "{row.name}" bottom: "{bottom}" top: "{row.name}" {body} }}')
        bottom = row.name
    path = tmp_path / "fields.prototxt"
    path.write_text("\n".join(text))
    net = caffe.Net(str(path), caffe.TEST)
    fields = region_mapper.theoretical_rectangles(region_mapper.ROWS_TO_IMAGE, size)
    # Vertical and horizontal lines of pixels: which columns (rows) of points see column (row) c.
    for axis in (0, 1):
        sees = np.zeros((4, size), dtype=bool)
        for start in range(0, size, 8):
            net.blobs["in"].data[...] = 0
            for offset in range(8):
                line = (offset, 0, slice(None), start + offset) if axis == 0 else (offset, 0, start + offset)
                net.blobs["in"].data[line] = 1
            net.forward()
            out = net.blobs["conv7"].data[:, 0]
            sees[:, start : start + 8] = (out.max(axis=1) if axis == 0 else out.max(axis=2)).T > 0
        for point in range(4):
            low, high = (fields[0, point, [0, 2]] if axis == 0 else fields[point, 0, [1, 3]]).astype(int)
            expected = np.zeros(size, dtype=bool)
            expected[low:high] = True
            # Windows at strides leave no gap here, but conv1 stops at pixel 11 + 4 * 53 = 223.
            np.testing.assert_array_equal(sees[point][:223], expected[:223])


def test_bilinear_weights_sum_to_one():
    x, _ = bilinear.sample_positions(np.array([0.3]), np.array([7.7]), 10, 13)
    np.testing.assert_allclose(bilinear.bilinear_weights(x, 13).sum(axis=-1), 1)
