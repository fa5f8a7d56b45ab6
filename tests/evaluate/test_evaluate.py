"""An evaluation is computed once, and refused where data and networks do not fit. Killed ones: core/test_kills.py."""

import dataclasses
import shutil

import evaluation_files
import pytest
from evaluation_files import SETTINGS, write_manifest

from data_prep.files import sha256
from data_prep.store import databases
from tools import model_files
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, evaluate, results


@pytest.fixture
def run(run):
    """A run whose task one and cascade are trained but not evaluated."""
    del run.stages["whole_face"]
    run.write()
    shutil.rmtree(run.place("evaluate"))
    for path in run.folder.glob(f"*/{calibration.NAME}"):
        path.unlink()
    return run


@pytest.fixture
def passes(monkeypatch):
    """The splits that networks are computed on, a list that grows."""
    passes, responses = [], evaluate.responses

    def counted(net, data, split, *rest):
        passes.append(split)
        return responses(net, data, split, *rest)

    monkeypatch.setattr(evaluate, "responses", counted)
    return passes


def test_outputs_are_computed_once_and_results_are_whole(run, passes, capsys):
    def computed(restart=False, **changes):
        passes.clear()
        result = evaluate.evaluate(run, dataclasses.replace(SETTINGS, **changes), restart=restart)
        written = results.read(run.place("evaluate" if result.split == "test" else "evaluation-val"))
        assert written == {**result, "checksum": written.checksum}
        return result, list(passes)

    first, splits = computed()
    assert splits == ["test", "val"] * 2
    assert computed(batch=3)[1] == [] and capsys.readouterr().out.count("not computed again") == 2
    other, splits = computed(tune="f1", resamples=30)
    assert splits == [] and (other.tuned_for, other.resamples) == ("f1", 30)
    again, splits = computed(restart=True)
    assert splits == ["test", "val"] * 2 and again.networks.keys() == first.networks.keys()
    validated, splits = computed(split="val")
    assert splits == ["val"] * 2 and validated.split == "val" and validated.synthetic
    # What was lost or edited is made again.
    path = run.place("evaluate") / "region.npz"
    path.write_bytes(path.read_bytes()[:-9])
    assert computed()[1] == ["test", "val"]
    (run.folder / "average" / calibration.NAME).unlink()
    assert computed()[1] == [] and calibration.read(run.weights("average"))
    # So is that of weights that were trained on.
    path = run.weights("cascade")
    message = model_files.read_weights(path)
    message.name = "trained longer"
    path.write_bytes(message.SerializeToString())
    run.stages["cascade"].checksum = sha256(path)
    run.write()
    assert computed()[1] == ["test", "val"]
    # A stage that is being trained again is none of the results.
    run.stages["cascade"].state = "interrupted"
    assert computed()[0].networks.keys() == {"region"}


def test_a_quick_look_leaves_the_calibration_by_all_faces(run):
    def calibrated(faces):
        assert evaluate.evaluate(run, dataclasses.replace(SETTINGS, faces=faces)).faces == (faces or 24)
        return calibration.read(run.weights("cascade"))

    assert calibrated(5).faces == 5  # better than none
    whole = calibrated(0)
    assert whole.faces == 0 and calibrated(4) == whole
    assert results.read(run.place("evaluate")).persons == 2  # on the first four faces
    calibration.write(run.weights("cascade"), {**whole, "data": "other"})
    assert calibrated(0).data == "other"  # the probabilities of a run are not changed by an evaluation elsewhere


def test_labels_and_images_must_fit(run):
    rows = [*databases.read_labels(run.lmdb / "test_labels", 2), [1, 1]]
    shutil.rmtree(run.lmdb / "test_labels", 2)
    databases.write_lmdb(run.lmdb / "test_labels", map(databases.label_datum, rows), 25, "more")
    write_manifest(run.lmdb)
    run.data = runs.read_data(run.lmdb, run.folder)
    run.write()
    with pytest.raises(ToolError, match="test has 25 x 2 labels, and the network gives 24 x 2"):
        evaluate.evaluate(run, SETTINGS)


def test_only_the_manifest_says_whether_faces_are_synthetic(tmp_path):
    """Once inferred from true boxes: figures of a user's own faces with boxes were said to mean nothing."""
    lmdb = evaluation_files.write_lmdb(tmp_path / "own", synthetic=False, persons=False)
    run = evaluation_files.write_run(tmp_path / "run", lmdb, ("region",))
    result = evaluate.evaluate(run, SETTINGS)
    assert not result.synthetic and result.persons == 0 and result.networks["region"].regions
    assert not calibration.read(run.weights("region")).synthetic
