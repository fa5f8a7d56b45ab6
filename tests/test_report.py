"""The report of an evaluation: complete, legible, safe against markup in names, refused if its inputs have changed."""

import argparse
import dataclasses
import html.parser
import json
import re
import shutil

import evaluation_files
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from test_words import banned

from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import localisation, metrics, results
from tools.report import card, compare, curves, groups, headline, page, report, training
from tools.report.opened import Opened
from tools.train import estimate

HOSTILE = """"><img src=x onerror=alert(1)><b>'&amp;<!--"""
NETWORKS = ["region", "cascade", "whole_face"]


class Tags(html.parser.HTMLParser):
    """All tags of a page in order, with the names of their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found, self.shown = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, sorted(name for name, _ in attributes)))

    def handle_data(self, data):
        self.shown += data


def log(word):
    """A training log in which an output of the network is named by a word."""
    name = word.replace(" ", "")
    return f"""I0210 13:39:22.381027 25210 solver.cpp:204] Iteration 0, loss = 1.5
I0210 13:39:22.381027 25210 solver.cpp:204]     Train net output #0: loss{name} = 0.5 (* 1 = 0.5 loss)
I0210 13:39:22.381027 25210 solver.cpp:204] Iteration 10, Testing net (#0)
I0210 13:39:22.381027 25210 solver.cpp:204]     Test net output #0: accuracy_attribute_each = 0.5
I0210 13:39:22.381027 25210 solver.cpp:204]     Test net output #1: accuracy_attribute_each = 0.75
"""


def made(folder, word):
    """A report whose every free string holds a word."""
    attributes, names = [f"Male{word}", f"Young{word}"], [f"one{word}", f"two{word}"]
    evaluation, _ = evaluation_files.make(folder, attributes, names, word)
    stage = folder / f"stage{word}"
    stage.mkdir()
    (stage / "train.log").write_text(log(word))
    return report.make(evaluation, folder)


def test_markup_in_names_is_shown_as_text(tmp_path):
    """Once a defect: engine, network, paths and names of evaluation.json appeared as tags."""
    plain, hostile = Tags(made(tmp_path / "plain", "plain")), Tags(made(tmp_path / "hostile", HOSTILE))
    assert hostile.found == plain.found
    assert hostile.shown.count("onerror") >= 10
    for start in ("engine ", "cpu ", "source ", "commit ", "Male", "one", "loss", "lmdb ", "Stage"):
        assert start + HOSTILE.replace(" ", "" if start == "loss" else " ") in hostile.shown, start


def test_every_part_of_a_page_escapes_its_text():
    pieces = page.facts({HOSTILE: HOSTILE}) + page.picker(HOSTILE, {HOSTILE: HOSTILE, "two": ""}, HOSTILE)
    pieces += page.table([HOSTILE, HOSTILE], [[HOSTILE, page.Cell(HOSTILE, HOSTILE, HOSTILE)]], [HOSTILE, 1], HOSTILE)
    pieces = str(pieces) + page.page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})
    assert not {"img", "b"} & {tag for tag, _ in Tags(pieces).found}
    assert "<img" not in pieces


@pytest.fixture
def evaluation(tmp_path):
    return evaluation_files.make(tmp_path, ["Male", "Smiling"], ["region", "cascade"])


def test_the_page_begins_with_run_and_data_and_then_the_answer(evaluation):
    folder, result = evaluation
    text = report.make(folder)
    headings = re.findall(r"<h2>(.*)</h2>", text)
    assert headings == ["Summary", "Attributes", "One attribute", "Regions", "Worst errors", "Groups", "Model card"]
    mean = results.rows(result.networks["cascade"])[-1]
    order = [
        "Evaluated",
        result.date,
        result.commit,
        "Intended use",
        'class="answer"',
        f"accuracy of {mean.accuracy:.3f}",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    for words in ("IoU", "Pointing-game accuracy", "Box coverage", "Balanced accuracy", "women", "synthetic"):
        assert words in text
    shown = Tags(text).shown.replace("train whole_face", "").partition('"use strict"')[0]
    assert not banned(shown)
    for words in ("overlap", "covered", ">hit<", "whole_face"):
        assert words not in shown


def test_the_page_needs_no_network(evaluation):
    text = report.make(evaluation[0])
    addresses = re.findall(r"(?:href|src)=\"([^\"]{0,20})", text)
    assert addresses and all(address.startswith(("#", "data:image/jpeg;base64,"[:20])) for address in addresses)
    assert not re.findall(r"@import|url\(|fetch\(", text)
    assert len(re.findall(r'<image id="face\d+"', text)) == len(set(re.findall(r'<image id="(face\d+)"', text)))


@pytest.mark.parametrize(
    "attributes, names, boxes",
    (
        (["Male", "Smiling"], NETWORKS, True),
        (["Smiling"], NETWORKS[:2], True),
        (["wears glasses"], ["region"], False),
        ([f"a{number}" for number in range(20)], NETWORKS, False),
    ),
)
def test_every_kind_of_run_has_its_report(tmp_path, attributes, names, boxes):
    folder, _ = evaluation_files.make(tmp_path, attributes, names, boxes=boxes)
    text = report.make(folder, tmp_path)
    shown = Tags(text).shown
    assert ("True box" in shown) == boxes and ("<h2>Groups</h2>" in text) == (len(attributes) > 1)
    assert ("<tfoot>" in text) == (len(attributes) > 1) and ("whole face" in shown) == (len(names) != 1)
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', text)
    assert [len(of_attribute) > 0 for of_attribute in json.loads(data)["entries"]] == [True] * len(attributes)


def test_regions_on_the_page_equal_those_of_the_layer(tmp_path):
    folder, result = evaluation_files.make(tmp_path, ["Male", "Smiling"], NETWORKS, boxes=True)
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', report.make(folder))
    arrays = results.read_arrays(folder, "cascade", result)
    mapper = localisation.Mapper(arrays["average"], arrays["rectangles"], 0.5, 0.5)
    raw = mapper.regions(arrays["response"], revise=False)
    for index, of_attribute in enumerate(json.loads(data)["entries"]):
        assert {entry["words"].startswith("Truth: present") for entry in of_attribute} == {True, False}
        for entry in of_attribute:
            face = int(entry["face"].removeprefix("face"))
            assert entry["words"].startswith("Truth: present") == arrays["labels"][face, index]
            assert np.allclose(entry["final"], arrays["rois_image"][face, index], atol=0.51)
            assert np.allclose(entry["region"], raw[face, index], atol=0.51)
            assert np.allclose(entry["response"], arrays["response"][face, index].ravel(), atol=0.006)
            assert entry["truth"] == [0, 0, 100, 100]


# The answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "low, high, verdict",
    (
        (0.01, 0.03, "so the region helps."),
        (-0.01, 0.03, "not shown that the region helps."),
        (-0.05, -0.01, "costs accuracy."),
    ),
)
@pytest.mark.parametrize("turned", (False, True))
def test_the_answer_follows_the_interval(tmp_path, low, high, verdict, turned):
    folder, result = evaluation_files.make(tmp_path, ["Male", "Smiling"], NETWORKS)
    opened = Opened(folder)
    value = (low + high) / 2
    pair = {"network": "cascade", "minus": "whole_face", "accuracy": value, "accuracy_low": low, "accuracy_high": high}
    if turned:
        pair = {"network": "whole_face", "minus": "cascade", "accuracy": -value}
        pair.update(accuracy_low=-high, accuracy_high=-low)
    opened.result.differences = [dataclasses.replace(result.differences[0], **pair)]
    text = headline.answer(opened)
    assert text.endswith(verdict) and "\n" not in text and text.count(".") - len(re.findall(r"\d\.\d", text)) == 1
    assert f"{abs(value):.3f} {'below' if value < 0 else 'above'} the whole face" in text


def test_numbers_are_formatted_as_in_the_tables():
    cell = page.number(0.9724, 0.957, 0.985)
    assert f"{cell.text} {cell.interval}" == ".972 (.957 - .985)"
    assert page.number(1.0).text == "1.000" and page.number(None).text == "\u2013"
    cell = page.number(-0.0031, -0.0101, 0.004, page.signed)
    assert f"{cell.text} {cell.interval}" == "\u2212.003 (\u2212.010 to +.004)"
    assert page.signed(-0.0001) == "+.000"


# Legibility -------------------------------------------------------------------------------------------------


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_sufficient_in_both_modes_and_on_paper():
    blocks = re.findall(r":root \{(.*?)\}", str(page.source("style.css")), re.DOTALL)
    modes = [dict(re.findall(r"(--\w+): (#[0-9a-f]{6});", block)) for block in blocks]
    assert len(modes) == 3 and len({frozenset(mode) for mode in modes}) == 1  # light, dark, print
    for mode in modes:
        for name, colour in mode.items():
            if name not in ("--paper", "--card", "--line"):
                for ground in ("--paper", "--card"):
                    assert contrast(colour, mode[ground]) >= 4.5, (name, ground, mode)
    assert contrast("#ffffff", "#000000") == pytest.approx(21)


# Curves, groups, training -----------------------------------------------------------------------------------


def test_curves_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    label = rng.random(200) < 0.3
    score = (rng.normal(size=200) + label).round(1)  # with equal scores
    counts = {"a": metrics.curve(score, label)}
    tuned = metrics.count((score > 0.5)[:, np.newaxis], label[:, np.newaxis])
    area = sklearn_metrics.roc_auc_score(label, score)
    assert f"area {page.share(area)}" in curves.roc(counts, tuned)
    precision = sklearn_metrics.average_precision_score(label, score)
    assert f"area {page.share(precision)}" in curves.precision_recall(counts, tuned)
    assert curves.roc({"a": metrics.curve(score, np.zeros(200, bool))}, tuned) == ""
    cells = curves.confusion(score > 0.5, label)
    matrix = sklearn_metrics.confusion_matrix(label, score > 0.5)
    assert [[cells[truth, answer][0] for answer in (False, True)] for truth in (False, True)] == matrix.tolist()


def test_calibration_error_of_known_probabilities():
    label = np.arange(1000) % 10 < 3  # three of ten in every bin
    _, error = curves.reliability(np.full(1000, 0.3), label)
    assert error == pytest.approx(0)
    _, error = curves.reliability(np.full(1000, 0.8), label)
    assert error == pytest.approx(0.5)


def test_groups_are_accuracies_of_their_faces():
    rng = np.random.default_rng(1)
    labels, right = rng.random((60, 3)) < 0.5, rng.random((60, 3)) < 0.8
    value, low, high = groups.accuracies(right, labels, 200)
    inside = labels[:, 1]
    assert value[1, 1, :3] == pytest.approx(right[inside].mean(axis=0))
    assert value[1, 0, 3] == pytest.approx(right[~inside][:, [0, 2]].mean())
    assert (low <= value + 1e-6).all() and (value <= high + 1e-6).all()
    labels[:, 0] = True
    assert np.isnan(groups.accuracies(right, labels, 10)[0][0, 0]).all()  # no face is without it


def stage_log(folder, stopped=0):
    """A log of two iterations with validation and a step of the learning rate between them."""
    folder.mkdir()
    lines = []
    for iteration, rate in ((0, 0.01), (10, 0.001)):
        on = int(not (stopped and iteration))
        lines += [f"Iteration {iteration}, Testing net (#0)"]
        lines += [f"    Test net output #0: accuracy_region = 0.{5 + iteration}"]
        lines += [f"    Test net output #{n}: accuracy_region_each = 0.{5 + n}" for n in (1, 2)]
        lines += [f"Iteration {iteration}, loss = 0.5", f"    Train net output #0: attributes_training = {1 + on}"]
        lines += [
            f"    Train net output #{n + 1}: attributes_training_each = {value}" for n, value in enumerate((1, on))
        ]
        lines += [f"Iteration {iteration}, lr = {rate}"]
    (folder / "train.log").write_text("\n".join(lines))


def test_training_shows_steps_stages_in_order_and_early_stopping_where_it_happened(tmp_path):
    for name in ("whole_face", "region", "cascade", "zebra"):
        stage_log(tmp_path / name, stopped=name == "cascade")
    text = training.training(tmp_path, ["Male", "Smiling"])
    assert re.findall(r"<h3>(.*)</h3>", text) == ["Task one alone", "Cascade", "Whole face", "Zebra"]
    parts = re.split(r"<h3>", text)[1:]
    assert ["early stopping" in part for part in parts] == [False, True, False, False]
    assert ["Where early stopping acted" in part for part in parts] == [False, True, False, False]
    assert all(">learning rate 0.001<" in part and "Validation accuracy" in part for part in parts)


def test_worst_errors_spell_out_truth_and_answer(evaluation):
    folder, _ = evaluation
    text, opened = report.make(folder), Opened(folder)
    decisions, _ = opened.answers("cascade")
    for index, attribute in enumerate(opened.attributes):
        wrong = int((decisions[:, index] != opened.labels[:, index]).sum())
        assert f"{wrong} of {evaluation_files.FACES} faces are answered wrongly" in text
        assert text.count(f"Truth: <b>{attribute} ") == min(wrong, 8)
    assert 'Answer: <b class="wrong">' in text


# Comparison -------------------------------------------------------------------------------------------------


def run_of(folder, result, names, attributes=("Male", "Smiling")):
    """Write the record of a run that is evaluated; returns it."""
    run = runs.Run(folder, record.Data("lmdb", "x", list(attributes), "stream"), record.Settings(engine="torch"))
    inputs = {}
    for name in names:
        run.stages[name] = record.Stage({}, "done", f"{name} plain.caffemodel", result.networks[name].checksum)
        inputs[f"weights of {name}"] = result.networks[name].checksum
    run.stages["evaluate"] = record.Stage(inputs, "done")
    run.write()
    return run


def test_comparison_shows_the_differences_of_two_runs(tmp_path, capsys):
    names = ["region", "cascade"]
    for number, word in enumerate(("a", "b")):
        folder, result = evaluation_files.make(tmp_path / word, ["Male", "Smiling"], names, seed=number)
        run_of(tmp_path / word, result, names)
    out = report.comparison(tmp_path / "a", tmp_path / "b")
    text = out.read_text()
    assert out == tmp_path / "b" / "comparison.html" and "so the differences are paired" in text
    assert "<h2>Cascade</h2>" in text and "<h2>Task one alone</h2>" in text and "Only B right" in text
    same = report.comparison(tmp_path / "a", tmp_path / "a", tmp_path / "same.html").read_text()
    assert "a difference of +0.000 (95 % interval +0.000 to +0.000), so neither is shown to be better." in same


def test_differences_equal_those_over_the_faces():
    rng = np.random.default_rng(0)
    right = rng.random((300, 2)) < 0.7, rng.random((300, 2)) < 0.9
    for seeds in ((0, 0), (0, 2)):
        samples = [
            np.concatenate([weights @ one / 300 for weights in metrics.resamples(300, 300, seed)])
            for one, seed in zip(right, seeds)
        ]
        value, low, high = compare.differences(*zip(right, samples))
        assert value[:2] == pytest.approx(right[1].mean(axis=0) - right[0].mean(axis=0))
        assert value[2] == pytest.approx(value[:2].mean())
        assert (low < value).all() and (value < high).all() and low[-1] > 0


def test_runs_that_cannot_be_compared_are_reported_in_one_line(tmp_path):
    for word, attributes in (("a", ["Male"]), ("b", ["Young"])):
        folder, result = evaluation_files.make(tmp_path / word, attributes, ["region"])
        run_of(tmp_path / word, result, ["region"], attributes)
    with pytest.raises(ToolError, match="no attribute in common"):
        report.comparison(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ToolError, match="no run in it"):
        report.comparison(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize("state", ("running", "interrupted", "failed"))
def test_a_stage_that_is_being_repeated_is_reported_in_one_line(tmp_path, state):
    """Once a defect: the comparison ended in a traceback, and the report left out what the run was trained with."""
    names = ["region", "cascade"]
    for number, word in enumerate(("a", "b")):
        _, result = evaluation_files.make(tmp_path / word, ["Male", "Smiling"], names, seed=number)
        run = run_of(tmp_path / word, result, names)
    run.stages["cascade"] = record.Stage({}, state)
    run.write()
    words = f"b/evaluation: stage cascade is {state}, .* evaluate again: face-cascade evaluate --run"
    with pytest.raises(ToolError, match=words):
        report.comparison(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ToolError, match=words):
        report.report(tmp_path / "b")


def test_a_comparison_needs_evaluations_of_the_runs_own_weights(tmp_path):
    """The record may name other weights than evaluation.json, for instance after a folder was copied over another."""
    _, result = evaluation_files.make(tmp_path, ["Male", "Smiling"], ["region"])
    run = run_of(tmp_path, result, ["region"])
    run.stages["region"].checksum = run.stages["evaluate"].inputs["weights of region"] = "another"
    run.write()
    with pytest.raises(ToolError, match="evaluation is of other weights than those of the run"):
        report.comparison(tmp_path, tmp_path)


@pytest.mark.parametrize("lost", ("manifest", "weights", "arrays", "images", "no weights"))
def test_files_that_changed_since_the_evaluation_are_refused_in_one_line(evaluation, lost):
    folder, result = evaluation
    lmdb = folder.parent / "lmdb plain"
    if lost == "manifest":
        (lmdb / "manifest.json").write_text('{"attributes": ["Male", "Smiling"], "form": "stream"}')
        words = "the data changed since"
    elif lost == "images":
        shutil.rmtree(lmdb / "test_images")
        words = "test_images"
    elif lost == "arrays":
        path = folder / "region.npz"
        path.write_bytes(path.read_bytes()[:-20])
        words = "region.npz: damaged"
    else:
        path = folder.parent / "cascade plain.caffemodel"
        path.unlink() if lost == "no weights" else path.write_bytes(path.read_bytes() + b"")
        if lost == "weights":
            path.write_bytes(b"others")
        words = "missing, though it was evaluated" if lost == "no weights" else "changed since it was evaluated"
    with pytest.raises(ToolError, match=words) as error:
        report.make(folder)
    assert "\n" not in str(error.value)


def test_a_report_is_refused_unless_the_evaluation_is_of_the_current_weights(evaluation):
    folder, result = evaluation
    run = run_of(folder.parent, result, ("region", "cascade"))
    evaluated = run.stages.pop("evaluate")
    run.write()
    with pytest.raises(ToolError, match="not evaluated yet; run: face-cascade evaluate --run"):
        report.report(run.folder)
    run.stages["evaluate"] = evaluated
    run.write()
    out = report.report(run.folder)
    assert out == run.folder / "report.html" and "Model card" in out.read_text()
    run.stages["cascade"] = dataclasses.replace(run.stages["cascade"], checksum="another")
    run.write()
    with pytest.raises(ToolError, match="cascade was trained after it was evaluated"):
        report.report(run.folder)
    assert report.report(run.folder, evaluation=folder).exists()  # bare folders are read as they are


@pytest.mark.parametrize("key, value", (("resamples", -1), ("faces", 10**9), ("tuned_for", ""), ("source", "celeba")))
def test_edited_evaluations_give_a_page_or_a_one_line_error(evaluation, key, value):
    folder, result = evaluation
    results.write(folder, dataclasses.replace(result, **{key: value}))
    refusals = {"faces": "damaged, array", "tuned_for": "damaged, key 'tuned for' must be one of"}
    if key in refusals:
        with pytest.raises(ToolError, match=refusals[key]):
            report.make(folder)
    else:
        assert "Model card" in report.make(folder)


def test_extreme_scores_and_calibrations_give_a_page(evaluation):
    folder, result = evaluation
    score = result.networks["cascade"].calibration["logits"]
    score.slope, score.offset, score.threshold = [1e308, -1e308], [-1e308, 1e308], [1e308, -1e308]
    results.write(folder, result)
    assert "nan" not in Tags(report.make(folder)).shown.partition('"use strict"')[0].split("*/")[-1]


def test_the_command_takes_one_run_or_two(tmp_path):
    def refused(words, match):
        parser = argparse.ArgumentParser()
        report.add_arguments(parser)
        with pytest.raises(ToolError, match=match):
            report.run(parser.parse_args(words))

    refused(["a", "b", "c"], "takes one run or two, not 3")
    refused(["a", "--run", "b"], "given twice")
    refused(["a", "b", "--evaluation", "c"], "leave it out")
    refused([str(tmp_path)], "no evaluation.json in it")


def test_logs_of_another_run_are_not_shown(evaluation):
    folder, result = evaluation
    run = run_of(folder.parent, result, ("region", "cascade"))
    stage_log(run.folder / "region")
    assert "<h2>Training</h2>" in report.make(folder, run.folder)
    for stage in run.stages.values():
        stage.checksum = "another"
    run.write()
    text = report.make(folder, run.folder)
    assert "<h2>Training</h2>" not in text and "<dt>Trained</dt>" not in text


def test_a_summary_without_the_whole_face_network_says_what_is_missing(evaluation):
    folder, result = evaluation
    run = run_of(folder.parent, result, ("region", "cascade"))
    run.stages["region"].images, run.stages["cascade"].images = 1000, 1500
    run.write()
    opened = Opened(folder, run.folder)
    said = " ".join(headline.notes(opened))
    assert "It was not evaluated: face-cascade train whole_face" in said
    assert "cascade 1,500, task one alone 1,000. The budgets differ" in said
    assert headline.answer(opened).endswith(
        ("so no difference is shown.", "so the cascade is more accurate.", "so the cascade is less accurate.")
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_the_model_card_counts_the_operations_of_each_network(network):
    text = card.operations(network, 20)
    counts = [float(count) for count in re.findall(r"(?:shared|conv3|one|two) (\d+\.\d\d)", text)]
    whole = estimate.SHARED + 20 * (estimate.PER_IMAGE[network] - estimate.SHARED)
    assert sum(counts) == pytest.approx(whole / 1e9, abs=0.02) and "billion" in text
    assert ("task one" in text) == (network != "whole_face") and ("task two" in text) == (network != "region")
