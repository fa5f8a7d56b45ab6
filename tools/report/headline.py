"""The head of a report: what was measured on what, and the answer to how good it is and whether the region helps."""

import re

import numpy as np

from tools.evaluate import results, summary
from tools.evaluate.calibration import PRIOR_CORRECTED
from tools.report import charts, page
from tools.report.card import INTENDED

STAGES = ("region", "cascade", "whole_face")
ENGINES = {"bvlc": "BVLC Caffe", "torch": "the engine on PyTorch"}
DECISION = PRIOR_CORRECTED  # of the headline: it depends on no threshold that is chosen by few faces
BUDGET = 0.02  # budgets that differ by no more than this share are called equal


def title(opened):
    """The heading of a report."""
    return f"Report: {opened.run.folder}"


def facts(opened):
    """What, when, from which commit, with which settings, on which data: dict of term -> text."""
    result = opened.result
    chosen = result.networks[opened.chosen()]
    kind = {"celeba": "CelebA", "lfwa": "LFWA", "csv": "a CSV file"}.get(result.source, result.source or "unknown")
    number = len(opened.attributes)
    rows = {
        "What": f"{', '.join(label(name) for name in opened.ordered())}: {number} attribute{'s' * (number > 1)}, "
        f"accuracy on the {result.split} split",
        "Data": f"{result.faces:,} faces of {'synthetic data laid out as ' if result.synthetic else ''}{kind}; "
        f"LMDBs in {result.lmdb}",
        "Evaluated": f"{result.date}, commit {short(result.commit)}, {chosen.engine} on {chosen.device}",
    }
    if opened.run.recorded:
        settings, trained = opened.run.settings, [name for name in STAGES if opened.run.done(name)]
        commits = {str(opened.run.stages[name].made_with.get("commit", "unknown")) for name in trained}
        took = [f"{label(name)} {opened.run.stages[name].iterations:,} iterations" for name in trained]
        rows["Trained"] = f"{'; '.join(took)}; commit {', '.join(sorted(map(short, commits)))}"
        rows["Settings"] = (
            f"{opened.run.network().batch} images per attribute in a mini-batch, seed {settings.seed}, "
            f"{ENGINES.get(settings.engine, settings.engine)}, {settings.precision}, {settings.device}"
        )
    rows["Decisions"] = (
        f"thresholds tuned for {result.tuned_for} on the validation split; 95 % intervals of {result.resamples:,} "
        f"bootstrap resamples of the {'test and ' * (result.split == 'test')}validation "
        + (
            f"persons ({result.persons:,} in the {result.split} split)"
            if result.persons
            else "faces; persons are not known"
        )
    )
    rows["Intended use"] = INTENDED
    return rows


def short(commit):
    """A commit as people write it; "+" at the end says that files differed from it."""
    return re.sub(r"^([0-9a-f]{10})[0-9a-f]{30}(\+?)$", r"\1\2", commit)


def label(name):
    """A network's name in a sentence."""
    return page.human(name)


def answer(opened):
    """One sentence: how good it is, and how it compares with the other network."""
    name, number = opened.chosen(), len(opened.attributes)
    row = opened.rows(name, DECISION)[-1]
    means = f"over {number} attributes" if number > 1 else f"for {opened.shown[0]}"
    text = (
        f"{page.heading(article(opened, name))} has {'a mean' if number > 1 else 'an'} accuracy of "
        f"{summary.interval(row.accuracy)}, prior-corrected, {means} on {opened.result.faces:,} "
        f"{opened.result.split} faces, against {row.majority:.3f} for always giving the more frequent answer"
    )
    other, difference = compared(opened)
    if difference is None:
        return f"{text}; no other network was evaluated that it could be compared with."
    value, low, high = difference.value, difference.low, difference.high
    text += f", and is {abs(value):.3f} {'below' if value < 0 else 'above'} {article(opened, other)}"
    if low is None or high is None:
        return f"{text}."
    text += f" (95 % interval of the difference {low:+.3f} to {high:+.3f})"
    verdicts = (
        f"the {label(name)} is less accurate",
        "no difference is shown",
        f"the {label(name)} is more accurate",
    )
    return f"{text}, so {verdicts[1 + (low > 0) - (high < 0)]}."


def article(opened, name):
    """A network's name in the middle of a sentence."""
    return f"the {label(name)}" if opened.result.networks[name].network != "region" else label(name)


def compared(opened):
    """The network that the chosen one is compared with, and the Estimate of the difference of mean accuracies.

    The whole face where it was evaluated; else task one alone; (None, None) where the chosen network stands alone.
    """
    chosen = opened.chosen()
    others = {name: opened.result.networks[name].network for name in opened.names if name != chosen}
    for kind in ("whole_face", "region", "cascade"):
        for name in (name for name, its in others.items() if its == kind):
            for row in opened.result.differences:
                pair = row.network, row.minus
                if row.decision == DECISION and row.accuracy.value is not None and pair == (chosen, name):
                    return name, row.accuracy
                if row.decision == DECISION and row.accuracy.value is not None and pair == (name, chosen):
                    return name, -row.accuracy
    return None, None


def notes(opened):
    """What limits the answer: list of sentences."""
    said = []
    if opened.result.synthetic:
        said.append("The faces are synthetic. The figures say nothing about photos.")
    name = opened.chosen()
    if opened.result.networks[name].network != "cascade":
        return said
    other, _ = compared(opened)
    said.append(
        "Whether the region itself helps is shown by the same cascade whose rectangles cover the whole map: "
        'face-cascade ablation --variants "cascade,whole map". The whole-face network differs in more than the region.'
    )
    if opened.run.recorded and {name, other} <= set(opened.run.stages):
        mine, others = (opened.run.stages[one].images for one in (name, other))
        fair = abs(mine - others) <= BUDGET * max(mine, others, 1)
        said.append(
            f"Training images per attribute, over all stages: {label(name)} {mine:,}, {label(other)} {others:,}. "
            + ("The budgets are equal." if fair else "The budgets differ, so the difference may come from them.")
        )
    return said


def headline(opened):
    """The answer with its chart, then the means of all networks under all decisions, and their differences."""
    names, rows = opened.ordered(), []
    for name in names:
        row = opened.rows(name, DECISION)[-1]
        rows.append((label(name), [(row.accuracy.value, row.accuracy.low, row.accuracy.high)], row.majority))
    ends = [value for _, cells, base in rows for value in (cells[0][0], cells[0][1], base) if value is not None]
    low = float(np.floor(10 * min(ends)) / 10)
    chart = charts.dots(
        rows,
        ["accuracy"],
        "Mean accuracy, prior-corrected, with its 95 % interval",
        min(low, 0.9),
        1.0,
        "accuracy of always giving the more frequent answer (majority baseline)",
    )
    return page.render(
        "headline.html",
        answer=answer(opened),
        chart=chart,
        notes=notes(opened),
        means=means(opened),
        differences=differences(opened),
    )


def means(opened):
    """Table of the means over attributes of every score of every network under every decision."""
    rows = []
    for name in opened.ordered():
        for row in opened.result.networks[name].rows:
            if row.attribute == results.MEAN:
                measures = [page.measure(row, key) for key in ("accuracy", "balanced_accuracy", "f1")]
                precision = page.measure(row, "average_precision")
                rows.append([label(name), row.score, row.decision, *measures, precision])
    heads = ["Network", "Score", "Decision", "Accuracy", "Balanced accuracy", "F1", "Average precision"]
    return page.table(heads, rows, words="Means over attributes")


def differences(opened):
    """Table of the differences between all pairs of networks."""
    rows = []
    for row in opened.result.differences:
        measures = [page.measure(row, key) for key in ("accuracy", "balanced_accuracy", "f1", "average_precision")]
        rows.append([f"{label(row.network)} minus {label(row.minus)}", row.decision, *measures])
    heads = ["Difference", "Decision", "Accuracy", "Balanced accuracy", "F1", "Average precision"]
    return page.table(heads, rows, words="Differences between networks")
