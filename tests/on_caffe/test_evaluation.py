"""Evaluation of weights: numbers that follow from the net's outputs, regions, calibration, and the stage of a run."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import types

import caffe
import cv2
import numpy as np
import pytest

from data_prep.files import sha256
from data_prep.store import databases
from models import generate
from models.options import NetworkOptions
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, evaluate, evaluation, localisation, results, scoring

ATTRIBUTES = ["Eyeglasses", "Male"]
LABELS = np.array([[0, 1], [1, 0], [1, 1], [0, 0], [1, 1]])
SETTINGS = evaluation.EvaluateSettings(resamples=50)


def write_manifest(folder, **changes):
    counts = {"images": 10, "positive": dict.fromkeys(ATTRIBUTES, 4)}
    (folder / "manifest.json").write_text(json.dumps({"attributes": ATTRIBUTES, "train": counts, **changes}))


@pytest.fixture
def lmdb_folder(tmp_path):
    """Databases of five faces of noise each for validation and test, with true boxes of two test faces."""
    folder = tmp_path / "lmdb"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split in ("val", "test"):
        pictures = [(rng.uniform(0, 160, (224, 224, 3)) + 80 * row.mean()).astype(np.uint8) for row in LABELS]
        images = [databases.image_datum(picture, "png") for picture in pictures]
        databases.write_lmdb(folder / f"{split}_images", images, len(images), split)
        databases.write_lmdb(folder / f"{split}_labels", map(databases.label_datum, LABELS), len(images), split)
    boxes = [{}, {"Eyeglasses": [10, 20, 110, 120]}, {"Eyeglasses": [0, 0, 224, 224]}, {}, {}]
    (folder / "test_boxes.json").write_text(json.dumps(boxes))
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of networks and of weights whose responses are on both sides of the threshold."""
    folder = tmp_path_factory.mktemp("networks")
    generate.write(folder, NetworkOptions(ATTRIBUTES, batch=2))
    caffe.set_random_seed(1)
    rng = np.random.default_rng(0)
    for name in ("region", "cascade"):
        net = caffe.Net(str(folder / name / "deploy.prototxt"), caffe.TEST)
        net.params["conv7"][0].data[...] *= 20
        net.params["region_mapper"][0].data[...] = rng.uniform(0, 1, (2, 4, 4))
        net.save(str(folder / f"{name}.caffemodel"))
    return folder


@pytest.fixture
def weights(trained, tmp_path):
    """Copies of the weights for one test: dict name -> (deploy prototxt, file)."""
    found = {}
    for name, title in (("region", "alone"), ("cascade", "both")):
        path = tmp_path / f"{name}.caffemodel"
        path.write_bytes((trained / f"{name}.caffemodel").read_bytes())
        found[title] = trained / name / "deploy.prototxt", path
    return found


def test_numbers_regions_and_calibration_follow_from_the_outputs_of_the_net(weights, lmdb_folder, tmp_path):
    out = tmp_path / "out"
    written = evaluate.evaluate_files(weights, lmdb_folder, out, SETTINGS)
    assert results.read(out) == written
    for name, (_, file) in weights.items():
        assert sha256(out / written.networks[name].file) == written.networks[name].checksum == sha256(file)
    assert {row.score for row in written.networks["alone"].rows} == {"task one"}
    rows = {(row.attribute, row.decision): row for row in written.networks["both"].rows if row.score == "full network"}
    assert len(rows) == (len(ATTRIBUTES) + 1) * 3
    assert rows["Eyeglasses", "prior-corrected"].majority == 0.6
    model, file = weights["both"]
    net = networks.load(model, file)
    logits = networks.forward(net, list(networks.patches(lmdb_folder, "test")), ["logits"])["logits"]
    right = (logits > 0) == LABELS
    for name, expected in zip(ATTRIBUTES, right.mean(axis=0)):
        row = rows[name, "p > 0.5"]
        np.testing.assert_allclose(row.accuracy, expected, atol=1e-6)
        assert row.accuracy_low <= row.accuracy <= row.accuracy_high
    regions = [(row.attribute, row.response, row.faces) for row in written.networks["both"].regions]
    assert regions == [(name, kind, 2) for kind in ("raw", "revised") for name in ("Eyeglasses", "mean")]
    for picture in ("regions.png", "both-figure4.png", "alone-figure4.png"):
        assert cv2.imread(str(out / picture)) is not None
    # Five faces are too few: thresholds and probabilities follow the training prior.
    found = calibration.read(file, ATTRIBUTES)
    prior = np.log(0.4 / 0.6)
    np.testing.assert_allclose(found.scores["logits"].threshold, [-prior] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.scores["logits"].offset, [prior] * 2, rtol=1e-6)
    assert calibration.read(weights["alone"][1], ATTRIBUTES[::-1]) is None
    record = json.loads((out / "evaluation.json").read_text())
    assert {"IoU", "box coverage", "pointing-game accuracy"} < set(record["networks"]["both"]["regions"][0])
    assert record["synthetic faces"] is True
    text = (out / "tables.txt").read_text()
    assert "balanced" in text and "Eyeglasses" in text and "IoU" in text


def test_calibration_is_of_the_data_and_settings_of_the_last_evaluation(weights, lmdb_folder, tmp_path):
    """Once a defect: after a change of the data the old calibration was used."""
    weights = {"alone": weights["alone"]}
    file = weights["alone"][1]

    def calibrated(settings=SETTINGS):
        evaluate.evaluate_files(weights, lmdb_folder, tmp_path / "out", settings)
        return calibration.read(file)

    first = calibrated()
    marked = dataclasses.replace(first, scores={"max_d": calibration.ScoreCalibration([7.0] * 2, [1.0] * 2, [0.0] * 2)})
    calibration.write(file, marked)
    assert calibrated() == first
    assert calibrated(dataclasses.replace(SETTINGS, split="val", resamples=20)) == first
    write_manifest(lmdb_folder, form="stream")
    second = calibrated()
    assert second.scores == first.scores and second.data != first.data
    assert calibrated(dataclasses.replace(SETTINGS, tune="f1")).tuned_for == "f1"


def test_validation_scores_are_kept_for_intervals(weights, lmdb_folder, tmp_path):
    model, file = weights["both"]
    net = networks.load(model, file)
    patches = list(networks.patches(lmdb_folder, "val"))
    expected = networks.forward(net, patches, ["max_d", "logits"])
    for split in evaluation.SPLITS:
        settings = dataclasses.replace(SETTINGS, split=split)
        result = evaluate.evaluate_files({"both": weights["both"]}, lmdb_folder, tmp_path / split, settings)
        arrays = results.read_arrays(tmp_path / split, "both", result)
        kept = {key for key in arrays if key.startswith("validation_")}
        if split == "val":
            assert not kept
            np.testing.assert_allclose(arrays["logits"], expected["logits"], rtol=1e-5)
        else:
            assert kept == {"validation_labels", "validation_max_d", "validation_logits"}
            for name, values in expected.items():
                np.testing.assert_allclose(arrays[f"validation_{name}"], values, rtol=1e-5)
        of_files = scoring.of_arrays(arrays, "logits", result)
        row = results.rows(result.networks["both"])[-1]
        assert [row.accuracy, row.accuracy_low] == [part[-1] for part in of_files.cells(("tuned", "accuracy"))[:2]]


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


def test_outputs_of_an_earlier_evaluation_are_used_again(weights, lmdb_folder, tmp_path, passes, capsys):
    def computed(restart=False, **changes):
        passes.done.clear()
        settings = dataclasses.replace(SETTINGS, **changes)
        result = evaluate.evaluate_files(weights, lmdb_folder, tmp_path / "out", settings, restart=restart)
        assert results.read(tmp_path / "out") == result
        return result, list(passes.done)

    first, splits = computed()
    assert splits == ["test", "val"] * 2 and "not computed again" not in capsys.readouterr().out
    other, splits = computed(tune="f1", resamples=20, batch=3)
    assert splits == [] and (other.tuned_for, other.resamples) == ("f1", 20)
    assert capsys.readouterr().out.count("not computed again") == 2
    again, splits = computed()
    assert splits == [] and again.networks == first.networks
    assert computed(restart=True)[1] == ["test", "val"] * 2
    assert computed(faces=3)[1] == ["test", "val"] * 2
    assert computed()[1] == ["test", "val"] * 2
    message = networks.read_weights(weights["alone"][1])
    message.name = "other"
    weights["alone"][1].write_bytes(message.SerializeToString())
    assert computed()[1] == ["test", "val"]
    model = tmp_path / "deploy.prototxt"
    model.write_text(weights["both"][0].read_text() + "\n# other\n")
    weights["both"] = model, weights["both"][1]
    assert computed()[1] == ["test", "val"]


def test_an_interrupted_evaluation_keeps_the_last_one_and_goes_on(weights, lmdb_folder, tmp_path, passes):
    out, quick = tmp_path / "out", dataclasses.replace(SETTINGS, faces=3)
    first = evaluate.evaluate_files(weights, lmdb_folder, out, SETTINGS)
    passes.done.clear()
    passes.limit = 3  # between the splits of the second network
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate_files(weights, lmdb_folder, out, quick)
    assert results.read(out) == first
    for name in weights:
        assert len(results.read_arrays(out, name, first)["labels"]) == 5
    passes.done.clear()
    passes.limit = None
    assert evaluate.evaluate_files(weights, lmdb_folder, out, quick).faces == 3
    assert passes.done == ["test", "val"] and not list(out.glob(".*"))


def test_wrong_databases_are_reported_in_one_line(weights, lmdb_folder, tmp_path):
    def error():
        with pytest.raises(ToolError) as found:
            evaluate.evaluate_files({"alone": weights["alone"]}, lmdb_folder, tmp_path / "out", SETTINGS)
        assert "\n" not in str(found.value)
        return str(found.value)

    boxes = lmdb_folder / "test_boxes.json"
    for text, words in (("{", "JSON"), ("[{}]", "boxes of 1 faces"), ('[{"Male": [1]}, {}, {}, {}, {}]', "entry 0")):
        boxes.write_text(text)
        assert "test_boxes.json: damaged" in error() and words in error()
    boxes.unlink()
    databases.write_lmdb(lmdb_folder / "test_labels", [databases.label_datum([1, 1])], 6, "more")
    assert "test has 6 labels and 5 images" in error()
    write_manifest(lmdb_folder, attributes=["Male"], train={"images": 3, "positive": {"Male": 1}})
    assert "is not for the 1 attributes" in error()


def test_a_name_that_is_a_path_is_refused(trained):
    file = trained / "region.caffemodel"
    for name in ("../x", "/tmp/x", ".x", "a/b"):
        with pytest.raises(ToolError, match="must be one that a file can have"):
            evaluate.named_weights([f"{name}={file}"], trained)
    with pytest.raises(ToolError, match="two files are named x"):
        evaluate.named_weights([f"x={file}", f"x={file}"], trained)


@pytest.mark.parametrize("wrong", ({"split": "train"}, {"faces": -1}, {"resamples": 0}, {"batch": 0}, {"tune": "x"}))
def test_settings_out_of_range_are_reported_in_one_line(wrong):
    with pytest.raises(ToolError, match=f"--{next(iter(wrong))} .*must be"):
        evaluation.EvaluateSettings(**wrong).check()


def test_regions_of_responses_equal_those_of_the_net(trained):
    model = trained / "cascade/deploy.prototxt"
    net = networks.load(model, trained / "cascade.caffemodel")
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    blobs = networks.forward(net, images, ["response", "rois_image"])
    mapper = localisation.Mapper.of(net, model)
    np.testing.assert_allclose(mapper.regions(blobs["response"]), blobs["rois_image"], atol=1e-4)
    # The expected region bounds the rectangles of the points above the threshold, without revision.
    rectangles = localisation.regions.point_rectangles_in_image(mapper.rectangles)
    raw = mapper.regions(blobs["response"], revise=False)
    compared = 0
    for image, attribute in np.ndindex(raw.shape[:2]):
        above = rectangles[attribute][blobs["response"][image, attribute] > mapper.threshold]
        if len(above):
            compared += 1
            expected = [*above[:, :2].min(axis=0), *above[:, 2:].max(axis=0)]
            np.testing.assert_allclose(raw[image, attribute], expected, atol=1e-4)
    assert compared


def test_a_quick_look_leaves_the_calibration_by_all_faces(weights, lmdb_folder, tmp_path):
    file = weights["alone"][1]

    def calibrated(**changes):
        settings = dataclasses.replace(SETTINGS, **changes)
        evaluate.evaluate_files({"alone": weights["alone"]}, lmdb_folder, tmp_path / "out", settings)
        return calibration.read(file)

    assert calibrated(faces=3).faces == 3  # better than none
    whole = calibrated(faces=0)
    assert whole.faces == 0
    assert calibrated(faces=3) == whole
    assert results.read(tmp_path / "out").faces == 3


# A run ------------------------------------------------------------------------------------------------------


def make_run(trained, lmdb_folder, folder, stages):
    """A run whose stages of these names are done."""
    made = runs.Run.create(folder, lmdb_folder, record.Settings(engine="bvlc" if networks.is_bvlc() else "torch"))
    for name in stages:
        (folder / name).mkdir(parents=True)
        (folder / name / "deploy.prototxt").write_bytes((trained / name / "deploy.prototxt").read_bytes())
        file = folder / name / f"{name}_iter_1.caffemodel"
        file.write_bytes((trained / f"{name}.caffemodel").read_bytes())
        made.stages[name] = record.Stage({}, "done", str(file.relative_to(folder)), sha256(file))
    made.write()
    return made


@pytest.fixture
def run(trained, lmdb_folder, tmp_path):
    return make_run(trained, lmdb_folder, tmp_path / "run", ["region"])


def state(run):
    return runs.Run.read(run.folder).stages["evaluate"].state


def test_evaluation_of_a_run_is_done_once(trained, lmdb_folder, tmp_path, capsys):
    run = make_run(trained, lmdb_folder, tmp_path / "run", ["region", "cascade"])
    first = evaluate.evaluate(run, SETTINGS)
    said = capsys.readouterr().out
    assert list(first.networks) == ["region", "cascade"] and state(run) == "done"
    assert "cascade, full network: accuracy" in said and "cascade minus region" in said and "tables.txt" in said
    assert len(said.splitlines()) < 12
    means = results.means(run.folder)
    tuned = results.rows(first.networks["cascade"])[-1]
    assert means["cascade"].accuracy == tuned.accuracy and means["cascade"].low == tuned.accuracy_low
    assert set(means) == {"region", "cascade"} and means["region"].majority == tuned.majority
    stamp = (run.folder / "evaluation/evaluation.json").stat().st_mtime_ns
    assert evaluate.evaluate(run, SETTINGS) == first
    assert capsys.readouterr().out.count("nothing to do") == 1
    assert (run.folder / "evaluation/evaluation.json").stat().st_mtime_ns == stamp


def is_computed(run, settings=SETTINGS, **options):
    """Whether an evaluation of a run is computed."""
    path = run.folder / "evaluation/evaluation.json"
    before = path.stat().st_mtime_ns
    evaluate.evaluate(run, settings, **options)
    assert state(run) == "done"
    return path.stat().st_mtime_ns != before


def test_other_inputs_or_lost_results_are_evaluated_again(run):
    evaluate.evaluate(run, SETTINGS)
    assert not is_computed(run, dataclasses.replace(SETTINGS, batch=3))  # changes the speed only
    assert is_computed(run, dataclasses.replace(SETTINGS, resamples=60))
    assert is_computed(run) and not is_computed(run) and is_computed(run, restart=True)
    for name in ("region.npz", "evaluation.json"):
        path = run.folder / "evaluation" / name
        path.write_bytes(path.read_bytes()[:-9])
        assert is_computed(run)
    (run.folder / "region" / calibration.NAME).unlink()
    assert is_computed(run) and (run.folder / "region" / calibration.NAME).exists()


def test_weights_trained_again_are_evaluated_again(run):
    evaluate.evaluate(run, SETTINGS)
    file = run.folder / run.stages["region"].weights
    message = networks.read_weights(file)
    message.name = "trained longer"
    file.write_bytes(message.SerializeToString())
    with pytest.raises(ToolError, match="changed since region was done"):
        evaluate.evaluate(run, SETTINGS)
    run = runs.Run.read(run.folder)
    run.stages["region"].checksum = sha256(file)
    run.write()
    assert is_computed(run)


def test_a_missing_gpu_is_refused_even_if_the_evaluation_is_done(run):
    evaluate.evaluate(run, SETTINGS)
    with pytest.raises(ToolError, match="--device cuda:99: "):
        evaluate.evaluate(run, SETTINGS, device="cuda:99")


def test_outputs_that_are_not_finite_are_reported_in_one_line(weights, lmdb_folder, tmp_path):
    model, file = weights["alone"]
    message = networks.read_weights(file)
    for layer in message.layer:
        if layer.name.startswith("conv"):
            layer.blobs[0].data[:] = [3e38] * len(layer.blobs[0].data)
    file.write_bytes(message.SerializeToString())
    with pytest.raises(ToolError, match="of the network is not finite; use an earlier snapshot"):
        evaluate.evaluate_files({"alone": (model, file)}, lmdb_folder, tmp_path / "out", SETTINGS)


def test_changed_data_are_refused(run, lmdb_folder):
    write_manifest(lmdb_folder, form="stream")
    with pytest.raises(ToolError, match="the data changed since"):
        evaluate.evaluate(run, SETTINGS)


def test_an_evaluation_that_ends_early_is_not_done(run, monkeypatch):
    for error, expected in ((KeyboardInterrupt, "interrupted"), (ToolError("no space"), "failed")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(evaluate, "draw", fail)
        with pytest.raises((KeyboardInterrupt, ToolError)):
            evaluate.evaluate(run, SETTINGS)
        assert state(run) == expected
    assert runs.Run.read(run.folder).stages["evaluate"].message == "no space"
    monkeypatch.undo()
    evaluate.evaluate(run, SETTINGS)
    assert state(run) == "done"


def test_a_second_evaluation_of_a_run_at_the_same_time_is_refused(run):
    with contextlib.ExitStack() as stack:
        stack.enter_context(runs.locked(run.folder))
        os.environ.pop(runs.LOCK_HELD)  # as another command sees it
        with pytest.raises(ToolError, match="works on this run"):
            evaluate.evaluate(run, SETTINGS)


def test_the_error_for_a_run_without_trained_stages_names_the_next_command(run):
    run.stages.clear()
    run.write()
    with pytest.raises(ToolError, match="no stage is trained yet; train first: face-cascade train --run"):
        evaluate.evaluate(run, SETTINGS)


def test_weights_files_given_on_the_command_line_are_compared(run, trained, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    out = tmp_path / "compared"
    words = ["--run", str(run.folder), "--resamples", "20", "--out", str(out)]
    words += ["--weights", f"a={trained / 'region.caffemodel'}", str(trained / "region.caffemodel")]
    assert evaluate.run(parser.parse_args(words)) == 0
    assert set(results.read(out).networks) == {"a", "region"}
    assert "evaluate" not in runs.Run.read(run.folder).stages
    assert pathlib.Path(results.read(out).lmdb) == pathlib.Path(run.data.lmdb)


def test_weights_of_a_run_keep_the_calibration_by_its_own_data(run, tmp_path):
    evaluate.evaluate(run, SETTINGS)
    file = run.weights("region")
    kept = calibration.read(file)
    other = tmp_path / "other"
    shutil.copytree(run.data.lmdb, other)
    write_manifest(other, form="stream")
    result = evaluate.evaluate_files({"region": (run.deploy("region"), file)}, other, tmp_path / "out", SETTINGS)
    assert result.data != kept.data and calibration.read(file) == kept


@pytest.mark.parametrize("option", ("lmdb", "models", "out"))
def test_options_for_weights_are_refused_for_a_run(run, option):
    """Once ignored: --lmdb printed the numbers of the run's own data."""
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    with pytest.raises(ToolError, match=f"--{option} belongs to --weights; a run is evaluated on its own data"):
        evaluate.run(parser.parse_args(["--run", str(run.folder), f"--{option}", "elsewhere"]))
