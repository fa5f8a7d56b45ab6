"""The Python layers in a real Caffe: expected values, reference loops, gradients, parameters and errors."""

import json

import caffe
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.optimize import approx_fprime
from shared import ENGINE

from models import table1
from python_layers import early_stopping, regions

MODULES = {"RegionMapper": "region_mapper", "RoIWarp": "roi_warp", "EarlyStopping": "early_stopping"}


def net_of(tmp_path, spec, phase=caffe.TRAIN):
    """The net of a NetSpec; every blob gets gradients."""
    path = tmp_path / "net.prototxt"
    path.write_text(f"force_backward: true\n{spec.to_proto()}")
    return caffe.Net(str(path), phase)


def build(tmp_path, cls, shapes, tops=1, phase=caffe.TRAIN, text=None, **parameters):
    """A net of one Python layer, from blobs in0, in1, ... of these shapes to out0, ..., which is its name too."""
    spec = caffe.NetSpec()
    for index, shape in enumerate(shapes):
        spec[f"in{index}"] = caffe.layers.Input(shape={"dim": list(shape)})
    text = json.dumps(parameters) if text is None else text
    place = {"module": f"python_layers.{MODULES[cls]}", "layer": cls, "param_str": text}
    inputs = list(spec.tops.values())
    outs = caffe.layers.Python(*inputs, ntop=tops, python_param=place)
    for index, out in enumerate(outs if tops > 1 else [outs]):
        spec[f"out{index}"] = out
    return net_of(tmp_path, spec, phase)


def forward(net, *inputs):
    for index, array in enumerate(inputs):
        net.blobs[f"in{index}"].data[...] = array
    net.forward()
    return net.blobs["out0"].data.copy()


def backward(net, top_diff):
    net.blobs["out0"].diff[...] = top_diff
    net.backward()


# RoIWarp ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", (False, True))
def test_roi_warp_equals_map_coordinates_of_scipy_then_max_pool(tmp_path, whole):
    """Of the whole map where the layer gets no regions."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 6, 13, 13)).astype(np.float32)
    low = rng.uniform(-2, 8, (2, 3, 2))
    rois = np.concatenate([low, low + rng.uniform(0.1, 9, (2, 3, 2))], axis=-1).astype(np.float32)
    inputs = [features] if whole else [features, rois]
    found = forward(build(tmp_path, "RoIWarp", [array.shape for array in inputs]), *inputs)
    for image, channel in np.ndindex(2, 6):
        x1, y1, x2, y2 = (0, 0, 13, 13) if whole else rois[image, channel // 2].astype(np.float64)
        steps = (np.arange(10) + 0.5) / 10
        x = np.clip(x1 + steps * (x2 - x1) - 0.5, 0, 12)
        y = np.clip(y1 + steps * (y2 - y1) - 0.5, 0, 12)
        grid = np.meshgrid(y, x, indexing="ij")
        warped = map_coordinates(features[image, channel].astype(np.float64), grid, order=1, mode="nearest")
        np.testing.assert_allclose(found[image, channel], warped.reshape(5, 2, 5, 2).max(axis=(1, 3)), atol=1e-5)


def test_roi_warp_gradients_equal_finite_differences(tmp_path):
    rng = np.random.default_rng(3)
    # A permutation: no ties in the max-pool. Off-lattice ends, one pair outside the map: clamped samples.
    features = rng.permutation(2 * 4 * 25).reshape(2, 4, 5, 5).astype(np.float32) / 20
    rois = np.array([[[0.31, 0.77, 4.13, 4.59], [-0.83, 1.17, 3.71, 6.37]]] * 2, dtype=np.float32)
    rois[1] += 0.0713
    net = build(tmp_path, "RoIWarp", [features.shape, rois.shape], warp=4, pool=2)
    top_diff = rng.normal(size=forward(net, features, rois).shape)
    backward(net, top_diff)
    exact = [net.blobs[name].diff.ravel().copy() for name in ("in0", "in1")]

    def loss(values, index):
        inputs = [features, rois]
        inputs[index] = values.reshape(inputs[index].shape)
        return (forward(net, *inputs).astype(np.float64) * top_diff).sum()

    for index, (values, step) in enumerate(((features, 1e-2), (rois, 2e-3))):
        numeric = approx_fprime(values.ravel().astype(np.float64), loss, step, index)
        assert abs(numeric).max() > 0.1
        np.testing.assert_allclose(exact[index], numeric, atol=5e-3 * abs(numeric).max())


def test_roi_warp_gives_the_gradient_of_a_tie_to_one_cell(tmp_path):
    net = build(tmp_path, "RoIWarp", [(1, 1, 2, 2)], warp=2, pool=2)
    forward(net, np.ones((1, 1, 2, 2)))
    backward(net, 3)
    assert net.blobs["in0"].diff.ravel().tolist() == [3, 0, 0, 0]


def test_roi_warp_is_finite_for_any_region(tmp_path):
    rois = [(3, 3, 3, 3), (9, 9, 2, 2), (-50, -50, -40, -40), (40, 40, 90, 90), (0, 0, 1e30, 1e30)]
    rois += [(np.nan, 0, 5, 5), (0, 0, np.inf, 5)]
    features = np.random.default_rng(1).normal(size=(7, 2, 13, 13))
    net = build(tmp_path, "RoIWarp", [(7, 2, 13, 13), (7, 1, 4)])
    assert np.isfinite(forward(net, features, np.array(rois)[:, np.newaxis])).all()
    backward(net, 1)
    assert np.isfinite(net.blobs["in0"].diff).all() and np.isfinite(net.blobs["in1"].diff).all()


# RegionMapper -----------------------------------------------------------------------------------------------


def response_with(*points, low=0.1, high=0.9):
    response = np.full((1, 1, 4, 4), low, dtype=np.float32)
    for point in points:
        response[(0, 0, *point)] = high
    return response


def test_regions_in_the_map_and_in_the_image_bound_the_points_above_the_threshold(tmp_path):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)], tops=2)
    # Point i sees cells [2i - 2, 2i + 9), clipped to [0, 13), and pixels [32i - 64, 32i + 195), clipped to 224.
    assert tuple(forward(net, response_with((1, 2), (0, 3)))[0, 0]) == (2, 0, 13, 11)
    assert tuple(net.blobs["out1"].data[0, 0]) == (0, 0, 224, 224)
    forward(net, response_with((0, 3)))
    assert tuple(net.blobs["out1"].data[0, 0]) == (32, 0, 224, 195)
    net.params["out0"][1].data[0, 0, 3] = (4, 2, 9, 5)  # measured: cell c is pixels [16c + 9, 16c + 25)
    forward(net, response_with((0, 3)))
    assert tuple(net.blobs["out1"].data[0, 0]) == (73, 41, 153, 89)


def test_regions_come_from_the_revised_response_or_its_fallbacks(tmp_path):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)], average_weight=0.5)
    average = net.params["out0"][0].data
    average[...] = 0.1
    average[0, 0, :2] = 0.9, 0.7
    # r' = (0.2 + 0.9) / 2 at (0, 0) is above 0.5; (0.2 + 0.7) / 2 at (0, 1) and (0.8 + 0.1) / 2 at (3, 3) are not.
    response = response_with((3, 3), low=0.2, high=0.8)
    assert tuple(forward(net, response)[0, 0]) == (0, 0, 9, 9)
    # No point is above the threshold: those of the average response are taken, (0, 0) and (0, 1).
    assert tuple(forward(net, np.zeros((1, 1, 4, 4)))[0, 0]) == (0, 0, 11, 9)
    # None of those either: the largest point is taken.
    average[...] = 0.1
    assert tuple(forward(net, response_with((3, 0), low=0.0, high=0.2))[0, 0]) == (0, 4, 9, 13)


def test_an_average_not_yet_written_changes_no_region_and_training_says_so(tmp_path, capsys):
    response = np.random.default_rng(2).uniform(size=(3, 5, 4, 4)).astype(np.float32)
    found = [forward(build(tmp_path, "RegionMapper", [response.shape], average_weight=w), response) for w in (0, 0.5)]
    np.testing.assert_array_equal(*found)
    assert capsys.readouterr().err.count("note: RegionMapper: no average region in these weights") == 1


def test_regions_per_image_and_attribute_equal_those_of_a_reference_loop(tmp_path):
    rng = np.random.default_rng(4)
    response = rng.uniform(size=(3, 5, 4, 4)).astype(np.float32)
    net = build(tmp_path, "RegionMapper", [response.shape], threshold=0.8)
    rectangles = net.params["out0"][1].data
    rectangles[...] = np.sort(rng.uniform(0, 13, (5, 4, 4, 4)), axis=-1)
    found = forward(net, response)
    for image, attribute in np.ndindex(3, 5):
        above = response[image, attribute] > 0.8
        if not above.any():
            above = response[image, attribute] == response[image, attribute].max()
        boxes = rectangles[attribute][above]
        expected = [boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()]
        np.testing.assert_allclose(found[image, attribute], expected, rtol=1e-6)


def test_region_gradient_is_zero_or_the_soft_one(tmp_path):
    rng = np.random.default_rng(5)
    response = rng.uniform(0.2, 0.9, (2, 3, 4, 4)).astype(np.float32)
    top_diff = rng.normal(size=(2, 3, 4))
    net = build(tmp_path, "RegionMapper", [response.shape])
    forward(net, response)
    net.blobs["in0"].diff[...] = 7
    backward(net, top_diff)
    assert not net.blobs["in0"].diff.any()

    net = build(tmp_path, "RegionMapper", [response.shape], gradient="soft", average_weight=0.3)
    forward(net, response)
    backward(net, top_diff)
    average, rectangles = (blob.data.astype(np.float64) for blob in net.params["out0"])

    def soft(r):
        return (regions.soft_extents(0.7 * r.reshape(response.shape) + 0.3 * average, rectangles) * top_diff).sum()

    numeric = approx_fprime(response.ravel().astype(np.float64), soft, 1e-6)
    np.testing.assert_allclose(net.blobs["in0"].diff.ravel(), numeric, atol=1e-4)


def test_receptive_fields_equal_those_found_by_brute_force(tmp_path):
    """Which pixels the gradient of each conv7 output reaches, through a real Caffe with table 1's geometry."""
    size, net = table1.INPUT_SIZE, caffe.NetSpec()
    net.image = top = caffe.layers.Input(shape={"dim": [1, 1, size, size]})
    for row in table1.SHARED + (table1.CONV3,) + table1.TASK_ONE:
        window = {"kernel_size": row.kernel, "stride": row.stride, "pad": row.padding}
        if row.name.startswith("pool"):  # the mean, so that every input in the window counts
            top = caffe.layers.Pooling(top, pool=caffe.params.Pooling.AVE, **window)
        else:
            one = {"type": "constant", "value": 1}
            top = caffe.layers.Convolution(top, num_output=1, weight_filler=one, bias_term=False, **window)
        net[row.name] = top
    net = net_of(tmp_path, net)
    net.forward()
    for y, x in np.ndindex(4, 4):
        net.blobs["conv7"].diff[...] = 0
        net.blobs["conv7"].diff[0, 0, y, x] = 1
        net.backward()
        reached = net.blobs["image"].diff[0, 0] > 0
        rows, columns = (np.flatnonzero(reached.any(axis=axis)) for axis in (1, 0))
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        # conv1 stops at pixel 11 + 4 * 53 = 223.
        field = regions.theoretical_rectangles(regions.ROWS_TO_IMAGE, size)[y, x]
        np.testing.assert_array_equal(found, np.minimum(field, 223))
        assert reached[found[1] : found[3], found[0] : found[2]].all()


# EarlyStopping ----------------------------------------------------------------------------------------------

LABELS = np.array([[0, 0], [1, 1]], dtype=np.float32)
LOSSES = 0.30, 0.21, 0.19, 0.20  # with a mean of 0.225 and a standard deviation of 0.044


def scores_with_loss(loss):
    """Scores whose cross-entropy is `loss` on LABELS for attribute 0, and about 0.7 for attribute 1."""
    score = -np.log(np.expm1(loss))
    return np.array([[-score, 0.0], [score, 0.0]], dtype=np.float32)


def early(tmp_path, phase=caffe.TRAIN, scores=1, range=0.05):
    shapes = [(2, 2)] * (scores + 1)
    return build(tmp_path, "EarlyStopping", shapes, scores + 2, phase, window=4, range=range)


def test_early_stopping_fixes_epsilon_and_gates_the_gradient(tmp_path):
    net = early(tmp_path)
    window, state = net.params["out0"]
    for step, loss in enumerate(LOSSES):
        out = forward(net, scores_with_loss(loss), LABELS)
        np.testing.assert_array_equal(out, scores_with_loss(loss))
        if step < 3:
            assert state.data[0, 0] == 0 and net.blobs["out1"].data[0] == 2
            assert net.blobs["out2"].data.tolist() == [1, 1]
    # The deviation is at most 0.05: epsilon is the mean; the last loss, 0.20, is below that, so it is gated.
    np.testing.assert_allclose(window.data[0], LOSSES, rtol=1e-5)
    np.testing.assert_allclose(state.data[0], [0.225, 4, 1], rtol=1e-5)
    # The losses of attribute 1 vary even less, but at chance level.
    np.testing.assert_allclose(state.data[1], [0, 4, 0])
    assert net.blobs["out1"].data[0] == 1 and net.blobs["out2"].data.tolist() == [0, 1]
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[0, 2], [0, 4]]
    # A loss above epsilon trains again, and epsilon stays.
    forward(net, scores_with_loss(0.5), LABELS)
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[1, 2], [3, 4]]
    np.testing.assert_allclose(state.data[0], [0.225, 5, 1], rtol=1e-5)


@pytest.mark.parametrize("words", ({"range": 0}, {"phase": caffe.TEST}))
def test_early_stopping_can_be_off_and_is_the_identity_in_the_test_phase(words, tmp_path):
    net = early(tmp_path, **words)
    for _ in range(6):
        out = forward(net, scores_with_loss(0.1), LABELS)
    np.testing.assert_array_equal(out, scores_with_loss(0.1))
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[1, 2], [3, 4]]
    assert not any(blob.data.any() for blob in net.params["out0"])


def test_the_layer_scales_its_bounds_with_the_weights(tmp_path):
    net = early(tmp_path, scores=2)
    for loss in LOSSES:  # the deviation of the sum of both losses is 0.088
        forward(net, scores_with_loss(loss), scores_with_loss(loss), LABELS)
    np.testing.assert_allclose(net.params["out0"][1].data[0, 0], 0.45, rtol=1e-5)


def test_several_solvers_decide_alike_by_the_mean_of_their_losses(tmp_path, monkeypatch):
    """engine/tests/test_parallel.py shows that solver_mean is the mean over all ranks, and their state resumed."""
    assert ENGINE == "bvlc" or early_stopping.over_solvers is caffe.solver_mean
    others = iter((0.20, 0.19, 0.21, 0.24))
    monkeypatch.setattr(early_stopping, "over_solvers", lambda losses: (losses + next(others)) / 2)
    net = early(tmp_path)
    for loss in LOSSES:
        forward(net, scores_with_loss(loss), LABELS)
    # The means are 0.25, 0.20, 0.20, 0.22: epsilon is 0.2175, and the last is above it, though this solver's is below.
    np.testing.assert_allclose(net.params["out0"][1].data[0], [0.2175, 4, 0], rtol=1e-5)


# Parameters and shapes of all -------------------------------------------------------------------------------

GOOD_SHAPES = {
    "RegionMapper": [(1, 2, 4, 4)],
    "RoIWarp": [(1, 4, 13, 13), (1, 2, 4)],
    "EarlyStopping": [(2, 2), (2, 2)],
}


def test_empty_param_str_means_the_papers_values(tmp_path):
    nets = {cls: build(tmp_path, cls, GOOD_SHAPES[cls], text="") for cls in MODULES}
    assert (nets["RegionMapper"].params["out0"][0].data == 0.5).all()  # the threshold
    assert nets["RoIWarp"].blobs["out0"].data.shape == (1, 4, 5, 5)  # 10 samples, pooled by 2
    assert nets["EarlyStopping"].params["out0"][0].data.shape == (2, 200)  # window


@pytest.mark.parametrize(
    "cls, text, shapes, words",
    [
        ("RegionMapper", '{"treshold": 0.5}', None, ".*treshold.*threshold"),
        ("RegionMapper", '{"threshold": 2}', None, ".*threshold.* 0 to 1"),
        ("RegionMapper", "", [(1, 2, 5, 5)], "responses must be"),
        ("RegionMapper", "", [(1, 2, 4, 4), (1, 1)], "takes 1 bottom blobs"),
        ("RoIWarp", '{"warp": 10, "pool": 3}', None, "pool .*divides"),
        ("RoIWarp", "not json", None, "param_str"),
        ("RoIWarp", "", [(1, 5, 13, 13), (1, 2, 4)], "regions must be"),
        ("RoIWarp", "", [(1, 4, 13, 13), (2, 2, 4)], "regions must be"),
        ("EarlyStopping", '{"window": 1}', None, ".*window.*at least 2"),
        ("EarlyStopping", '{"forms": ["log", "log"]}', None, "forms must have one entry per score"),
        ("EarlyStopping", "", [(2, 2), (2, 3)], "scores and label must all be"),
        ("EarlyStopping", "", [(2, 2)], "takes 2 or 3 or 4 bottom blobs"),
    ],
)
def test_wrong_parameters_and_shapes_are_named_in_the_error(tmp_path, cls, text, shapes, words):
    with pytest.raises(ValueError, match=f"{cls}: {words}"):
        build(tmp_path, cls, shapes or GOOD_SHAPES[cls], text=text)
