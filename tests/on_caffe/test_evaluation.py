"""Evaluation of the networks of a run: numbers that follow from the net's outputs, regions, calibration, the record."""

import dataclasses
import pathlib
import shutil
import sys
import types

import cv2
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import evaluation_files  # noqa: E402
from evaluation_files import ATTRIBUTES, SETTINGS, write_manifest  # noqa: E402

from data_prep.files import sha256  # noqa: E402
from data_prep.store import databases  # noqa: E402
from tools import model_files, networks  # noqa: E402
from tools import run as runs  # noqa: E402
from tools.errors import ToolError  # noqa: E402
from tools.evaluate import calibration, evaluate, evaluation, localisation, results, scoring  # noqa: E402

STAGES = ("region", "average", "cascade")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """A folder with LMDBs and a run whose task one and cascade are trained but not evaluated."""
    folder = tmp_path_factory.mktemp("pattern")
    evaluation_files.write_run(folder / "run", evaluation_files.write_lmdb(folder / "lmdb"), STAGES)
    return folder


@pytest.fixture
def run(pattern, tmp_path):
    """A copy of them for one test: the Run, whose LMDBs are in `lmdb` beside its folder."""
    return evaluation_files.copied(pattern, tmp_path)


def test_numbers_regions_and_calibration_follow_from_the_outputs_of_the_nets(run, capsys):
    written = evaluate.evaluate(run, SETTINGS)
    said, out = capsys.readouterr().out, run.place("evaluate")
    assert results.read(out) == written and list(written.networks) == ["region", "cascade"]
    assert written.synthetic and (written.faces, written.persons) == (24, 8)
    truth = evaluation_files.labels("test")
    for name, blob in (("region", "max_d"), ("cascade", "max_d"), ("cascade", "logits")):
        stage = "average" if name == "region" else name
        assert written.networks[name].checksum == sha256(run.folder / written.networks[name].file)
        assert written.networks[name].file == f"{stage}/{stage}.caffemodel"
        net = networks.load(run.deploy(stage), run.weights(stage))
        patches = {split: list(networks.patches(run.lmdb, split)) for split in ("val", "test")}
        scores = {split: networks.forward(net, patches[split], [blob])[blob] for split in patches}
        score = next(title for title, of in results.SCORES.items() if of == blob)
        rows = results.rows(written.networks[name], "p > 0.5", score)
        np.testing.assert_allclose(
            [row.accuracy.value for row in rows[:-1]], ((scores["test"] > 0) == truth).mean(axis=0), atol=1e-6
        )
        assert rows[-1].accuracy.value == pytest.approx(np.mean([row.accuracy.value for row in rows[:-1]]))
        arrays = results.read_arrays(out, name, written)
        np.testing.assert_allclose(arrays[f"validation_{blob}"], scores["val"], rtol=1e-4, atol=1e-5)
        kept = calibration.read(run.weights(stage), list(ATTRIBUTES)).scores[blob]
        fitted = calibration.fit(arrays[f"validation_{blob}"], evaluation_files.labels("val"), np.array(written.prior))
        np.testing.assert_allclose([kept.threshold, kept.slope, kept.offset], fitted)
        assert kept == written.networks[name].calibration[blob] and calibration.read(run.weights(stage)).synthetic
    assert written.prior == pytest.approx(evaluation_files.labels("train").mean(axis=0))
    settings = written.prior, written.tuned_for, written.resamples
    again = scoring.of_arrays(arrays, "logits", *settings).rows("full network", written.attributes)
    assert again == [row for row in written.networks["cascade"].rows if row.score == "full network"]
    assert "8 persons, with 95 % intervals over persons; prior-corrected / tuned on validation" in said
    assert "cascade minus region: accuracy" in said and len(said.splitlines()) < 14
    for picture in ("regions.png", "cascade-figure4.png", "region-figure4.png"):
        assert cv2.imread(str(out / picture)) is not None
    text = (out / "tables.txt").read_text()
    assert "beside table 2 of the paper, as published; the faces here are synthetic" in text and "IoU" in text


def test_task_one_is_evaluated_with_its_average_region(run):
    """Once "revised" rows equalled the "raw" ones, because the weights of the stage before were evaluated."""
    assert run.evaluated() == {"region": "average", "cascade": "cascade"}
    regions = evaluate.evaluate(run, SETTINGS).networks["region"].regions
    titles = [(row.attribute, row.response) for row in regions]
    assert titles == [(name, kind) for kind in ("raw", "revised") for name in (*ATTRIBUTES, "mean")]
    raw, revised = (row for row in regions if row.attribute == "mean")
    assert raw.iou != revised.iou and raw.faces == evaluation_files.labels("test").sum()
    without = runs.Run.read(run.folder)
    del without.stages["average"], without.stages["evaluate"]
    without.write()
    raw, revised = (row for row in evaluate.evaluate(without, SETTINGS).networks["region"].regions[2::3])
    assert dataclasses.replace(raw, response="revised") == revised


def test_regions_of_responses_equal_those_of_the_net(run):
    net = networks.load(run.deploy("cascade"), run.weights("cascade"))
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    blobs = networks.forward(net, images, ["response", "rois_image"])
    mapper = localisation.Mapper.of(net, run.deploy("cascade"))
    np.testing.assert_allclose(mapper.regions(blobs["response"]), blobs["rois_image"], atol=1e-4)


# Once, again, and after interruptions -----------------------------------------------------------------------


@pytest.fixture
def passes(monkeypatch):
    """done: the splits that networks are computed on, a list that grows; limit: its length at which Ctrl-C comes."""
    passes, responses = types.SimpleNamespace(done=[], limit=None), evaluation.responses

    def counted(net, data, split, *rest):
        if len(passes.done) == passes.limit:
            raise KeyboardInterrupt
        passes.done.append(split)
        return responses(net, data, split, *rest)

    monkeypatch.setattr(evaluation, "responses", counted)
    return passes


def test_outputs_are_computed_once_and_results_are_whole(run, passes, capsys):
    def computed(restart=False, **changes):
        passes.done.clear()
        result = evaluate.evaluate(run, dataclasses.replace(SETTINGS, **changes), restart=restart)
        assert runs.Run.read(run.folder).stages["evaluate"].state == "done"
        assert changes.get("split") == "val" or results.read(run.place("evaluate")) == result
        return result, list(passes.done)

    first, splits = computed()
    assert splits == ["test", "val"] * 2
    assert computed(batch=3) == (first, []) and "nothing to do" in capsys.readouterr().out
    other, splits = computed(tune="f1", resamples=30)
    assert splits == [] and (other.tuned_for, other.resamples) == ("f1", 30)
    assert capsys.readouterr().out.count("not computed again") == 2
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


def test_an_interrupted_evaluation_goes_on(run, passes):
    passes.limit = 3  # between the splits of the second network
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(run, SETTINGS)
    assert runs.Run.read(run.folder).stages["evaluate"].state == "interrupted"
    passes.done.clear()
    passes.limit = None
    evaluate.evaluate(run, SETTINGS)
    assert passes.done == ["test", "val"] and not list(run.place("evaluate").glob(".*"))


def test_a_quick_look_leaves_the_calibration_by_all_faces(run):
    def calibrated(faces):
        assert evaluate.evaluate(run, dataclasses.replace(SETTINGS, faces=faces)).faces == (faces or 24)
        return calibration.read(run.weights("cascade"))

    assert calibrated(5).faces == 5  # better than none
    whole = calibrated(0)
    assert whole.faces == 0 and calibrated(4) == whole
    assert results.read(run.place("evaluate")).persons == 2  # on the first four faces


def test_weights_trained_again_are_evaluated_again(run, passes):
    evaluate.evaluate(run, SETTINGS)
    path = run.weights("cascade")
    message = model_files.read_weights(path)
    message.name = "trained longer"
    path.write_bytes(message.SerializeToString())
    with pytest.raises(ToolError, match="changed since cascade was done"):
        evaluate.evaluate(run, SETTINGS)
    run.stages["cascade"].checksum = sha256(path)
    run.write()
    passes.done.clear()
    evaluate.evaluate(run, SETTINGS)
    assert passes.done == ["test", "val"]


# What is wrong is one line ----------------------------------------------------------------------------------


def refusal(run):
    with pytest.raises((ToolError, OSError)) as error:
        evaluate.evaluate(run, SETTINGS)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_changed_data_are_refused(run):
    """Once labels that were inverted, and damaged images, changed the table silently; test_check.py has every kind."""
    shutil.rmtree(run.lmdb / "test_labels")
    rows = (~evaluation_files.labels("test")).astype(int)
    databases.write_lmdb(run.lmdb / "test_labels", map(databases.label_datum, rows), len(rows), "test")
    assert "changed or damaged since it was built" in refusal(run)
    write_manifest(run.lmdb, synthetic=False)
    assert "the data changed since" in refusal(run)


def test_labels_images_and_networks_must_fit(run):
    databases.write_lmdb(run.lmdb / "test_labels", [databases.label_datum([1, 1])], 25, "more")
    write_manifest(run.lmdb)
    run.data = runs.read_data(run.lmdb, run.folder)
    run.write()
    assert "test has 25 labels and 24 images" in refusal(run)
    shutil.rmtree(run.lmdb)
    evaluation_files.write_lmdb(run.lmdb, ["Male"])
    run.data = runs.read_data(run.lmdb, run.folder)
    run.write()
    assert "is not for the 1 attributes" in refusal(run)


def test_outputs_that_are_not_finite_are_reported(run):
    del run.stages["cascade"]
    path = run.weights("average")
    message = model_files.read_weights(path)
    for layer in message.layer:
        if layer.name.startswith("conv"):
            layer.blobs[0].data[:] = [3e38] * len(layer.blobs[0].data)
    path.write_bytes(message.SerializeToString())
    run.stages["average"].checksum = sha256(path)
    run.write()
    assert "of the network is not finite; use an earlier snapshot" in refusal(run)
    stage = runs.Run.read(run.folder).stages["evaluate"]
    assert stage.state == "failed" and "not finite" in stage.message


def test_a_run_without_trained_stages_and_a_missing_gpu_are_reported(run):
    with pytest.raises(ToolError, match="--device cuda:99: "):
        evaluate.evaluate(run, SETTINGS, device="cuda:99")
    run.stages.clear()
    run.write()
    assert "no stage is trained yet; train first: face-cascade train region --run" in refusal(run)


# Other data, other places -----------------------------------------------------------------------------------


def test_only_the_manifest_says_whether_faces_are_synthetic(tmp_path):
    """Once inferred from true boxes: figures of a user's own faces with boxes were said to mean nothing."""
    lmdb = evaluation_files.write_lmdb(tmp_path / "own", synthetic=False, persons=False)
    run = evaluation_files.write_run(tmp_path / "run", lmdb, ("region",))
    result = evaluate.evaluate(run, SETTINGS)
    assert not result.synthetic and result.persons == 0 and result.networks["region"].regions
    assert not calibration.read(run.weights("region")).synthetic
