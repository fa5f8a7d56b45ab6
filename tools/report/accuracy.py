"""The sections on accuracy: what was measured on what, how good it is, how the networks compare, each attribute,
groups of faces, and the paper's figures."""

import csv
import pathlib

import numpy as np

from models.options import NETWORKS
from tools.evaluate import metrics, results, scoring
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED
from tools.evaluate.results import cell, interval
from tools.install import engines
from tools.report import charts, page

DECISION = PRIOR_CORRECTED  # of the headline: it depends on no threshold that is chosen by few faces
BUDGET = 0.02  # budgets that differ by no more than this share are called equal
# Groups that have names of their own, without and with the attribute, and come first; all others are named by the
# attribute.
NAMES = {"Male": ("women", "men"), "Young": ("older", "young")}
TABLE = pathlib.Path(__file__).with_name("table2.csv")
# The methods that results are compared with: the paper's own, and the best of the others.
OURS, RIVAL = "Paper", "LNets+ANet"


def facts(opened):
    """What, when, from which commit, with which settings, on which data: a list of terms."""
    run = opened.run
    done = {name: run.stages[name] for name in NETWORKS if run.recorded and run.done(name)}
    commits = sorted({page.short(stage.made_with.get("commit", "unknown")) for stage in done.values()})
    engine = engines.NAMES[run.settings.engine]
    made = run.stages[opened.chosen].inputs if opened.chosen in done else {}
    settings = {key: made.get(f"network.{key}", getattr(run.network(), key)) for key in ("batch", "seed")}
    return page.render("facts.html", opened=opened, run=run, done=done, commits=commits, engine=engine, **settings)


def headline(opened):
    """The answer with its chart, then the means of all networks under all decisions, and their differences.

    The chosen network is compared with the whole face where that was evaluated, else with task one alone.
    """
    rows, run, chosen = {name: opened.rows(name, DECISION)[-1] for name in opened.names}, opened.run, opened.chosen
    chart = charts.dots(
        [(page.human(name), [row.accuracy], row.majority) for name, row in rows.items()],
        ["accuracy"],
        "Mean accuracy, prior-corrected, with its 95 % interval",
        baseline="accuracy of always giving the more frequent answer (majority baseline)",
    )
    of_decision = (row for row in opened.result.differences if (row.network, row.decision) == (chosen, DECISION))
    compared = next(of_decision, None)
    images = [run.stages[name].images for name in (chosen, compared.minus)] if compared and run.recorded else []
    means = [
        ([page.human(name), row.score, row.decision], row)
        for name in opened.names
        for row in opened.result.networks[name].rows
        if row.attribute == results.MEAN
    ]
    differences = [
        ([f"{page.human(row.network)} minus {page.human(row.minus)}", row.decision], row)
        for row in opened.result.differences
    ]
    return page.render(
        "headline.html",
        opened=opened,
        row=rows[chosen],
        other=compared and compared.minus,
        difference=compared and compared.accuracy,
        images=images,
        fair=len(images) == 2 and abs(images[0] - images[1]) <= BUDGET * max(images),
        chart=chart,
        means=page.measured(["Network", "Score", "Decision"], means, "Means over attributes"),
        differences=page.measured(["Difference", "Decision"], differences, "Differences between networks"),
    )


def per_attribute(opened):
    """Accuracy of every network per attribute with intervals: a table, a chart, and tables with everything."""
    names, rows, dots = opened.names, [], []
    columns = [opened.rows(name, decision) for decision in (DECISION, TUNED) for name in names]
    for of_attribute in zip(*columns):
        first, title = of_attribute[0], page.human(of_attribute[0].attribute)
        accuracies = [row.accuracy for row in of_attribute]
        rows.append([title, cell(first.majority), *map(interval, accuracies), cell(first.positive)])
        dots.append((title, accuracies[: len(names)], first.majority))
    heads = [f"{page.heading(name)}, {decision}" for decision in (DECISION, TUNED) for name in names]
    chart = charts.dots(
        dots if len(opened.attributes) > 1 else dots[:1],
        [page.human(name) for name in names],
        "Accuracy, prior-corrected, with its 95 % interval",
        baseline="majority baseline",
        values=False,
    )
    details = {
        name: page.measured(
            ["Attribute", "Score", "Decision"],
            [([page.human(row.attribute), row.score, row.decision], row) for row in opened.result.networks[name].rows],
            f"All measures of {name}",
        )
        for name in names
    }
    table = page.table(["Attribute", "Majority baseline", *heads, "Share with it"], rows, "Accuracy", mean=True)
    return page.render("attributes.html", table=table, chart=chart, details=details)


# Groups of faces --------------------------------------------------------------------------------------------


def accuracies(right, labels, persons, resampled):
    """Accuracy of each attribute on the faces without and with each attribute: estimates [group][side][attribute].

    right: whether answers are right, (N, A) bool; labels: (N, A) bool; persons: of the faces, (N,), which are
    resampled; resampled: how often. The mean over the other attributes comes last; values are None where a group has
    no face.
    """
    count = labels.shape[1]
    sides = np.stack([~labels, labels], axis=2).reshape(len(labels), 2 * count).astype(np.float32)
    answers = (sides[:, :, np.newaxis] * right[:, np.newaxis]).reshape(len(labels), -1)
    itself = np.eye(count, dtype=bool)[np.newaxis, :, np.newaxis]

    def measure(weights):
        each = (weights @ answers).reshape(-1, count, 2, count)
        each = metrics.share(each, (weights @ sides).reshape(-1, count, 2, 1))
        mean = scoring.with_mean(np.where(itself, np.nan, each))[..., -1:]
        return np.concatenate([each, mean], axis=-1)

    samples = np.concatenate([measure(weights) for weights in metrics.resamples(persons, resampled)])
    values = measure(np.ones((1, len(labels)), np.float32))[0]
    return [
        [results.estimates(values[group, side], samples[:, group, side]) for side in (0, 1)] for group in range(count)
    ]


def by_group(opened):
    """One panel per attribute that divides the faces: accuracy of the other attributes on both sides."""
    count = len(opened.attributes)
    if count < 2:
        return ""
    decisions, _ = opened.answers(opened.chosen)
    persons = scoring.persons(opened.arrays[opened.chosen])
    found = accuracies(decisions == opened.labels, opened.labels, persons, opened.result.resamples)
    panels = {}
    for group in sorted(range(count), key=lambda place: (opened.attributes[place] not in NAMES, place)):
        (without, having), shown, rows = found[group], opened.shown[group], []
        titles = NAMES.get(opened.attributes[group], (f"without {shown}", f"with {shown}"))
        for place, name in enumerate([*opened.shown, "Mean"]):
            if place != group:
                both = without[place].value, having[place].value
                difference = None if None in both else both[0] - both[1]
                rows.append([name, interval(without[place]), interval(having[place]), cell(difference, "+")])
        sizes = [int((opened.labels[:, group] == side).sum()) for side in (False, True)]
        dots = [
            (f"{title} ({size:,} faces)", [side[-1]], None) for title, size, side in zip(titles, sizes, found[group])
        ]
        heads = ["Attribute", *map(page.heading, titles), "Difference"]
        chart = charts.dots(dots, ["accuracy"], "Mean accuracy of the other attributes, 95 % intervals")
        panels[shown] = chart + page.table(heads, rows, f"Accuracy by {shown}", mean=True)
    return page.render("groups.html", network=opened.chosen, panels=page.picker("Groups by", panels, "group"))


# The paper ---------------------------------------------------------------------------------------------------


def published(kind):
    """Table 2's rows for a kind of data set: dict method -> dict attribute -> accuracy; empty if it has none."""
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    found = {}
    for row in csv.DictReader(lines):
        dataset, method, _ = (row.pop(name) for name in ("dataset", "method", "printed_average"))
        if dataset == kind:
            found[method] = {name: float(value) / 100 for name, value in row.items()}
    return found


def beside_the_paper(opened):
    """Tuned accuracies beside those of table 2, and their means; empty where nothing is published for the data."""
    table = published(opened.result.source)
    shared = [name for name in opened.attributes if name in table.get(OURS, {})]
    if not shared:
        return ""
    columns = {name: {row.attribute: row.accuracy.value for row in opened.rows(name, TUNED)} for name in opened.names}
    columns.update((f"{method} (published)", table[method]) for method in (RIVAL, OURS))
    rows = [[page.human(name), *(cell(column[name]) for column in columns.values())] for name in shared]
    rows.append(["Mean", *(cell(np.mean([column[name] for name in shared])) for column in columns.values())])
    heads = ["Attribute", *map(page.heading, columns)]
    return page.render(
        "published.html",
        synthetic=opened.result.synthetic,
        table=page.table(heads, rows, "Accuracies beside table 2 of the paper", mean=True),
        rival=100 * np.mean(list(table[RIVAL].values())),
    )
