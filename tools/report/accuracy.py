"""The sections on accuracy: what was measured on what, how good it is, how the networks compare, and each attribute."""

from models.options import NETWORKS
from tools.evaluate import results
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED
from tools.evaluate.summary import cell, interval
from tools.install import engines
from tools.report import charts, page

DECISION = PRIOR_CORRECTED  # of the headline: it depends on no threshold that is chosen by few faces
BUDGET = 0.02  # budgets that differ by no more than this share are called equal


def facts(opened):
    """What, when, from which commit, with which settings, on which data: a list of terms."""
    run = opened.run
    done = {name: run.stages[name] for name in NETWORKS if run.recorded and run.done(name)}
    commits = sorted({page.short(stage.made_with.get("commit", "unknown")) for stage in done.values()})
    engine = engines.NAMES[run.settings.engine]
    return page.render("facts.html", opened=opened, run=run, done=done, commits=commits, engine=engine)


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
