"""evaluation.json, NAME.npz and calibration.json are read completely, or refused in one line that names the file."""

import json
import resource

import numpy as np
import pytest
from mutations import LIMIT, attempt, changed, few, records
from tokens import each

from data_prep.files import sha256
from tools.errors import ToolError
from tools.evaluate import calibration, results


@pytest.fixture
def folder(evaluated):
    """The folder of an evaluation; not to be changed."""
    return evaluated / "run/evaluation"


@pytest.fixture
def calibrated(tmp_path):
    """Weights with a calibration beside them: the file, and calibration.json."""
    weights = tmp_path / "a.caffemodel"
    weights.write_bytes(b"weights")
    scores = {"logits": {"threshold": [0.5, 0.25], "slope": [1.0, 1.0], "offset": [0.0, 0.0]}}
    made = {"weights": sha256(weights), "data": "data", "attributes": ["Male", "Young"], "faces": 7, "scores": scores}
    calibration.write(weights, made)
    assert calibration.read(weights).items() >= made.items()
    return weights, tmp_path / calibration.NAME


def refused(read, path, *words):
    """The read raises one ToolError of one line that names the file."""
    with pytest.raises(ToolError) as error:
        read()
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    for word in words:
        assert word in text


@few(50, 1000)
def test_a_damaged_evaluation_is_refused(folder, tmp_path, examples):
    path, kept, written = tmp_path / "evaluation.json", (folder / "evaluation.json").read_bytes(), results.read(folder)

    def run(data):
        path.write_bytes(data)
        found = attempt(lambda: results.read(tmp_path), path)
        assert found is None or all(found[key] == written[key] for key in written if key != "checksum")

    each(records(json.loads(kept)), examples, run)
    path.write_text(json.dumps({**written, "version": 5}))
    refused(lambda: results.read(tmp_path), path, "written by another version", "evaluate again")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < LIMIT


def test_changed_arrays_are_refused_by_checksum(folder, tmp_path):
    result, path = results.read(folder), tmp_path / "cascade.npz"
    kept = (folder / "cascade.npz").read_bytes()
    for content in (b"", kept[:10], kept[: len(kept) // 2], kept[:-1]):
        path.write_bytes(content)
        refused(lambda: results.read_arrays(tmp_path, "cascade", result), path, "damaged; evaluate again")
    path.unlink()
    refused(lambda: results.read_arrays(tmp_path, "cascade", result), path, "No such file")
    path.write_bytes(kept)
    arrays = results.read_arrays(tmp_path, "cascade", result)
    assert set(arrays) >= {"labels", "persons", "logits", "max_d", "response", "validation_logits", "average"}
    # Once `evaluate` took edited scores as computed before.
    np.savez(path, **{**arrays, "logits": arrays["logits"] + 1})
    refused(lambda: results.load_arrays(path), path, "changed since it was written")
    results.write_arrays(path, ["others"], {"logits": arrays["logits"]})
    refused(lambda: results.read_arrays(tmp_path, "cascade", result), path, "checksum differs")


# Calibration ------------------------------------------------------------------------------------------------


def test_a_calibration_belongs_to_its_weights_and_attributes(calibrated):
    weights, path = calibrated
    other = weights.with_name("b.caffemodel")
    other.write_bytes(b"others")
    calibration.write(other, {**calibration.read(weights), "weights": sha256(other)})
    assert calibration.read(weights, ["Male", "Young"]) and calibration.read(weights, ["Young", "Male"]) is None
    weights.write_bytes(b"trained anew")
    assert calibration.read(weights) is None and calibration.read(other) is not None
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "a.caffemodel": 3}))
    assert calibration.read(other).faces == 7  # a damaged entry of other weights
    refused(lambda: calibration.read(weights), path, "a.caffemodel: damaged")


def test_a_changed_calibration_is_refused(calibrated):
    """Once a changed threshold changed the answers of predict without a word. It is sealed like an evaluation."""
    weights, path = calibrated
    whole = path.read_bytes()
    record = json.loads(whole)
    for content in (b"", b"[]", b"\xff\xfe", b"[" * 100000, whole[:-9]):
        path.write_bytes(content)
        refused(lambda: calibration.read(weights), path, "remove the file and evaluate again")
    for value in ([0.5, 0.75], ...):
        path.write_text(json.dumps(changed(record, ("a.caffemodel", "scores", "logits", "threshold"), value)))
        refused(lambda: calibration.read(weights), path, "a.caffemodel: damaged or changed", "evaluate again")
