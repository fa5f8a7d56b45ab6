"""The ablation: one budget for every variant, stages shared if their inputs are equal, training, tables."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_prep.build.builder import build
from data_prep.sources.opening import open_source
from data_prep.store import manifest
from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import ablation, calibration, comparison, results, scoring
from tools.train.plan import normal

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def plan(folder, lmdb, iterations=16):
    return ablation.Ablation(folder, lmdb, record.Settings(engine="torch", network={"batch": 2}), iterations)


def pretend(run, name):
    """Make a stage of a run look done, as training would leave it."""
    place = run.place(name)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{name}_iter_1.caffemodel"
    path.write_bytes(f"{name} of {run.folder}".encode())
    stage = record.Stage(normal(run.inputs(name)), "done", f"{name}/{path.name}", runs.files.sha256(path))
    stage.images = run.images("region" if name == "average" else name)
    run.stages[name] = stage
    run.write()


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_every_variant_sees_the_same_number_of_images(small_lmdb, tmp_path, name):
    if ablation.VARIANTS[name].natural:
        pytest.skip("its data are built by the test of natural batches")
    run = plan(tmp_path, small_lmdb, 3200).run_of(name, 1)
    assert run.images(ablation.VARIANTS[name].stages[-1]) == 3200 * 2
    assert sum(ablation.schedule(ablation.VARIANTS[name], 3200).values()) == 3200


def test_stages_are_shared_where_their_inputs_agree(small_lmdb, tmp_path):
    whole = plan(tmp_path, small_lmdb)
    first = whole.run_of("cascade", 1)
    for name in ("region", "average"):
        pretend(first, name)
    shared = {}
    for variant in ("no average region", "theoretical rectangles", "linear L1", "no early stopping", "task one alone"):
        run = whole.run_of(variant, 1)
        for name in ablation.VARIANTS[variant].stages:
            ablation.share(run, name, [first])
        shared[variant] = [name for name in ("region", "average") if run.done(name)]
    assert shared == {
        "no average region": ["region", "average"],
        "theoretical rectangles": ["region"],
        "linear L1": [],
        "no early stopping": [],
        "task one alone": [],  # the variant trains for the whole budget
    }
    other_seed = whole.run_of("cascade", 2)
    ablation.share(other_seed, "region", [first])
    assert not other_seed.done("region")


def test_settings_differ_by_variant_and_seed(small_lmdb, tmp_path):
    whole = plan(tmp_path, small_lmdb)
    assert whole.run_of("linear L1", 2).network().l1 == "linear"
    assert whole.run_of("cascade", 2).solver_fields("region")["random_seed"] == 2
    assert whole.run_of("cascade", 2).solver_fields("region")["max_iter"] == 10
    assert whole.run_of("cascade", 2).solver_fields("cascade")["max_iter"] == 6
    run = whole.run_of("theoretical rectangles", 2)
    assert run.folder == tmp_path / "seed-2/theoretical_rectangles"
    assert run.settings.average.rectangles == "theoretical"
    assert whole.settings.average.rectangles == "measured"


def test_natural_batches_come_from_the_same_data_and_settings(small_faces, small_lmdb, tmp_path):
    ablation.natural_data(small_lmdb, tmp_path / "natural")
    made, natural = manifest.read(small_lmdb), manifest.read(tmp_path / "natural")
    assert made.sampling == "balanced" and natural.sampling == "natural"
    assert natural.source == made.source and natural.attributes == made.attributes and natural.form == made.form
    before = manifest.checksum(tmp_path / "natural")
    ablation.natural_data(small_lmdb, tmp_path / "natural")  # they exist already
    assert manifest.checksum(tmp_path / "natural") == before
    # The same data set, built anew for other attributes or with other settings.
    for number, (attributes, augment) in enumerate((("Male", "both"), ("Male", "none"))):
        lmdb = tmp_path / f"lmdb-{number}"
        build(open_source(small_faces), lmdb, [attributes], manifest.Settings(augment=augment))
        ablation.natural_data(lmdb, tmp_path / "natural")
        natural = manifest.read(tmp_path / "natural")
        assert natural.attributes == [attributes] and natural.settings.augment == augment
        assert natural.sampling == "natural"


def test_table_holds_means_and_standard_deviations(small_lmdb, tmp_path):
    run = plan(tmp_path, small_lmdb).run_of("cascade", 1)
    for name in ("region", "average", "cascade"):
        pretend(run, name)
    means = [results.Means(*[value] * 7) for value in (0.8, 0.9)]
    (row,) = ablation.table({"cascade": [(run, one) for one in means]})
    assert row["seeds"] == 2 and row["accuracy"] == pytest.approx(0.85)
    assert row["images per attribute"] == 16 * 2 and row["images in all"] == 16 * 2 * 2
    assert row["accuracy spread"] == pytest.approx(0.0707, abs=1e-4)
    assert ablation.table({"cascade": [(run, means[0])]})[0]["accuracy spread"] is None


@pytest.mark.parametrize(
    "text, words",
    [
        ("cascde", "unknown variant 'cascde'; did you mean cascade?"),
        ("x", "variants are cascade, task"),
        ("", "at least one"),
    ],
)
def test_variants_are_checked(text, words):
    with pytest.raises(ToolError, match=words):
        ablation.names_of(text)


def test_a_seed_or_variant_that_is_named_twice_is_trained_once():
    assert ablation.seeds_of("2,1,2") == [2, 1]
    assert ablation.names_of("cascade, whole_face,cascade") == ["cascade", "whole face"]


def command(lmdb, folder, iterations, variants):
    words = [sys.executable, "-m", "tools.cli", "ablation", "--lmdb", lmdb, "--run", folder, "--seeds", "1"]
    words += ["--iterations", iterations, "--variants", variants, "--batch", "2", "--caffe", "torch"]
    return [*map(str, words), "--rectangles", "theoretical", "--test-batch", "6", "--solver=display=1,test_iter=1"]


def rows(folder):
    return {row["variant"]: row for row in json.loads((folder / "ablation.json").read_text())["rows"]}


def test_an_ablation_is_resumed_and_trained_again_with_another_budget(small_lmdb, tmp_path):
    folder = tmp_path / "ablation"
    words = command(small_lmdb, folder, 8, "cascade,no average region")
    environment = {**os.environ, "GLOG_minloglevel": "0"}
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    trained = folder / "seed-1/cascade/region/region_iter_5.caffemodel"
    deadline = time.monotonic() + 240
    while not trained.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0 and trained.exists(), output
    assert not (folder / "ablation.json").exists()
    written = trained.stat().st_mtime_ns

    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert trained.stat().st_mtime_ns == written  # not trained again
    assert "region: shared with" in done.stdout and "average: shared with" in done.stdout
    assert rows(folder).keys() == {"cascade", "no average region"}
    assert {row["images per attribute"] for row in rows(folder).values()} == {16}

    differences = json.loads((folder / "ablation.json").read_text())["differences"]
    pairs = itertools.product(("the task one inside it", "no average region"), calibration.DECISIONS)
    assert [(row["minus"], row["decision"]) for row in differences] == list(pairs)
    assert (folder / "differences.csv").exists()

    words = command(small_lmdb, folder, 12, "cascade")
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert rows(folder)["cascade"]["images per attribute"] == 24
    assert not trained.exists() and (folder / "seed-1/cascade/region/region_iter_8.caffemodel").exists()


def test_learning_rates_are_searched_on_validation(small_lmdb, tmp_path):
    folder = tmp_path / "ablation"
    words = command(small_lmdb, folder, 8, "task one alone") + ["--learning-rates", "0.5,1"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    tried = json.loads((folder / "ablation.json").read_text())["learning rates"]
    assert [row["learning rates x"] for row in tried] == [0.5, 1]
    fields = runs.Run.read(folder / "rate-0.5/task_one_alone").solver_fields("region")
    assert fields["base_lr"] == runs.Run.read(folder / "rate-1/task_one_alone").solver_fields("region")["base_lr"] / 2
    assert not (folder / "rate-0.5/task_one_alone/evaluation").exists()  # no test face was read
    best = max(tried, key=lambda row: row["validation accuracy"])["learning rates x"]
    assert f"region: shared with {folder}/rate-{best:g}/task_one_alone" in done.stdout


@pytest.mark.parametrize("text", ["", "0", "-1", "a", "1,inf"])
def test_factors_of_learning_rates_are_checked(text):
    with pytest.raises(ToolError, match="--learning-rates must be factors above 0"):
        ablation.factors_of(text)


def test_differences_over_seeds_have_the_expected_means_and_intervals():
    """Ten faces, one attribute: with one seed the first variant is correct on two more faces, with one on none.

    On the validation faces the classes meet at a score of 2, which no test face has, so that all are equal under this
    decision.
    """
    validation = np.tile([[0.0], [4.0]], (50, 1)), np.tile([[False], [True]], (50, 1))
    labels = np.tile([[False], [True]], (5, 1))
    right = np.where(labels, 1.0, -1.0)
    wrong = right * np.array([-1, -1, 1, 1, 1, 1, 1, 1, 1, 1])[:, np.newaxis]

    def scored(scores):
        return scoring.Scored(scores, labels, np.array([0.5]), validation, resampled=400)

    ours = [{"task one": scored(wrong), "full network": scored(right)} for _ in range(2)]
    theirs = [{"full network": scored(wrong)}, {"full network": scored(right)}]
    found = comparison.rows({"ours": ours, "theirs": theirs}, "ours")
    assert [row["decision"] for row in found] == [*calibration.DECISIONS] * 2
    assert all(row["accuracy"] == 0 for row in found if row["decision"] == "tuned")
    inside, other = (row for row in found if row["decision"] == "prior-corrected")
    assert inside["minus"] == "the task one inside it" and inside["accuracy"] == pytest.approx(0.2)
    assert other["accuracy"] == pytest.approx(0.1) and other["accuracy by seed"] == "+0.2000 +0.0000"
    # Of ten resampled faces, two in ten differ in one seed of two: binomial(10, 0.2) / 20.
    assert other["accuracy low"] == pytest.approx(0, abs=1e-9)
    assert other["accuracy high"] == pytest.approx(0.25, abs=0.051)
