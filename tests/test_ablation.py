"""The ablation's order of steps, its resumption, and its table; the steps themselves are the Makefile's."""

import json
import pathlib

import pytest

from data_prep.build import build_lmdb
from data_prep.store import manifest
from data_prep.synthetic import synthetic_faces
from tools.evaluate import ablation
from tools.train import caffe_log

STAGES = {"train-region": "region", "train-cascade": "cascade", "train-whole-face": "whole_face"}


class Steps:
    """Leaves what each of the Makefile's steps leaves, and can break down at one of them."""

    def __init__(self, breaks_at=None):
        self.done, self.breaks_at = [], breaks_at

    def __call__(self, target, settings):
        if len(self.done) == self.breaks_at:
            raise ablation.StepError("stopped")
        run = pathlib.Path(settings["RUN"])
        if target == "lmdb":
            pathlib.Path(settings["LMDB"]).mkdir(parents=True)
            manifest.write(settings["LMDB"], {"attributes": settings["ATTRIBUTES"].split(",")})
        self.done.append((target, run.name))
        (run / "region").mkdir(parents=True, exist_ok=True)
        if target in STAGES:
            (run / STAGES[target]).mkdir(exist_ok=True)
            (run / STAGES[target] / "x.caffemodel").write_bytes(b"w")
        if target == "average":
            assert (run / "region/x.caffemodel").exists()
            (run / "average.caffemodel").write_bytes(b"w")
        if target == "train-cascade":
            assert (run / "average.caffemodel").exists()
        if target == "evaluate":
            stage = settings["WEIGHTS"].partition("=")[0]
            row = {"attribute": "mean", "rule": "tuned", **dict.fromkeys(ablation.MEASURES, 0.5)}
            (run / "evaluation").mkdir()
            told = {"weights": {stage: {"accuracy": [row]}}}
            (run / "evaluation/evaluation.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def lmdb(tmp_path_factory):
    """A folder of LMDBs, of settings that are not the defaults."""
    folder = tmp_path_factory.mktemp("data")
    synthetic_faces.generate(folder / "faces", 40, 3, {"Eyeglasses": 0.4, "Male": 0.5}, workers=1)
    words = "--form compact --attributes Male,Eyeglasses --records 7 --seed 3 --augment minority --convert"
    assert build_lmdb.main([str(folder / "faces"), "--out", str(folder / "lmdb"), *words.split()]) == 0
    return folder / "lmdb"


def test_natural_batches_are_of_the_same_data_and_settings(lmdb, tmp_path):
    found = ablation.natural_build(lmdb)
    words = f"--form {found['FORM']} --attributes {found['ATTRIBUTES']} --records {found['RECORDS']} "
    words += f"--augment {found['AUGMENT']} {found['BUILD']}"
    assert build_lmdb.main([found["CELEBA"], "--out", str(tmp_path / "natural"), *words.split()]) == 0
    told, natural = manifest.read(lmdb), manifest.read(tmp_path / "natural")
    assert manifest.sampling(told) == "balanced" and manifest.sampling(natural) == "natural"
    natural["settings"]["sampling"] = "balanced"
    assert natural == told


def test_task_one_is_trained_once_and_a_stop_repeats_nothing(lmdb, tmp_path):
    names = list(ablation.VARIANTS)
    straight = Steps()
    ablation.run(ablation.Ablation(tmp_path / "a", lmdb, {}, make=straight), names, [1])
    assert len(set(straight.done)) == len(straight.done)
    trained = [name for target, name in straight.done if target == "train-region"]
    assert trained == [
        "cascade",
        "linear_L1",
        "no_early_stopping",
        "natural_batches",
    ]  # the others share the first one's
    averaged = [name for target, name in straight.done if target == "average"]
    assert averaged == ["cascade", "theoretical_rectangles", "linear_L1", "no_early_stopping", "natural_batches"]
    for stop in (0, 3, 9, len(straight.done) - 1):
        first, second = Steps(stop), Steps()
        folder = tmp_path / f"stop-{stop}"
        with pytest.raises(ablation.StepError):
            ablation.run(ablation.Ablation(folder, lmdb, {}, make=first), names, [1])
        rows = ablation.run(ablation.Ablation(folder, lmdb, {}, make=second), names, [1])
        assert first.done + second.done == straight.done and len(rows) == len(names)


def test_a_step_is_a_real_one_and_keeps_its_log(lmdb, tmp_path):
    plan = ablation.Ablation(tmp_path, lmdb, {"max_iter": 2, "display": 1}, batch=2, caffe="torch")
    plan.step("cascade", 1, "train-region")
    run = plan.folder("cascade", 1)
    assert (run / "region/region_iter_2.caffemodel").exists()
    series = caffe_log.read((run / "region/train.log").read_text().splitlines())
    assert [iteration for iteration, _ in series["train", "loss"]] == [0, 1, 2]
    with pytest.raises(ablation.StepError, match="make evaluate failed for .*the same command goes on"):
        plan.step("cascade", 1, "evaluate", WEIGHTS="nothing.caffemodel")


def test_settings_differ_by_variant_and_seed():
    plan = ablation.Ablation("out", "lmdb", {"max_iter": 5})
    assert plan.settings("linear L1", 2)["GENERATE"] == "--l1=linear"
    assert plan.settings("cascade", 2)["SOLVER"] == "random_seed=2,max_iter=5"
    assert plan.settings("theoretical rectangles", 2)["RUN"] == "out/seed-2/theoretical_rectangles"


def test_table_by_hand():
    means = [dict.fromkeys(ablation.MEASURES, value) for value in (0.8, 0.9)]
    (row,) = ablation.table({"cascade": means})
    assert row["seeds"] == 2 and row["accuracy"] == pytest.approx(0.85)
    assert row["accuracy spread"] == pytest.approx(0.0707, abs=1e-4)
    assert ablation.table({"cascade": means[:1]})[0]["accuracy spread"] is None
