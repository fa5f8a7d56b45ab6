"""Evaluation under a Caffe: numbers, regions and calibration follow from the outputs of its nets."""

import cv2
import evaluation_files
import numpy as np
import pytest
from evaluation_files import ATTRIBUTES, SETTINGS

from data_prep.files import sha256
from tools import model_files, networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, evaluate, results, scoring

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
        assert vars(kept) == written.networks[name].calibration[blob] and calibration.read(run.weights(stage)).synthetic
    assert written.prior == pytest.approx(evaluation_files.labels("train").mean(axis=0))
    settings = written.prior, written.tuned_for, written.resamples
    again = scoring.Scored(arrays, "logits", *settings).rows("full network", written.attributes)
    assert again == [row for row in written.networks["cascade"].rows if row.score == "full network"]
    assert "8 persons, with 95 % intervals over persons; prior-corrected / tuned on validation" in said
    assert "cascade minus region: accuracy" in said and len(said.splitlines()) < 14
    assert cv2.imread(str(out / "regions.png")).shape == (2 * 2 * (224 + 28), 6 * 224, 3)


def test_task_one_is_evaluated_with_its_average_region(run):
    """Once "revised" rows equalled the "raw" ones, because the weights of the stage before were evaluated."""
    assert run.evaluated() == {"region": "average", "cascade": "cascade"}
    regions = evaluate.evaluate(run, SETTINGS).networks["region"].regions
    titles = [(row.attribute, row.response) for row in regions]
    assert titles == [(name, kind) for kind in ("raw", "revised") for name in (*ATTRIBUTES, "mean")]
    raw, revised = (row for row in regions if row.attribute == "mean")
    assert raw.iou != revised.iou and raw.faces == evaluation_files.labels("test").sum()
    without = runs.Run.read(run.folder)
    del without.stages["average"]
    without.write()
    raw, revised = (row for row in evaluate.evaluate(without, SETTINGS).networks["region"].regions[2::3])
    assert {**raw, "response": "revised"} == revised


# What is wrong is one line ----------------------------------------------------------------------------------


def refusal(run):
    with pytest.raises((ToolError, OSError)) as error:
        evaluate.evaluate(run, SETTINGS)
    assert "\n" not in str(error.value)
    return str(error.value)


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
    assert not (run.place("evaluate") / results.NAME).exists()


def test_a_run_without_trained_stages_and_a_missing_gpu_are_reported(run):
    with pytest.raises(ToolError, match="--device cuda:99: "):
        evaluate.evaluate(run, SETTINGS, device="cuda:99")
    run.stages.clear()
    run.write()
    assert "no stage is trained yet; train first: face-cascade train region --run" in refusal(run)
