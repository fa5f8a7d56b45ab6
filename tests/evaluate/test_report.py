"""The report of an evaluation: complete, legible, safe against markup in names, refused if its inputs have changed."""

import dataclasses
import html.parser
import json
import re
import shutil

import evaluation_files
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from data_prep.files import sha256
from data_prep.store import manifest
from tools import model, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import localisation, metrics, results, summary
from tools.report import accuracy, compare, curves, groups, page, report
from tools.report.report import Opened

HOSTILE = """"><img src=x onerror=alert(1)><b>'&amp;<!--"""
NETWORKS = ["region", "cascade", "whole_face"]


class Tags(html.parser.HTMLParser):
    """All tags of a page in order, with the names of their attributes, and the text that is shown."""

    def __init__(self, text):
        super().__init__()
        self.found, self.shown = [], ""
        self.feed(re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, sorted(name for name, _ in attributes)))

    def handle_data(self, data):
        self.shown += data


def rewrite(run, **changes):
    """Write the evaluation of a run with other values, as evaluate would have."""
    results.write(run.place("evaluate"), {**results.read(run.place("evaluate")), **changes})


@pytest.fixture(scope="module")
def text(evaluated):
    """The report of the run that no test changes."""
    return report.make(runs.Run.read(evaluated / "run"))


def test_the_page_begins_with_run_and_data_and_then_the_answer(evaluated, text):
    result = results.read(evaluated / "run/evaluation")
    headings = re.findall(r"<h2>(.*)</h2>", text)
    sections = [
        "Summary",
        "Attributes",
        "One attribute",
        "Regions",
        "Worst errors",
        "Groups",
        "The paper",
        "Model card",
    ]
    assert headings == sections
    mean = results.mean(result.networks["cascade"], "prior-corrected")
    order = ["Evaluated", result.date, "Intended use", 'class="answer"', f"accuracy of {mean.accuracy.value:.3f}"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    shown = Tags(text).shown
    for words in (
        "IoU",
        "Pointing-game accuracy",
        "True box",
        "Balanced accuracy",
        "women",
        "synthetic",
        "8 in the test",
    ):
        assert words in shown, words
    assert "differs in more than the region" in shown and "differs in the region only" not in shown


def test_prior_corrected_and_tuned_accuracies_are_on_the_page(evaluated, text):
    """Tuned accuracy alone is not the best headline: it may lie under the majority baseline."""
    result, shown = results.read(evaluated / "run/evaluation"), Tags(text).shown
    for name in NETWORKS:
        for decision in ("prior-corrected", "tuned"):
            assert f"{page.heading(name)}, {decision}" in shown
            assert f"{results.mean(result.networks[name], decision).accuracy.value:.3f}" in shown


def test_the_page_names_no_path_of_this_machine(evaluated, text):
    """Once the folder of the run, of the weights and of the LMDBs were on it."""
    for folder in (evaluated, runs.REPOSITORY, runs.pathlib.Path.home()):
        assert str(folder) not in text
    assert "<h1>Report: run</h1>" in text and "LMDBs in lmdb" in text and "average/average.caffemodel" not in text
    assert page.place(runs.REPOSITORY / "build/x") == "build/x" and page.place("/home/someone/faces") == "faces"


def test_the_page_needs_no_network(text):
    addresses = re.findall(r"(?:href|src)=\"([^\"]{0,20})", text)
    assert addresses and all(address.startswith(("#", "data:image/jpeg;base64,"[:20])) for address in addresses)
    assert not re.findall(r"@import|url\(|fetch\(", text)
    assert len(re.findall(r'<image id="face\d+"', text)) == len(set(re.findall(r'<image id="(face\d+)"', text)))


def test_every_part_of_a_page_escapes_its_text():
    pieces = page.picker(HOSTILE, {HOSTILE: HOSTILE, "two": ""}, HOSTILE)
    pieces += page.table([HOSTILE, HOSTILE], [[HOSTILE, f"1 ({HOSTILE})"]] * 3, HOSTILE, mean=True)
    pieces = str(pieces) + page.page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    assert not {"img", "b"} & {tag for tag, _ in Tags(pieces).found} and "<img" not in pieces


def test_markup_in_what_a_run_says_is_shown_as_text(run):
    """Once a defect: engine, paths and outputs in the log appeared as tags."""
    (run.folder / "region" / "train.log").write_text(
        f"Iteration 0, loss = 1\n    Train net output #0: loss{HOSTILE.replace(' ', '')} = 0.5\nIteration 9, loss = 1\n"
    )
    plain = Tags(report.make(run))
    for network in (networks := results.read(run.place("evaluate")).networks).values():
        network.update(engine=f"engine {HOSTILE}", device=f"cpu {HOSTILE}")
    rewrite(run, networks=networks, commit=f"commit {HOSTILE}", date=f"date {HOSTILE}")
    hostile = Tags(report.make(run))
    assert hostile.found == plain.found and hostile.shown.count("onerror") >= 4
    for start in ("engine ", "cpu ", "commit ", "date ", "loss"):
        assert start + HOSTILE.replace(" ", "" if start == "loss" else " ") in hostile.shown, start


@pytest.mark.parametrize(
    "attributes, stages, boxes, synthetic, kind, licence",
    (
        (["Smiling"], ("region", "average", "cascade"), True, True, None, "they show nobody"),
        (["wears_glasses"], ("region",), False, False, "csv", "The data are your own: their licence"),
        ([f"a{number}" for number in range(20)], ("whole_face",), False, False, "celeba", "CelebA is for non-commerc"),
    ),
)
def test_every_kind_of_run_has_its_report_and_its_data_their_licence(
    tmp_path, attributes, stages, boxes, synthetic, kind, licence
):
    """Once own CSV data got CelebA's licence text."""
    data = {"attributes": attributes, "boxes": boxes, "synthetic": synthetic}
    run = evaluation_files.make(tmp_path, stages, **data, source=kind and manifest.Source(kind, "x"))
    text = report.make(run)
    shown = Tags(text).shown
    assert ("True box" in shown) == boxes and ("<h2>Groups</h2>" in text) == (len(attributes) > 1)
    assert ("<tfoot>" in text) == (len(attributes) > 1) and ("The faces are synthetic" in shown) == synthetic
    assert licence in shown and ("CelebA" in shown) == (kind == "celeba")
    if "whole_face" not in stages:
        (data,) = re.findall(r'<script type="application/json">(.*)</script>', text)
        assert all(json.loads(data)["entries"])
    if len(stages) == 1:
        assert "no other network was evaluated that it could be compared with" in shown


def test_regions_on_the_page_equal_those_of_the_layer(evaluated, text):
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', text)
    folder = evaluated / "run/evaluation"
    arrays = results.read_arrays(folder, "cascade", results.read(folder))
    raw = localisation.regions_of(arrays, arrays["response"], revise=False)
    for index, of_attribute in enumerate(json.loads(data)["entries"]):
        assert {entry["words"].startswith("Truth: present") for entry in of_attribute} == {True, False}
        for entry in of_attribute:
            face = int(entry["face"].removeprefix("face"))
            assert entry["words"].startswith("Truth: present") == arrays["labels"][face, index]
            assert np.allclose(entry["final"], arrays["rois_image"][face, index], atol=0.51)
            assert np.allclose(entry["region"], raw[face, index], atol=0.51)
            assert np.allclose(entry["response"], arrays["response"][face, index].ravel(), atol=0.006)
            present = entry["words"].startswith("Truth: present")
            assert entry["truth"] == (evaluation_files.BOX if present else None)


def test_a_model_that_bvlc_caffe_trained_gets_its_report(run):
    """Once it was to be written under the Python of BVLC Caffe, which has no templates."""
    run.settings.engine = "bvlc"
    run.write()
    model.follow(run, ("report", "report"))
    assert (run.folder / "report.html").exists()


# The answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "low, high, verdict",
    (
        (0.01, 0.03, "the cascade is more accurate."),
        (-0.03, 0.03, "no difference is shown."),
        (-0.03, -0.01, "less accurate."),
    ),
)
def test_the_verdict_follows_from_the_interval(run, low, high, verdict):
    measures = dict.fromkeys(results.NAMES, results.estimate((low + high) / 2, low, high))
    rewrite(run, differences=[dict(measures, network="cascade", minus="whole_face", decision="prior-corrected")])
    answer = Tags(str(accuracy.headline(Opened(run)))).shown
    assert verdict in answer and f"{low:+.3f} to {high:+.3f}" in answer and "the whole face" in answer
    run.stages["cascade"].images = 2 * run.stages["whole_face"].images
    assert "The budgets differ, so the difference may come from them" in str(accuracy.headline(Opened(run)))
    run.stages["cascade"].images = run.stages["whole_face"].images
    assert "The budgets are equal." in str(accuracy.headline(Opened(run)))


# Legibility -------------------------------------------------------------------------------------------------


def test_numbers_are_short_in_tables():
    assert summary.interval(results.estimate(0.9724, 0.957, 0.985)) == "0.972 (0.957 to 0.985)"
    assert summary.cell(1.0) == "1.000" and summary.cell(None) == "-"
    assert summary.cell(-0.0031, "+") == "-0.003" and summary.cell(0.0, "+") == "+0.000"


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_sufficient_in_both_modes_and_on_paper():
    blocks = re.findall(r":root \{(.*?)\}", (page.TEMPLATES / "style.css").read_text(), re.DOTALL)
    modes = [dict(re.findall(r"(--\w+): (#[0-9a-f]{6});", block)) for block in blocks]
    assert len(modes) == 3 and len({frozenset(mode) for mode in modes}) == 1  # light, dark, print
    for mode in modes:
        for name, colour in mode.items():
            if name not in ("--paper", "--card", "--line"):
                for ground in ("--paper", "--card"):
                    assert contrast(colour, mode[ground]) >= 4.5, (name, ground, mode)
    assert contrast("#ffffff", "#000000") == pytest.approx(21)


# Curves, groups, errors, training ---------------------------------------------------------------------------


def test_curves_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    label = rng.random(200) < 0.3
    score = (rng.normal(size=200) + label).round(1)  # with equal scores
    counts = {"a": metrics.curve(score, label)}
    tuned = metrics.Counts(*(part[0] for part in metrics.count((score > 0.5)[:, np.newaxis], label[:, np.newaxis])))
    assert f"area {sklearn_metrics.roc_auc_score(label, score):.3f}" in curves.roc(counts, tuned)
    assert f"area {sklearn_metrics.average_precision_score(label, score):.3f}" in curves.precision_recall(counts, tuned)
    assert curves.roc({"a": metrics.curve(score, np.zeros(200, bool))}, tuned) == ""
    matrix = sklearn_metrics.confusion_matrix(label, score > 0.5)
    assert [[tuned.tn, tuned.fp], [tuned.fn, tuned.tp]] == matrix.tolist()


def test_calibration_error_of_known_probabilities():
    label = np.arange(1000) % 10 < 3  # three of ten in every bin
    for probability, expected in ((0.3, 0), (0.8, 0.5)):
        _, error = curves.reliability(np.full(1000, probability), label)
        assert error == pytest.approx(expected)


def test_groups_are_accuracies_of_their_faces():
    rng = np.random.default_rng(1)
    labels, right = rng.random((60, 3)) < 0.5, rng.random((60, 3)) < 0.8
    without, having = groups.accuracies(right, labels, np.arange(60), 200)[1]
    inside = labels[:, 1]
    assert [one.value for one in having[:3]] == pytest.approx(right[inside].mean(axis=0))
    assert without[3].value == pytest.approx(right[~inside][:, [0, 2]].mean())
    assert all(one.low <= one.value <= one.high for one in without + having)
    labels[:, 0] = True
    without, _ = groups.accuracies(right, labels, np.arange(60), 10)[0]
    assert [one.value for one in without] == [None] * 4  # no face without it


def test_worst_errors_spell_out_truth_and_answer(evaluated, text):
    opened = Opened(runs.Run.read(evaluated / "run"))
    decisions, _ = opened.answers("cascade")
    for index, attribute in enumerate(opened.attributes):
        wrong = int((decisions[:, index] != opened.labels[:, index]).sum())
        assert f"{wrong} of 24 faces are answered wrongly" in text
        assert text.count(f"Truth: <b>{attribute} ") == min(wrong, 8)


def stage_log(folder, stopped):
    """A log of two iterations with validation and a step of the learning rate between them."""
    lines = []
    for iteration, rate in ((0, 0.01), (10, 0.001)):
        on = int(not (stopped and iteration))
        lines += [f"Iteration {iteration}, Testing net (#0)"]
        lines += [f"    Test net output #0: accuracy_region = 0.{5 + iteration}"]
        lines += [f"Iteration {iteration}, loss = 0.5", f"    Train net output #0: attributes_training = {1 + on}"]
        lines += [f"Iteration {iteration}, lr = {rate}"]
    (folder / "train.log").write_text("\n".join(lines))


def test_training_shows_steps_stages_in_order_and_early_stopping_where_it_happened(run):
    for name in ("whole_face", "region", "cascade"):
        stage_log(run.folder / name, stopped=name == "cascade")
    text = report.make(run)
    text = text[text.index("<h2>Training</h2>") : text.index("<h2>The paper</h2>")]
    parts = text.split("<h3>")
    named = [part for part in parts if part.startswith(("Task one alone<", "Cascade<", "Whole face<"))]
    assert [part.partition("<")[0] for part in named] == ["Task one alone", "Cascade", "Whole face"]
    assert text.count("<figcaption>Attributes that early stopping lets train") == 1  # in the cascade alone
    assert text.count(">learning rate 0.001</text>") == 7  # in each of these charts
    assert text.count("<figcaption>Validation accuracy at p &gt; 0.5, mean") == 3
    assert "<td>8</td>" in text  # images per attribute of the first stage


# What has changed is refused --------------------------------------------------------------------------------


def refusal(make):
    with pytest.raises((ToolError, OSError)) as error:
        make()
    assert "\n" not in str(error.value)
    return str(error.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def edit(path):
    path.write_text(re.sub('"value": 0.[0-9]+', '"value": 0.99999', path.read_text(), count=1))


@pytest.mark.parametrize(
    "lose, words",
    (
        (lambda run: edit(run.folder / "evaluation/evaluation.json"), "evaluation.json: damaged or changed since"),
        (lambda run: evaluation_files.write_manifest(run.lmdb, synthetic=False), "the data changed since"),
        (lambda run: cut(run.lmdb / "test_images/data.mdb"), "changed or damaged since it was built"),
        (lambda run: cut(run.folder / "evaluation/region.npz"), "region.npz: damaged"),
        (lambda run: cut(run.folder / "cascade/cascade.caffemodel"), "cascade.caffemodel: changed since cascade was"),
        (lambda run: (run.folder / "cascade/cascade.caffemodel").unlink(), "cascade.caffemodel: missing"),
    ),
)
def test_files_that_changed_since_the_evaluation_are_refused(run, lose, words):
    lose(run)
    assert words in refusal(lambda: report.make(run))


def test_a_report_is_refused_unless_the_evaluation_is_of_the_current_weights(run):
    for state in ("running", "interrupted", "failed"):
        changed = dict(run.stages, cascade=record.Stage({}, state))
        other = runs.Run(run.folder, run.data, run.settings, changed)
        words = f"not of the weights that the run has now: stage cascade is {state}"
        assert words in refusal(lambda other=other: Opened(other))
    run.stages["average"] = dataclasses.replace(run.stages["average"], checksum="another")
    assert "not of the weights that the run has now: stage average is done" in refusal(lambda: Opened(run))
    (run.place("evaluate") / results.NAME).unlink()
    assert "evaluate first: face-cascade evaluate --run" in refusal(lambda: Opened(run))


# Comparison -------------------------------------------------------------------------------------------------


def test_a_comparison_shows_both_runs_their_baseline_and_what_differs(evaluated, run, tmp_path):
    other = evaluation_files.copied(evaluated, tmp_path / "other")
    other.stages["cascade"].inputs.update({"network.seed": 2, "network.batch": 6})
    folder = other.place("evaluate")
    arrays = results.load_arrays(folder / "cascade.npz")
    arrays["logits"] = np.where(arrays["labels"], 3.0, -3.0)
    results.write_arrays(folder / "cascade.npz", **arrays)
    networks = results.read(folder).networks
    networks["cascade"]["arrays"] = sha256(folder / "cascade.npz")
    other.write()
    rewrite(other, networks=networks)
    text = Tags(compare.make(Opened(run), Opened(other))).shown
    assert "so the differences are paired" in text
    assert "The cascade of B has a mean accuracy of 1.000" in text and "so B is better" in text
    majority = results.mean(networks["cascade"]).majority
    assert "Majority baseline" in text and f"the more frequent answer has an accuracy of {majority:.3f}" in text
    for words in ("Only B right", "cascade: seed", "cascade: batch"):
        assert words in text
    rows = compare.differences(Opened(run), Opened(other), "cascade", list(evaluation_files.ATTRIBUTES))
    right = Opened(run).scored("cascade", 0)
    right = right.decided["prior-corrected"] == right.labels
    for place, row in enumerate(rows[:-1]):
        assert row.only == (int((~right[:, place]).sum()), 0)
        assert row.difference.value == pytest.approx(1 - right[:, place].mean())


def test_runs_on_other_faces_are_compared_without_pairs(run, tmp_path):
    other = evaluation_files.make(tmp_path / "other", ("region", "average"), persons=False)
    rewrite(other, resamples=70)  # other than those of the first run
    text = Tags(compare.make(Opened(run), Opened(other))).shown
    assert "The runs answered different faces" in text and "Majority, A" in text and "Only B right" not in text
    third = evaluation_files.make(tmp_path / "third", ("region",), attributes=["Young"])
    assert "no attribute in common" in refusal(lambda: compare.make(Opened(run), Opened(third)))
    shutil.rmtree(third.folder)
    with pytest.raises(ToolError, match="no run in it"):
        runs.Run.read(third.folder)


# `face-cascade evaluate` and `face-cascade report` ----------------------------------------------------------

HERE = ("--caffe", "torch", "--resamples", "20")  # so that this process is not replaced by BVLC Caffe's Python


def test_moved_data_are_named_once(run, cascade, fails, tmp_path):
    """Once a dead end: --lmdb was refused for a run."""
    moved = run.lmdb.rename(tmp_path / "moved")
    fails("evaluate", "--run", run.folder, says="no LMDBs in it")
    status, said, _ = cascade("evaluate", "--run", run.folder, "--lmdb", moved, "--resamples", 20)
    assert status == 0 and "already evaluated" in said and runs.Run.read(run.folder).lmdb == moved
    other = evaluation_files.write_lmdb(tmp_path / "other", synthetic=False)
    fails("evaluate", "--run", run.folder, "--lmdb", other, says="holds other data than")
    assert cascade("report", "--run", run.folder)[0] == 0


def test_weights_that_were_handed_on_have_a_report_until_they_change(run, cascade, fails, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(run.deploy("cascade"), model / "deploy.prototxt")
    shutil.copy(run.weights("cascade"), model / "cascade.caffemodel")
    fails("evaluate", "--run", model, *HERE, says="is not recorded; name LMDBs to evaluate it on: --lmdb")
    assert cascade("evaluate", "--run", model, *HERE, "--lmdb", run.lmdb)[0] == 0
    assert cascade("report", "--run", model / "cascade.caffemodel") == cascade("report", "--run", model)
    assert "Model card" in (model / "report.html").read_text()
    shutil.copy(run.folder / "whole_face/whole_face.caffemodel", model / "cascade.caffemodel")
    fails("report", "--run", model, says="not of the weights that the run has now")


def test_the_report_takes_one_run_or_two(run, cascade, fails):
    fails("report", "--run", run.folder, "--compare", run.folder.parent, says="no run in it")
    assert cascade("report", "--run", run.folder)[0] == 0 and (run.folder / "report.html").exists()
    assert cascade("report", "--run", run.folder, "--compare", run.folder)[0] == 0
    assert "neither is shown to be better" in (run.folder / "comparison.html").read_text()
    assert cascade("report", "--run", run.folder, "--out", run.folder / "one.html")[0] == 0
    assert (run.folder / "one.html").read_text() == (run.folder / "report.html").read_text()


def test_wrong_options_of_evaluate_are_reported_in_one_line(fails):
    fails("evaluate", "--split", "train", says="must be val or test, not 'train'")
    fails("evaluate", "--tune", "f2", says="must be accuracy, balanced_accuracy or f1, not 'f2'")
