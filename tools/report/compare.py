"""The comparison of two runs on the same faces: what they differ in, whether one is better, for which attributes."""

from tools.errors import ToolError
from tools.evaluate import metrics, results, scoring
from tools.evaluate.results import cell, interval
from tools.report import charts, page
from tools.report.accuracy import DECISION


def make(first, second):
    """The page, as text. first, second: Opened. Raises ToolError unless both have answers for the same faces."""
    attributes = [name for name in first.attributes if name in second.attributes]
    names = [name for name in first.names if name in second.names]
    labels = [
        opened.labels[:, [opened.attributes.index(name) for name in attributes]].tolist() for opened in (first, second)
    ]
    same_images = first.images == second.images and labels[0] == labels[1]
    persons = [scoring.persons(opened.arrays[opened.chosen]).tolist() for opened in (first, second)]
    for same, words in (
        (attributes, "no attribute in common"),
        (names, "no network in common"),
        (same_images, "other test faces"),
        (persons[0] == persons[1], "other persons on the test faces, or known in one of them only"),
    ):
        if not same:
            raise ToolError(f"{first.run.folder} and {second.run.folder}: {words}, so nothing to compare")
    compared = {name: differences(first, second, name, attributes) for name in names}
    sections = {page.heading(name): section(name, rows) for name, rows in compared.items()}
    lead = page.render("lead.html", runs=dict(zip("AB", (first, second))), name=names[0], mean=compared[names[0]][-1])
    return page.page("Comparison of two runs", lead, {**sections, "What differs": settings(first, second)})


def differences(first, second, name, attributes):
    """A network's attributes in two runs, then their mean, under the headline's decision: list of results.Entry.

    title; accuracies, of both; majority, the baseline; difference, B minus A; only: how many faces only B and only A
    answer rightly
    """
    sides = []
    for opened in (first, second):
        places, scored = [opened.attributes.index(a) for a in attributes], opened.scored(name)
        values, samples = (of[DECISION, "accuracy"][..., places] for of in (scored.values, scored.samples))
        right = (scored.decided[DECISION] == scored.labels)[:, places]
        sides.append((*map(scoring.with_mean, (values, samples)), right))
    (a, resampled_a, right_a), (b, resampled_b, right_b) = sides
    number = min(len(resampled_a), len(resampled_b))  # as many as both have; of the same faces they are the same
    estimates = results.estimates(b - a, resampled_b[:number] - resampled_a[:number], least=-1)
    only = [(mine & ~its).sum(axis=0) for mine, its in ((right_b, right_a), (right_a, right_b))]
    only = zip(*([*map(int, count), int(count.sum())] for count in only))
    majority = scoring.with_mean(metrics.majority(scored.labels)[places])
    columns = zip([*map(page.human, attributes), "Mean"], zip(a, b), majority, estimates, only)
    return [results.Entry(zip(("title", "accuracies", "majority", "difference", "only"), row)) for row in columns]


def section(name, rows):
    """The section of one network. rows: of `differences`."""
    cells = [
        [row.title, *map(cell, row.accuracies), interval(row.difference, "+"), cell(row.majority), *row.only]
        for row in rows
    ]
    heads = ["Attribute", "A", "B", "B minus A", "Majority baseline", "Only B right", "Only A right"]
    shown = rows if len(rows) > 2 else rows[:1]
    widest = max([0.01, *(abs(end) for row in shown for end in (row.difference.low, row.difference.high) if end)])
    dots = [(row.title, [row.difference], 0.0) for row in shown]
    title = "Difference of accuracies, B minus A"
    chart = charts.dots(dots, ["B minus A"], title, -widest, widest, "no difference", values=False)
    table = page.table(heads, cells, f"Accuracy of {page.human(name)} in both runs", mean=True)
    return page.render("comparison.html", table=table, chart=chart)


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
        if stage.state == "done":
            title = page.human(name)
            found.update((f"{title}: {key.rpartition('.')[2]}", value) for key, value in stage.inputs.items())
            found[f"{title}: iterations"] = stage.iterations
            found[f"{title}: training images per attribute"] = stage.images
            found[f"{title}: commit"] = stage.made_with.get("commit", "unknown")
    return found
