"""The head of a report: what was measured on what, how good it is, and how it compares with the other networks."""

from models.options import NETWORKS
from tools.evaluate import results
from tools.evaluate.calibration import PRIOR_CORRECTED
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


def compared(opened):
    """The network that the chosen one is compared with, and the Estimate of the difference of mean accuracies.

    The whole face where it was evaluated; else task one alone; (None, None) where the chosen network stands alone.
    """
    accuracies = {}
    for row in opened.result.differences:
        if row.decision == DECISION and row.accuracy.value is not None:
            accuracies[row.network, row.minus], accuracies[row.minus, row.network] = row.accuracy, -row.accuracy
    for name in reversed(NETWORKS):
        if (opened.chosen, name) in accuracies:
            return name, accuracies[opened.chosen, name]
    return None, None


def headline(opened):
    """The answer with its chart, then the means of all networks under all decisions, and their differences."""
    rows = {name: opened.rows(name, DECISION)[-1] for name in opened.names}
    low = charts.lowest([row.accuracy for row in rows.values()], [row.majority for row in rows.values()])
    chart = charts.dots(
        [(page.human(name), [row.accuracy], row.majority) for name, row in rows.items()],
        ["accuracy"],
        "Mean accuracy, prior-corrected, with its 95 % interval",
        low,
        1.0,
        "accuracy of always giving the more frequent answer (majority baseline)",
    )
    other, difference = compared(opened)
    stages = opened.run.stages if opened.run.recorded else {}
    images = [stages[name].images for name in (opened.chosen, other) if name in stages]
    return page.render(
        "headline.html",
        opened=opened,
        row=rows[opened.chosen],
        other=other,
        difference=difference,
        images=images,
        fair=len(images) == 2 and abs(images[0] - images[1]) <= BUDGET * max(*images, 1),
        chart=chart,
        means=means(opened),
        differences=differences(opened),
    )


def means(opened):
    """Table of the means over attributes of every score of every network under every decision."""
    rows = [
        ([page.human(name), row.score, row.decision], row)
        for name in opened.names
        for row in opened.result.networks[name].rows
        if row.attribute == results.MEAN
    ]
    return page.measured(["Network", "Score", "Decision"], rows, "Means over attributes")


def differences(opened):
    """Table of the differences between all pairs of networks."""
    rows = [
        ([f"{page.human(row.network)} minus {page.human(row.minus)}", row.decision], row)
        for row in opened.result.differences
    ]
    return page.measured(["Difference", "Decision"], rows, "Differences between networks")
