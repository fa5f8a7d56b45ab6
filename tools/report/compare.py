"""The comparison of two runs: what they differ in, whether one is better, and for which attributes."""

import numpy as np

from tools.errors import ToolError
from tools.evaluate import metrics, results, scoring
from tools.evaluate.summary import cell, interval
from tools.report import charts, page
from tools.report.accuracy import DECISION

OTHER_SEED = 2  # of the resamples of a run on other faces


def make(first, second):
    """The page, as text. first, second: Opened. Raises ToolError."""
    attributes = [name for name in first.attributes if name in second.attributes]
    names = [name for name in first.names if name in second.names]
    for shared, words in ((attributes, "attribute"), (names, "network")):
        if not shared:
            raise ToolError(
                f"{first.run.folder} and {second.run.folder}: no {words} in common, so there is nothing to compare"
            )
    compared = {name: differences(first, second, name, attributes) for name in names}
    same = paired(first, second)
    sections = {page.heading(name): section(name, rows, same) for name, rows in compared.items()}
    runs = dict(zip("AB", (first, second)))
    lead = page.render("lead.html", runs=runs, name=names[0], mean=compared[names[0]][-1])
    return page.page("Comparison of two runs", lead, {**sections, "What differs": settings(first, second)})


def paired(first, second):
    """Whether two evaluations are of the same faces with the same labels, so that their answers are paired."""
    return first.result.data == second.result.data and np.array_equal(first.labels, second.labels)


def differences(first, second, name, attributes):
    """A network's attributes in two runs, then their mean, under the headline's decision: list of results.Entry.

    title; accuracies and majorities (baselines), of both; difference, B minus A; only: how many faces only B and only A
    answer rightly, () where the faces differ
    """
    same, sides = paired(first, second), []
    for opened, seed in ((first, 0), (second, 0 if same else OTHER_SEED)):
        places, scored = [opened.attributes.index(a) for a in attributes], opened.scored(name, seed)
        values, samples = (of[DECISION, "accuracy"][..., places] for of in (scored.values, scored.samples))
        right = (scored.decided[DECISION] == scored.labels)[:, places]
        majority = metrics.majority(scored.labels)[places]
        sides.append((*map(scoring.with_mean, (values, samples, majority)), right))
    (a, resampled_a, majority_a, right_a), (b, resampled_b, majority_b, right_b) = sides
    number = min(len(resampled_a), len(resampled_b))  # as many as both have; of the same faces they are the same
    estimates = results.estimates(b - a, resampled_b[:number] - resampled_a[:number], least=-1)
    titles, only = [*map(page.human, attributes), "Mean"], [()] * len(a)
    if same:
        counts = [(mine & ~its).sum(axis=0) for mine, its in ((right_b, right_a), (right_a, right_b))]
        only = zip(*([*map(int, count), int(count.sum())] for count in counts))
    columns = zip(titles, zip(a, b), zip(majority_a, majority_b), estimates, only)
    return [results.Entry(zip(("title", "accuracies", "majorities", "difference", "only"), row)) for row in columns]


def section(name, rows, same):
    """The section of one network. rows: of `differences`; same: whether the faces are the same."""
    cells = [
        [
            row.title,
            *map(cell, row.accuracies),
            interval(row.difference, "+"),
            *map(cell, row.majorities[: 1 if same else 2]),
            *row.only,
        ]
        for row in rows
    ]
    heads = ["Attribute", "A", "B", "B minus A"]
    heads += ["Majority baseline", "Only B right", "Only A right"] if same else ["Majority, A", "Majority, B"]
    shown = rows if len(rows) > 2 else rows[:1]
    widest = max([0.01, *(abs(end) for row in shown for end in (row.difference.low, row.difference.high) if end)])
    dots = [(row.title, [row.difference], 0.0) for row in shown]
    title = "Difference of accuracies, B minus A"
    chart = charts.dots(dots, ["B minus A"], title, -widest, widest, "no difference", values=False)
    table = page.table(heads, cells, f"Accuracy of {page.human(name)} in both runs", mean=True)
    return page.render("comparison.html", paired=same, table=table, chart=chart)


def settings(first, second):
    """Table of the settings, data and stages in which two runs differ; empty where they are the same."""
    sides = [described(opened) for opened in (first, second)]
    keys = [key for key in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(key) != sides[1].get(key)]
    rows = [[page.human(key), *(page.short(side.get(key, "-")) for side in sides)] for key in keys]
    return page.table(["Setting", "A", "B"], rows, "What the runs differ in")


def described(opened):
    """The data of a run, and of each stage all that it depends on, its length and its commit: dict name -> value."""
    found = {"data": opened.result.data, "evaluation: commit": opened.result.commit}
    for name, stage in opened.run.stages.items():
        if name != "evaluate" and stage.state == "done":
            title = page.human(name)
            found.update((f"{title}: {key.rpartition('.')[2]}", value) for key, value in stage.inputs.items())
            found[f"{title}: iterations"] = stage.iterations
            found[f"{title}: training images per attribute"] = stage.images
            found[f"{title}: commit"] = stage.made_with.get("commit", "unknown")
    return found
