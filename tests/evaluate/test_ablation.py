"""The ablation: one budget for every variant, stages shared if their inputs are equal, training, tables."""

import csv
import functools

import numpy as np
import pytest

from data_prep.files import sha256
from data_prep.settings import check
from tools import ablation, record
from tools import run as runs
from tools.cli import main
from tools.evaluate import scoring
from tools.report import seeds
from tools.train import plan


@pytest.fixture
def planned(small_lmdb, tmp_path):
    """Function (variant, seed) -> its run in an ablation of 3,200 iterations that is not begun."""
    settings = record.Settings(engine="torch", network={"batch": 2, "width": 1 / 16})
    return functools.partial(ablation.run_of, runs.Run.create(tmp_path, small_lmdb, settings), 3200)


def test_every_variant_sees_the_same_number_of_images(planned):
    for name, variant in ablation.VARIANTS.items():
        run = planned(name, 1)
        assert run.network().batch == 2, name
        trained = [stage for stage in variant.stages if stage != "average"]
        seen = [plan.images_of(run, stage, plan.last_iteration(run, stage)) for stage in trained]
        assert sum(seen) == 3200 * 2, name
        assert sum(run.solver_fields(stage)["stepsize"] for stage in trained) == pytest.approx(0.75 * 3200)
        check(run.settings)  # what is declared for a variant is what a run can have


def test_stages_are_shared_where_their_inputs_agree(planned):
    first = planned("cascade", 1)
    for name in ("region", "average"):  # made to look done, as training would leave them
        path = first.place(name) / f"{name}_iter_1.caffemodel"
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
        first.stages[name] = record.Stage(plan.inputs(first, name), "done", f"{name}/{path.name}", sha256(path))
    for variant, seed, expected in (
        ("no average region", 1, ["region", "average"]),
        ("whole map", 1, ["region"]),
        ("linear L1", 1, []),
        ("no early stopping", 1, []),
        ("task one alone", 1, []),  # it trains for the whole budget
        ("cascade", 2, []),
    ):
        run = planned(variant, seed)
        for name in ablation.VARIANTS[variant].stages:
            ablation.share(run, name, [first])
        assert [name for name in ("region", "average") if run.done(name)] == expected, variant


def test_a_variant_is_not_trained_twice(fails):
    fails("ablation", "--variants", "cascade, whole face,cascade", says="none twice")


def scored(right, labels, validation):
    """The Scored of answers of which some are right: right (N,) bool; labels (N, 1)."""
    scores = np.where(labels == right[:, np.newaxis], 1.0, -1.0)
    return scoring.Scored({**validation, "logits": scores, "labels": labels}, "logits", np.array([0.5]), resampled=400)


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_means_spreads_and_differences_with_their_intervals(tmp_path):
    """Ten faces, one attribute: with one seed the first network answers two more faces rightly, with the other none.

    On the validation faces the classes meet at a score of 2, which no test face has, so that all are equal under tuned
    decisions.
    """
    faces = {"logits": np.tile([[0.0], [4.0]], (50, 1)), "labels": np.tile([[0], [1]], (50, 1))}
    validation = {f"validation_{name}": values for name, values in faces.items()}
    labels = np.tile([[False], [True]], (5, 1))
    good, bad = (scored(np.arange(10) >= wrong, labels, validation) for wrong in (0, 2))
    ours = [{"task one": bad, "full network": good} for _ in range(2)]
    networks = {"ours": ours, "theirs": [{"full network": bad}, {"full network": good}]}
    text = seeds.conclude(tmp_path, networks, {"ours": 32, "theirs": 16})
    first, second = read_csv(tmp_path / "means.csv")
    assert first["network"] == "ours" and first["seeds"] == "2" and second["images per attribute"] == "16"
    assert float(second["accuracy, prior-corrected"]) == pytest.approx(0.9)
    assert float(second["accuracy, prior-corrected, spread"]) == pytest.approx(np.std([0.8, 1], ddof=1))
    rows = {(row["minus"], row["measure"]): row for row in read_csv(tmp_path / "differences.csv")}
    assert len(rows) == 2 * 10
    assert all(float(row["difference"]) == 0 for key, row in rows.items() if key[1] == "accuracy, tuned")
    inside, other = (rows[minus, "accuracy, prior-corrected"] for minus in (seeds.INSIDE, "theirs"))
    assert float(inside["difference"]) == pytest.approx(0.2) and inside["by seed"] == "+0.2000 +0.2000"
    assert float(other["difference"]) == pytest.approx(0.1) and other["by seed"] == "+0.2000 +0.0000"
    # Of ten resampled faces, two in ten differ in one seed of two: binomial(10, 0.2) / 20.
    assert float(other["difference low"]) == pytest.approx(0, abs=0.01)
    assert float(other["difference high"]) == pytest.approx(0.25, abs=0.06)
    assert float(other["low seeds too"]) < 0.01 and float(other["high seeds too"]) > float(other["difference high"])
    assert (tmp_path / "differences.svg").read_text().startswith("<svg")
    assert max(map(len, text.splitlines())) <= 120 and "+0.2000 +0.0000" in text


@pytest.mark.slow
def test_variants_share_stages_and_all_is_done_once(small_lmdb, tmp_path, capfd):
    words = ["ablation", "--lmdb", str(small_lmdb), "--run", str(tmp_path / "a"), "--batch", "16", "--width", "1/16"]
    words += ["--caffe", "torch", "--test-batch", "6", "--seeds", "1", "--iterations", "8"]
    words += ["--variants", "cascade,whole map"]
    assert main(words) == 0, capfd.readouterr().err
    said = capfd.readouterr().out
    assert "1 seeds, 8 iterations per variant" in said and said.count("region: shared with") == 1
    assert {(row["seeds"], row["images per attribute"]) for row in read_csv(tmp_path / "a/means.csv")} == {("1", "128")}
    minus = {row["minus"] for row in read_csv(tmp_path / "a/differences.csv")}
    assert minus == {seeds.INSIDE, "whole map"} and "cascade minus the others, average precision" in said
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*/*/*/*.caffemodel")}
    assert main(words) == 0 and capfd.readouterr().out.count("not computed again") == 4
    assert main([*words[:-1], "task one alone"]) == 0  # which leaves no differences of the call before
    assert capfd.readouterr().out.endswith("/a: means.csv\n") and not list((tmp_path / "a").glob("differences.*"))
    assert main([*words, "--alpha", "2"]) == 1
    assert "alpha was 1.0, now 2. Give --restart to repeat it" in capfd.readouterr().err
    assert written == {path: path.stat().st_mtime_ns for path in written}
