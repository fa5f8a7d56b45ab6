"""RegionMapper in a real Caffe: expected regions, a reference loop, gradients, receptive fields by brute force."""

import caffe
import numpy as np
import pytest
from layer_nets import backward, build, forward

from models import table1
from python_layers import regions


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
def test_the_region_bounds_the_points_above_the_threshold(tmp_path, points, region):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)])
    assert tuple(forward(net, response_with(points))[0, 0]) == region


def test_regions_come_from_the_revised_response_or_its_fallbacks(tmp_path):
    net = build(tmp_path, "RegionMapper", [(1, 1, 4, 4)], parameters={"average_weight": 0.5})
    average = net.params["layer"][0].data
    average[...] = 0.1
    average[0, 0, :2] = 0.9, 0.7
    # r' = (0.2 + 0.9) / 2 at (0, 0) is above 0.5; (0.2 + 0.7) / 2 at (0, 1) and (0.8 + 0.1) / 2 at (3, 3) are not.
    response = response_with([(3, 3)], low=0.2, high=0.8)
    assert tuple(forward(net, response)[0, 0]) == (0, 0, 9, 9)
    # No point is above the threshold: those of the average response are taken, (0, 0) and (0, 1).
    assert tuple(forward(net, np.zeros((1, 1, 4, 4)))[0, 0]) == (0, 0, 11, 9)
    # None of those either: the largest point is taken.
    average[...] = 0.1
    assert tuple(forward(net, response_with([(3, 0)], low=0.0, high=0.2))[0, 0]) == (0, 4, 9, 13)


def test_an_average_not_yet_written_changes_no_region_and_training_says_so(tmp_path, capsys):
    rng = np.random.default_rng(2)
    response = rng.uniform(size=(3, 5, 4, 4)).astype(np.float32)
    regions = [
        forward(build(tmp_path, "RegionMapper", [response.shape], parameters={"average_weight": w}), response)
        for w in (0, 0.5)
    ]
    np.testing.assert_array_equal(*regions)
    assert capsys.readouterr().err.count("note: RegionMapper: no average region in these weights") == 1


def test_regions_per_image_and_attribute_equal_those_of_a_reference_loop(tmp_path):
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


def test_regions_in_the_image_follow_from_those_in_the_map(tmp_path):
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
        return (regions.soft_extents(0.7 * r + 0.3 * average, rectangles) * top_diff).sum()

    numeric = np.zeros(response.shape)
    for place in np.ndindex(*response.shape):
        step = np.zeros(response.shape)
        step[place] = 1e-5
        numeric[place] = (soft(response + step) - soft(response - step)) / 2e-5
    np.testing.assert_allclose(net.blobs["in0"].diff, numeric, atol=1e-4)


def test_receptive_fields_equal_those_found_by_brute_force(tmp_path):
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
    fields = regions.theoretical_rectangles(regions.ROWS_TO_IMAGE, size)
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
