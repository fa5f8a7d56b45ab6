"""The comparison of two runs: what they differ in, whether one is better, and for which attributes."""

import dataclasses

import numpy as np

from models.options import NETWORKS
from tools.errors import ToolError
from tools.evaluate import metrics, scoring
from tools.evaluate.results import Estimate
from tools.report import charts, page
from tools.report.headline import DECISION

OTHER_SEED = 2  # of the resamples of a run on other faces


def make(first, second):
    """The page, as text. first, second: Opened. Raises ToolError."""
    attributes = [name for name in first.attributes if name in second.attributes]
    names = [name for name in reversed(NETWORKS) if name in first.names and name in second.names]
    names.sort(key=lambda name: name != "cascade")
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


@dataclasses.dataclass
class Compared:
    """One attribute, or the mean, of one network in two runs: accuracies, majority baselines, B minus A, and how many
    faces only one of them answers rightly, none where the faces differ."""

    title: str
    accuracies: tuple
    majorities: tuple
    difference: Estimate
    only: tuple


def paired(first, second):
    """Whether two evaluations are of the same faces with the same labels, so that their answers are paired."""
    same = first.attributes == second.attributes and first.result.split == second.result.split
    return same and first.result.data == second.result.data and np.array_equal(first.labels, second.labels)


def differences(first, second, name, attributes):
    """The Compared of a network's attributes, then of their mean, under the headline's decision."""
    same, sides = paired(first, second), []
    for opened, seed in ((first, 0), (second, 0 if same else OTHER_SEED)):
        places, scored = [opened.attributes.index(a) for a in attributes], opened.scored(name, seed)
        values, samples = (of[DECISION, "accuracy"][..., places] for of in (scored.values, scored.samples))
        right = (scored.decided[DECISION] == scored.labels)[:, places]
        majority = metrics.majority(scored.labels)[places]
        sides.append((*map(scoring.with_mean, (values, samples, majority)), right))
    (a, resampled_a, majority_a, right_a), (b, resampled_b, majority_b, right_b) = sides
    number = min(len(resampled_a), len(resampled_b))  # as many as both have; of the same faces they are the same
    estimates = Estimate.of_many(b - a, resampled_b[:number] - resampled_a[:number], least=-1)
    titles, only = [*map(page.human, attributes), "Mean"], [()] * len(a)
    if same:
        counts = [(mine & ~its).sum(axis=0) for mine, its in ((right_b, right_a), (right_a, right_b))]
        only = zip(*([*map(int, count), int(count.sum())] for count in counts))
    return list(map(Compared, titles, zip(a, b), zip(majority_a, majority_b), estimates, only))


def section(name, rows, same):
    """The section of one network. rows: Compared; same: whether the faces are the same."""
    cells = [
        [
            row.title,
            *map(page.number, row.accuracies),
            page.number(row.difference, "+"),
            *map(page.number, row.majorities[: 1 if same else 2]),
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
    table = page.with_mean(heads, cells, f"Accuracy of {page.human(name)} in both runs")
    return page.render("comparison.html", paired=same, table=table, chart=chart)


def settings(first, second):
    """Table of the settings, data and stages in which two runs differ; empty where they are the same."""
    sides = [described(opened) for opened in (first, second)]
    keys = [key for key in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(key) != sides[1].get(key)]
    rows = [[page.human(key), *(str(side.get(key, page.UNKNOWN)) for side in sides)] for key in keys]
    return page.table(["Setting", "A", "B"], rows, words="What the runs differ in")


def described(opened):
    """Settings, data and stages of a run, flat: dict name -> value."""
    run, network = opened.run, dataclasses.asdict(opened.run.network())
    network["attributes"] = ", ".join(network["attributes"])
    found = flat("", {**dataclasses.asdict(run.settings), "network": {**network, "lmdb": page.place(opened.lmdb)}})
    if run.settings.start_from:
        found["start_from"] = page.place(run.settings.start_from)
    found["data checksum"] = opened.result.data[:10]
    for name in NETWORKS:
        if run.done(name):
            stage, title = run.stages[name], page.human(name)
            found[f"{title}: iterations"] = stage.iterations
            found[f"{title}: training images per attribute"] = stage.images
            found[f"{title}: commit"] = page.short(stage.made_with.get("commit", "unknown"))
    found["evaluation: commit"] = page.short(opened.result.commit)
    return found


def flat(prefix, value):
    """Nested dicts as one dict, whose keys are joined by blanks."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in flat(f"{prefix} {key}".strip(), item).items()}
