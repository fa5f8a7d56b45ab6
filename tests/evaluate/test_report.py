"""The report of an evaluation: complete, safe against markup in names, refused if its inputs have changed."""

import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import xml.etree.ElementTree as ElementTree

import evaluation_files
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from data_prep.store import manifest
from tools import model, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import localisation, metrics, results
from tools.evaluate.results import estimate
from tools.report import accuracy, charts, compare, curves, page, report
from tools.report.report import Opened

HOSTILE = """"><img src=x onerror=alert(1)><b>'&amp;<!--"""
HEADINGS = ["Summary", "Attributes", "One attribute", "Regions", "Worst errors", "Groups", "The paper", "Model card"]


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
def opened(evaluated):
    """The evaluation that no test changes."""
    return Opened(runs.Run.read(evaluated / "run"))


@pytest.fixture(scope="module")
def text(opened):
    """Its report."""
    return report.make(opened.run)


def test_the_page_begins_with_run_and_data_and_then_the_answer(opened, text):
    assert re.findall(r"<h2>(.*)</h2>", text) == HEADINGS
    result, shown = opened.result, Tags(text).shown
    mean = results.mean(result.networks["cascade"], "prior-corrected")
    order = ["Evaluated", result.date, "Intended use", 'class="answer"', f"accuracy of {mean.accuracy.value:.3f}"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    for words in ("IoU", "Pointing-game accuracy", "True box", "Balanced accuracy", "women", "8 in the test"):
        assert words in shown, words
    for name in opened.names:  # tuned accuracy alone may lie under the majority baseline
        for decision in ("prior-corrected", "tuned"):
            assert f"{page.heading(name)}, {decision}" in shown
            assert f"{results.mean(result.networks[name], decision).accuracy.value:.3f}" in shown
    assert "differs in more than the region" in shown and "differs in the region only" not in shown


def test_the_page_names_no_path_of_this_machine_and_needs_no_network(evaluated, text):
    """Once the folder of the run, of the weights and of the LMDBs were on it."""
    for folder in (evaluated, runs.REPOSITORY, pathlib.Path.home()):
        assert str(folder) not in text
    assert "<h1>Report: run</h1>" in text and "LMDBs in lmdb" in text and "average/average.caffemodel" not in text
    assert page.place(runs.REPOSITORY / "build/x") == "build/x" and page.place("/home/someone/faces") == "faces"
    addresses = re.findall(r"(?:href|src)=\"([^\"]{0,20})", text)
    assert addresses and all(address.startswith(("#", "data:image/jpeg;base64,"[:20])) for address in addresses)
    assert not re.findall(r"@import|url\(|fetch\(", text)


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
    if len(stages) == 1:
        assert "no other network was evaluated that it could be compared with" in shown


def test_regions_and_worst_errors_on_the_page_are_those_of_the_network(opened, text):
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', text)
    arrays = opened.arrays["cascade"]
    raw = localisation.regions_of(arrays, arrays["response"], revise=False)
    for index, of_attribute in enumerate(json.loads(data)["entries"]):
        assert {entry["words"].startswith("Truth: present") for entry in of_attribute} == {True, False}
        for entry in of_attribute:
            face = int(entry["face"].removeprefix("face"))
            present = entry["words"].startswith("Truth: present")
            assert present == arrays["labels"][face, index]
            assert np.allclose(entry["final"], arrays["rois_image"][face, index], atol=0.51)
            assert np.allclose(entry["region"], raw[face, index], atol=0.51)
            assert np.allclose(entry["response"], arrays["response"][face, index].ravel(), atol=0.006)
            assert entry["truth"] == (evaluation_files.BOX if present else None)
    decisions, _ = opened.answers("cascade")
    for attribute, wrong in zip(opened.attributes, (decisions != opened.labels).sum(axis=0)):
        assert f"{wrong} of 24 faces are answered wrongly" in text
        assert text.count(f"Truth: <b>{attribute} ") == min(wrong, 8)


def test_a_model_that_bvlc_caffe_trained_gets_its_report(run):
    """Once it was to be written under the Python of BVLC Caffe, which has no templates."""
    run.settings.engine = "bvlc"
    run.write()
    model.follow(run, ("report", "report"))
    assert (run.folder / "report.html").exists()


@pytest.mark.parametrize(
    "low, high, verdict",
    (
        (0.01, 0.03, "the cascade is more accurate."),
        (-0.03, 0.03, "no difference is shown."),
        (-0.03, -0.01, "less accurate."),
    ),
)
def test_the_verdict_follows_from_the_interval(run, low, high, verdict):
    measures = dict.fromkeys(results.NAMES, estimate((low + high) / 2, low, high))
    rewrite(run, differences=[dict(measures, network="cascade", minus="whole_face", decision="prior-corrected")])
    answer = Tags(str(accuracy.headline(Opened(run)))).shown
    assert verdict in answer and f"{low:+.3f} to {high:+.3f}" in answer and "the whole face" in answer
    for factor, words in ((2, "The budgets differ, so the difference may come"), (1, "The budgets are equal.")):
        run.stages["cascade"].images = factor * run.stages["whole_face"].images
        assert words in str(accuracy.headline(Opened(run)))


# Curves, groups, training -----------------------------------------------------------------------------------


def test_curves_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    label = rng.random(200) < 0.3
    score = (rng.normal(size=200) + label).round(1)  # with equal scores
    counts = {"a": metrics.curve(score, label)}
    tuned = metrics.Counts(*(part[0] for part in metrics.count((score > 0.5)[:, np.newaxis], label[:, np.newaxis])))
    areas = sklearn_metrics.roc_auc_score(label, score), sklearn_metrics.average_precision_score(label, score)
    for area, is_roc in zip(areas, (True, False)):
        assert f"area {area:.3f}" in curves.curve(counts, tuned, is_roc)
    assert curves.curve({"a": metrics.curve(score, np.zeros(200, bool))}, tuned, True) == ""
    matrix = sklearn_metrics.confusion_matrix(label, score > 0.5)
    assert [[tuned.tn, tuned.fp], [tuned.fn, tuned.tp]] == matrix.tolist()
    label = np.arange(1000) % 10 < 3  # three of ten in every bin
    for probability, expected in ((0.3, 0), (0.8, 0.5)):
        assert f"calibration error {expected:.3f}" in curves.reliability(np.full(1000, probability), label)


def test_groups_are_accuracies_of_their_faces():
    rng = np.random.default_rng(1)
    labels, right = rng.random((60, 3)) < 0.5, rng.random((60, 3)) < 0.8
    without, having = accuracy.accuracies(right, labels, np.arange(60), 200)[1]
    inside = labels[:, 1]
    assert [one.value for one in having[:3]] == pytest.approx(right[inside].mean(axis=0))
    assert without[3].value == pytest.approx(right[~inside][:, [0, 2]].mean())
    assert all(one.low <= one.value <= one.high for one in without + having)
    labels[:, 0] = True
    without, _ = accuracy.accuracies(right, labels, np.arange(60), 10)[0]
    assert [one.value for one in without] == [None] * 4  # no face without it


def parsed(text):
    return ElementTree.fromstring(f"<div>{text}</div>")


def test_curves_have_steps_intervals_and_a_diagonal():
    series = charts.curve("cascade", [(0, 0.5), (0.5, 0.75), (1, 1)], 1, [(0.5, 0.7, 0.8)])
    unit = charts.Axis("x", 0, 1), charts.Axis("y", 0, 1)
    tree = parsed(charts.plot([series], *unit, "t <", [(0.5, "rate <"), (7, "outside")], diagonal=True))
    diagonal, step = (line for line in tree.iter("line") if line.get("class") == "reference")
    assert diagonal.get("x1") == str(charts.LEFT) and diagonal.get("y2") == str(charts.TOP)
    (line,) = tree.iter("polyline")
    middle, height = map(float, line.get("points").split()[1].split(","))
    (error,) = (one for one in tree.iter("line") if one.get("class") == "line s1" and one.get("y1") != "6")
    assert float(error.get("y2")) < height < float(error.get("y1"))
    assert float(error.get("x1")) == middle == float(step.get("x1"))  # where the curve has this x
    assert charts.plot([charts.curve("none", [])], *unit, "t") == ""


def test_dots_lie_in_their_intervals():
    rows = [("Male", [estimate(0.95, 0.9, 1.0), estimate(), estimate(0.5)], 0.6)]
    tree = parsed(charts.dots(rows, ["a", "b", "c"], "accuracy", 0.0, 1.0, "majority"))
    drawing = next(one for one in tree.iter("svg") if one.get("role") == "img")
    assert drawing.get("aria-label") == "Male: a 0.950 (0.900 to 1.000) c 0.500"
    (interval,) = (line for line in drawing.iter("line") if line.get("class") == "line s0")
    (base,) = (line for line in drawing.iter("line") if line.get("class") == "base")
    dots = [one for one in drawing.iter("svg") if one.get("overflow")]
    places = [float(x.rstrip("%")) for x in (interval.get("x1"), dots[0].get("x"), interval.get("x2"), base.get("x1"))]
    assert places == [90, 95, 100, 60] and len(dots) == 2


LOG = """Iteration {at}, Testing net (#0)
    Test net output #0: accuracy_region = 0.6
Iteration {at}, loss = 0.5
    Train net output #0: attributes_training = {training}
Iteration {at}, lr = {rate}
"""


def test_training_shows_steps_stages_in_order_and_early_stopping_where_it_happened(run):
    for name in ("whole_face", "region", "cascade"):
        text = LOG.format(at=0, rate=0.01, training=2)
        text += LOG.format(at=10, rate=0.001, training=1 if name == "cascade" else 2)
        (run.folder / name / "train.log").write_text(text)
    text = report.make(run)
    text = text[text.index("<h2>Training</h2>") : text.index("<h2>The paper</h2>")]
    parts = [part.partition("<")[0] for part in text.split("<h3>")]
    names = ["Task one alone", "Cascade", "Whole face"]
    assert [part for part in parts if part in names] == names
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


@pytest.mark.parametrize(
    "lose, words",
    (
        (lambda run: evaluation_files.write_manifest(run.lmdb, synthetic=False), "the data changed since"),
        (lambda run: cut(run.lmdb / "test_images/data.mdb"), "changed or damaged since it was built"),
        (lambda run: cut(run.folder / "cascade/cascade.caffemodel"), "cascade.caffemodel: changed since cascade was"),
    ),
)
def test_files_that_changed_since_the_evaluation_are_refused(run, lose, words):
    """Those of the evaluation itself: test_records.py."""
    lose(run)
    assert words in refusal(lambda: report.make(run))


def test_a_report_is_refused_unless_the_evaluation_is_of_the_current_weights(run):
    other = runs.Run(run.folder, run.data, run.settings, dict(run.stages, cascade=record.Stage({}, "interrupted")))
    words = "not of the weights that the run has now: stage cascade is interrupted"
    assert words in refusal(lambda: Opened(other))
    run.stages["average"] = dataclasses.replace(run.stages["average"], checksum="another")
    assert "not of the weights that the run has now: stage average is done" in refusal(lambda: Opened(run))
    (run.place("evaluate") / results.NAME).unlink()
    assert "evaluate first: face-cascade evaluate --run" in refusal(lambda: Opened(run))


# Comparison -------------------------------------------------------------------------------------------------


def test_a_comparison_shows_both_runs_their_baseline_and_what_differs(opened, evaluated, run, tmp_path):
    other = evaluation_files.copied(evaluated, tmp_path / "other")
    other.stages["cascade"].inputs.update({"network.seed": 2, "network.batch": 6})
    other.write()
    folder = other.place("evaluate")
    arrays = results.load_arrays(folder / "cascade.npz")
    arrays["logits"] = np.where(arrays["labels"], 3.0, -3.0)
    arrays = results.write_arrays(folder / "cascade.npz", [], arrays)
    networks = results.read(folder).networks
    networks["cascade"]["arrays"] = arrays[results.INPUTS][-1]
    rewrite(other, networks=networks)
    text = Tags(compare.make(Opened(run), Opened(other))).shown
    assert "so the differences are paired" in text
    assert "The cascade of B has a mean accuracy of 1.000" in text and "so B is better" in text
    majority = results.mean(networks["cascade"]).majority
    assert "Majority baseline" in text and f"the more frequent answer has an accuracy of {majority:.3f}" in text
    for words in ("Only B right", "cascade: seed", "cascade: batch"):
        assert words in text
    rows = compare.differences(opened, Opened(other), "cascade", list(evaluation_files.ATTRIBUTES))
    right = opened.scored("cascade").decided["prior-corrected"] == opened.labels
    for place, row in enumerate(rows[:-1]):
        assert row.only == (int((~right[:, place]).sum()), 0)
        assert row.difference.value == pytest.approx(1 - right[:, place].mean())


def test_only_runs_on_the_same_faces_are_compared(opened, tmp_path):
    other = evaluation_files.make(tmp_path, ("region", "average"), attributes=["Male"], boxes=False)
    assert "other test faces, so nothing" in refusal(lambda: compare.make(opened, Opened(other)))


# `face-cascade evaluate` and `face-cascade report` ----------------------------------------------------------


def test_moved_data_are_named_once(run, cascade, fails, tmp_path):
    """Once a dead end: --lmdb was refused for a run."""
    moved = run.lmdb.rename(tmp_path / "moved")
    fails("evaluate", "--run", run.folder, says="no LMDBs in it")
    status, said, _ = cascade("evaluate", "--run", run.folder, "--lmdb", moved, "--resamples", 20)
    assert status == 0 and said.count("not computed again") == 3 and runs.Run.read(run.folder).lmdb == moved
    other = evaluation_files.write_lmdb(tmp_path / "other", synthetic=False)
    fails("evaluate", "--run", run.folder, "--lmdb", other, says="was made from other data than")
    fails("report", "--run", run.folder, "--compare", tmp_path, says="no run in it")
    out = run.folder / "two.html"
    assert cascade("report", "--run", run.folder, "--compare", run.folder, "--out", out)[0] == 0
    assert "neither is shown to be better" in out.read_text()


def test_weights_that_were_handed_on_have_a_report_until_they_change(run, cascade, fails, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(run.deploy("cascade"), folder / "deploy.prototxt")
    shutil.copy(run.weights("cascade"), folder / "cascade.caffemodel")
    words = ["evaluate", "--run", folder, "--resamples", 20, "--caffe", "torch"]  # BVLC's would replace this process
    fails(*words, says="is not recorded; name LMDBs to evaluate it on: --lmdb")
    assert cascade(*words, "--lmdb", run.lmdb)[0] == 0
    assert cascade("report", "--run", folder / "cascade.caffemodel") == cascade("report", "--run", folder)
    assert "Model card" in (folder / "report.html").read_text()
    shutil.copy(run.folder / "whole_face/whole_face.caffemodel", folder / "cascade.caffemodel")
    fails("report", "--run", folder, says="not of the weights that the run has now")
