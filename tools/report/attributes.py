"""The sections of a report per attribute: accuracies with intervals, all measures, and the published accuracies."""

from tools.evaluate import published, results
from tools.evaluate.calibration import TUNED
from tools.report import charts, page
from tools.report.headline import DECISION


def mean_or_name(attribute):
    """The heading of a row."""
    return "Mean" if attribute == results.MEAN else page.human(attribute)


def per_attribute(opened):
    """Accuracy of every network per attribute with intervals: a table, a chart, and tables with everything."""
    names, rows, dots = opened.names, [], []
    columns = [opened.rows(name, decision) for decision in (DECISION, TUNED) for name in names]
    for of_attribute in zip(*columns):
        first, title = of_attribute[0], mean_or_name(of_attribute[0].attribute)
        cells = [page.number(row.accuracy) for row in of_attribute]
        rows.append([title, page.number(first.majority), *cells, page.number(first.positive)])
        dots.append((title, [row.accuracy for row in of_attribute[: len(names)]], first.majority))
    heads = [f"{page.heading(name)}, {decision}" for decision in (DECISION, TUNED) for name in names]
    low = charts.lowest([cell for _, cells, _ in dots for cell in cells], [majority for _, _, majority in dots])
    chart = charts.dots(
        dots if len(opened.attributes) > 1 else dots[:1],
        [page.human(name) for name in names],
        "Accuracy, prior-corrected, with its 95 % interval",
        low,
        1.0,
        "majority baseline",
        values=False,
    )
    return page.render(
        "attributes.html",
        table=page.with_mean(["Attribute", "Majority baseline", *heads, "Share with it"], rows, "Accuracy"),
        chart=chart,
        details={name: measures(opened, name) for name in names},
    )


def measures(opened, name):
    """Table of all measures of a network: a row per score, attribute and decision."""
    rows = [([mean_or_name(row.attribute), row.score, row.decision], row) for row in opened.result.networks[name].rows]
    return page.measured(["Attribute", "Score", "Decision"], rows, f"All measures of {name}")


def beside_the_paper(opened):
    """Accuracies beside those of table 2; empty where nothing is published for the data set."""
    rows = published.beside(opened.result)
    if not rows:
        return ""
    titles = list(rows[0])[1:]
    cells = [[mean_or_name(row["attribute"]), *(page.number(row[title]) for title in titles)] for row in rows]
    table = page.with_mean(["Attribute", *map(page.heading, titles)], cells, "Accuracies beside table 2 of the paper")
    note = published.note(opened.result.source)
    return page.render("published.html", synthetic=opened.result.synthetic, table=table, note=note)
