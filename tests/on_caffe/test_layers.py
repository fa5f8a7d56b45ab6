"""What all Python layers share, in a real Caffe: parameters and shapes, and the errors about them."""

import pytest
from layer_nets import LAYERS, build

GOOD_SHAPES = {
    "RegionMapper": [(1, 2, 4, 4)],
    "RoIWarp": [(1, 4, 13, 13), (1, 2, 4)],
    "EarlyStopping": [(2, 2), (2, 2)],
}


def test_empty_param_str_means_the_papers_values(tmp_path):
    nets = {cls: build(tmp_path, cls, GOOD_SHAPES[cls], text="") for cls in LAYERS}
    assert (nets["RegionMapper"].params["layer"][0].data == 0.5).all()  # the threshold
    assert nets["RoIWarp"].blobs["out0"].data.shape == (1, 4, 5, 5)  # 10 samples, pooled by 2
    assert nets["EarlyStopping"].params["layer"][0].data.shape == (2, 200)  # window


@pytest.mark.parametrize(
    "cls, parameters, words",
    [
        ("RegionMapper", {"treshold": 0.5}, ["RegionMapper", "treshold", "threshold"]),
        ("RegionMapper", {"threshold": 2}, ["RegionMapper", "threshold", "0 to 1"]),
        ("RoIWarp", {"warp": 0}, ["RoIWarp", "warp", "at least 1"]),
        ("RoIWarp", {"warp": 10, "pool": 3}, ["RoIWarp", "pool", "divides"]),
        ("EarlyStopping", {"window": 1}, ["EarlyStopping", "window", "at least 2"]),
        ("EarlyStopping", {"range": -1}, ["EarlyStopping", "range", "from 0 to"]),
        ("EarlyStopping", {"forms": ["log", "log"]}, ["EarlyStopping", "forms", "one entry per score"]),
    ],
)
def test_wrong_parameters_are_named_in_the_error(tmp_path, cls, parameters, words):
    with pytest.raises(ValueError) as error:
        build(tmp_path, cls, GOOD_SHAPES[cls], parameters=parameters)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("text", ["not json", "[1]"])
def test_a_param_str_that_is_not_a_json_object_is_refused(tmp_path, text):
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
def test_wrong_shapes_are_named_in_the_error(tmp_path, cls, shapes):
    with pytest.raises(ValueError, match=cls):
        build(tmp_path, cls, shapes)
