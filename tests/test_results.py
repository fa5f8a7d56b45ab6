"""evaluation.json, NAME.npz and calibration.json are read completely, or refused in one line with file and key."""

import dataclasses
import json

import evaluation_files
import numpy as np
import pytest

from data_prep.files import sha256
from tools.errors import ToolError
from tools.evaluate import calibration, results
from tools.report import report


@pytest.fixture
def folder(tmp_path):
    return evaluation_files.make(tmp_path, ["Male", "Smiling"], ["region", "cascade"])[0]


def refused(read, path, *words):
    """The read raises one ToolError of one line that names the file."""
    with pytest.raises(ToolError) as error:
        read()
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    for word in words:
        assert word in text
    return text


BROKEN = ("", "{", "[]", "null", "3", '"x"', "\x00", "[" * 100000, '{"version": NaN}', "{}", '{"version": 1}')


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_evaluation_is_reported_in_one_line(folder, text):
    path = folder / "evaluation.json"
    path.write_text(text)
    refused(lambda: results.read(folder), path)
    path.write_bytes(b"\xff\xfe")
    refused(lambda: results.read(folder), path)


def places(value, path=()):
    """Paths to all values in JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(record, path, value):
    """A copy of JSON with the value at a path replaced, or left out where it is `...`."""
    copy = json.loads(json.dumps(record))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return copy


def test_every_changed_value_is_refused_or_makes_a_report(folder):
    """Each value of evaluation.json is removed or of another type: the result is an error of one line, or a page."""
    path = folder / "evaluation.json"
    record = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    refusals, pages = 0, 0
    for place in list(places(record))[1:]:
        for value in (..., None, [], {}, "x", -1, 1e308, True, [[]], float("nan")):
            path.write_text(json.dumps(changed(record, place, value)))
            try:
                results.read(folder)
            except ToolError as error:
                refusals += 1
                assert str(path) in str(error) and "\n" not in str(error)
                continue
            if rng.random() < 0.01:  # a page takes long
                pages += 1
                try:
                    report.make(folder)
                except ToolError as error:
                    assert "\n" not in str(error)
    assert refusals > 1000 and pages > 1


def test_missing_and_wrong_keys_are_named(folder):
    path = folder / "evaluation.json"
    record = json.loads(path.read_text())
    for place, value, words in (
        (("attributes",), ..., "'attributes' is missing"),
        (("networks", "cascade", "rows", 0, "accuracy"), "high", "networks: cascade: rows: 1: damaged, key 'accuracy'"),
        (("networks", "cascade", "rows", 1, "F1"), 1.5, "rows: 2: damaged, key 'F1' must lie in [0, 1]"),
        (("networks", "cascade", "calibration", "logits", "slope"), [1.0], "key 'slope' must have 2 entries"),
        (("faces",), True, "key 'faces'"),
        (("networks", "cascade", "surprise"), 1, "unknown key 'surprise'"),
        (("attributes",), ["Male"], "key 'prior' must hold"),
        (("networks",), {}, "'networks' is empty"),
    ):
        path.write_text(json.dumps(changed(record, place, value)))
        refused(lambda: results.read(folder), path, *words.split("..."))


def test_a_network_whose_name_is_a_path_is_refused(folder):
    path = folder / "evaluation.json"
    record = json.loads(path.read_text())
    record["networks"]["../../x"] = record["networks"].pop("cascade")
    path.write_text(json.dumps(record))
    refused(lambda: results.read(folder), path, "cannot be a file's")


def arrays(folder, **changes):
    """Read the cascade's arrays after some have been changed and the checksum adapted."""
    result = results.read(folder)
    path = results.arrays_path(folder, "cascade")
    kept = results.read_arrays(folder, "cascade", result)
    kept.update(changes)
    results.write_arrays(path, **{key: value for key, value in kept.items() if value is not None})
    network = dataclasses.replace(result.networks["cascade"], arrays=sha256(path))
    result = dataclasses.replace(result, networks={"cascade": network})
    return lambda: results.read_arrays(folder, "cascade", result)


@pytest.mark.parametrize(
    "changes, words",
    (
        ({"labels": None}, "array 'labels'"),
        ({"logits": np.zeros((3, 2))}, "array 'logits' must be of shape"),
        ({"logits": np.full((12, 2), np.nan)}, "array 'logits' holds values that are not finite"),
        ({"response": np.full((12, 2, 4, 4), "x")}, "array 'response'"),
        ({"threshold": np.zeros(2)}, "array 'threshold'"),
        ({"rois_image": None}, "array 'rois_image'"),
        ({"labels": np.array([[None, 1]] * 12, dtype=object)}, "no readable arrays"),
    ),
)
def test_wrong_arrays_are_reported_in_one_line(folder, changes, words):
    refused(arrays(folder, **changes), folder / "cascade.npz", words)


@pytest.mark.parametrize("size", (0, 10, 0.5, 0.99))
def test_truncated_arrays_are_reported_in_one_line(folder, size):
    result, path = results.read(folder), folder / "cascade.npz"
    data = path.read_bytes()
    path.write_bytes(data[: size if isinstance(size, int) else int(size * len(data))])
    refused(lambda: results.read_arrays(folder, "cascade", result), path, "checksum differs")
    # Even if the checksum is that of the truncated file.
    network = dataclasses.replace(result.networks["cascade"], arrays=sha256(path))
    result = dataclasses.replace(result, networks={"cascade": network})
    refused(lambda: results.read_arrays(folder, "cascade", result), path, "no readable arrays")
    path.unlink()
    refused(lambda: results.read_arrays(folder, "cascade", result), path, "No such file")


# Calibration ------------------------------------------------------------------------------------------------


@pytest.fixture
def calibrated(tmp_path):
    """Weights with a calibration beside them: the file, and calibration.json."""
    weights = tmp_path / "a.caffemodel"
    weights.write_bytes(b"weights")
    score = calibration.ScoreCalibration([0.5, 0.5], [1.0, 1.0], [0.0, 0.0])
    made = calibration.Calibration(sha256(weights), "data", ["Male", "Young"], [0.2, 0.3], 7, "f1", {"logits": score})
    calibration.write(weights, made)
    assert calibration.read(weights) == made
    return weights, tmp_path / calibration.NAME


@pytest.mark.parametrize("text", BROKEN[:-2])
def test_a_broken_calibration_is_reported_in_one_line(calibrated, text):
    weights, path = calibrated
    path.write_text(text)
    refused(lambda: calibration.read(weights), path, "remove the file and evaluate again")


def test_every_changed_value_of_a_calibration_is_refused_or_read(calibrated):
    weights, path = calibrated
    record = json.loads(path.read_text())
    refusals = 0
    for place in list(places(record))[2:]:
        for value in (..., None, [], {}, "x", True, [[]], [1.0], float("nan"), 1e999):
            path.write_text(json.dumps(changed(record, place, value)))
            try:
                found = calibration.read(weights)
            except ToolError as error:
                refusals += 1
                assert str(path) in str(error) and "\n" not in str(error)
            else:  # a text where any text may stand, or of other weights
                assert found is None or isinstance(value, str) or place[1] in ("scores", "attributes")
    assert refusals > 80


def test_a_damaged_entry_of_other_weights_is_ignored(calibrated):
    weights, path = calibrated
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "b.caffemodel": 3}))
    assert calibration.read(weights).faces == 7
    refused(lambda: calibration.read(weights.with_name("b.caffemodel")), path, "b.caffemodel: damaged")
