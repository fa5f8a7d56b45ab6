"""The sections of a report per attribute: accuracies with intervals, all measures, and the published accuracies."""

import numpy as np

from tools.evaluate import published, results, summary
from tools.report import charts, page

MEASURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "average_precision": "Average precision",
}


def mean_or_name(attribute):
    """The heading of a row."""
    return "Mean" if attribute == results.MEAN else page.human(attribute)


def split_foot(rows):
    """Rows of a table, and the last of them, the mean, as the one that stays in sight; no mean of one attribute."""
    return (rows[:-1], rows[-1]) if len(rows) > 2 else (rows[:-1], None)


def per_attribute(opened):
    """Accuracy of every network per attribute with intervals: a table, a chart, and tables with everything."""
    names = opened.ordered()
    parts = {name: opened.rows(name) for name in names}
    rows, dots = [], []
    for place, attribute in enumerate([*opened.attributes, results.MEAN]):
        cells = [parts[name][place] for name in names]
        first = cells[0]
        shares = [page.number(first.majority), page.number(first.positive)]
        rows.append([mean_or_name(attribute), *(page.measure(row, "accuracy") for row in cells), *shares])
        intervals = [(row.accuracy.value, row.accuracy.low, row.accuracy.high) for row in cells]
        dots.append((mean_or_name(attribute), intervals, first.majority))
    heads = ["Attribute", *map(page.heading, names), "Majority baseline", "Share with it"]
    ends = [value for _, cells, base in dots for value in [base, *(cell[1] for cell in cells)] if value is not None]
    low = float(np.floor(10 * min(ends)) / 10)
    chart = charts.dots(
        dots if len(opened.attributes) > 1 else dots[:1],
        [page.human(name) for name in names],
        "Accuracy with its 95 % interval",
        min(low, 0.9),
        1.0,
        "majority baseline",
        values=False,
    )
    return page.render(
        "attributes.html",
        table=page.table(heads, *split_foot(rows), words="Accuracy per attribute"),
        chart=chart,
        details={name: measures(opened, name) for name in names},
    )


def measures(opened, name):
    """Table of all measures of a network: a row per score, attribute and decision."""
    rows = [
        [mean_or_name(row.attribute), row.score, row.decision, *(page.measure(row, key) for key in MEASURES)]
        for row in opened.result.networks[name].rows
    ]
    return page.table(["Attribute", "Score", "Decision", *MEASURES.values()], rows, words=f"All measures of {name}")


def beside_the_paper(opened):
    """Accuracies beside those of table 2; empty where nothing is published for the data set."""
    rows = summary.published_rows(opened.result)
    if not rows:
        return ""
    titles = list(rows[0])[1:]
    cells = [[mean_or_name(row["attribute"]), *(page.number(row.get(title)) for title in titles)] for row in rows]
    here = " (here)"
    heads = [f"{page.heading(title.removesuffix(here))}{here}" if title.endswith(here) else title for title in titles]
    return page.render(
        "published.html",
        synthetic=opened.result.synthetic,
        table=page.table(["Attribute", *heads], *split_foot(cells), words="Accuracies beside table 2 of the paper"),
        note=published.note(opened.result.source) if opened.result.source in ("celeba", "lfwa") else "",
    )
