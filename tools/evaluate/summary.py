"""An EvaluationResult as text: a few lines for the terminal, and all its tables for tables.txt."""

from tools.evaluate import published, results
from tools.evaluate.calibration import DECISIONS, PRIOR_CORRECTED, TUNED
from tools.evaluate.tables import aligned, as_dicts

# Columns of the tables per attribute; the CSV and JSON files hold the intervals too.
SHOWN = "attribute,positive,majority,decision,accuracy,balanced accuracy,F1,average precision".split(",")


def short(result):
    """Means with intervals and differences, a line each."""
    number, unit = len(result.attributes), "persons" if result.persons else "faces (persons are not known)"
    persons = f" of {result.persons:,} persons" if result.persons else ""
    lines = [
        f"Means over {number} attribute{'s' * (number > 1)} on {result.faces:,} {result.split} faces{persons}, with "
        f"95 % intervals over {unit}; prior-corrected / tuned on validation:"
    ]
    for name, network in result.networks.items():
        for score in results.scores(network):
            prior, tuned = (results.mean(network, decision, score) for decision in (PRIOR_CORRECTED, TUNED))
            lines.append(
                f"  {name}, {score}: accuracy {interval(prior.accuracy)} / {interval(tuned.accuracy)}, average "
                f"precision {cell(tuned.average_precision.value)}; majority baseline {tuned.majority:.3f}"
            )
    under = {decision: [row for row in result.differences if row.decision == decision] for decision in DECISIONS}
    for prior, tuned in zip(under[PRIOR_CORRECTED], under[TUNED]):
        difference = f"{interval(prior.accuracy, '+')} / {interval(tuned.accuracy, '+')}"
        lines.append(f"  {prior.network} minus {prior.minus}: accuracy {difference}")
    for name, network in result.networks.items():
        for row in network.regions or []:
            if row.attribute == results.MEAN and row.response == results.REVISED:
                lines.append(
                    f"  {name}, regions: IoU {row.iou:.3f}, box coverage {row.coverage:.3f}, pointing-game accuracy "
                    f"{row.pointing_game:.3f}"
                )
    return "\n".join(lines)


def interval(estimate, sign=""):
    """An Estimate as text."""
    value, low, high = (cell(number, sign) for number in (estimate.value, estimate.low, estimate.high))
    return value if estimate.low is None else f"{value} ({low} to {high})"


def cell(value, sign=""):
    """A number as text, also if it is None (not defined)."""
    return "-" if value is None else f"{value:{sign}.3f}"


def csv_rows(result):
    """All rows of all networks."""
    return [{"network": name, **row} for name, network in result.networks.items() for row in as_dicts(network.rows)]


def tables(result):
    """The text of tables.txt."""
    parts = []
    for name, network in result.networks.items():
        for score in results.scores(network):
            rows = [row for row in network.rows if row.score == score]
            parts.append((f"{name}, {score}: {result.faces} {result.split} faces", aligned(rows, SHOWN)))
        if network.regions:
            title = f"{name}: regions of raw responses, and revised by the average region, against true boxes"
            parts.append((title, aligned(network.regions)))
    beside = published.beside(result)
    if beside:
        synthetic = "; the faces here are synthetic, the published ones are photos" if result.synthetic else ""
        title = f"Accuracy (tuned) beside table 2 of the paper, as published{synthetic}"
        parts.append((title, f"{aligned(beside)}\n{published.note(result.source)}"))
    means = [row for row in csv_rows(result) if row["attribute"] == results.MEAN]
    keys = ["network", "score", *(key for key in means[0] if key not in ("network", "score", "attribute", "positive"))]
    parts.append(("Means over attributes, with 95 % intervals of bootstrap resamples", aligned(means, keys)))
    if result.differences:
        parts.append(("Differences of these means, of paired resamples", aligned(result.differences)))
    return "\n\n".join(f"{title}\n{text}" for title, text in parts) + "\n"
