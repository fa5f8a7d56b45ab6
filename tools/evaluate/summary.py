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
        for score in scores(network):
            prior, tuned = (results.rows(network, decision, score)[-1] for decision in (PRIOR_CORRECTED, TUNED))
            lines.append(
                f"  {name}, {score}: accuracy {interval(prior.accuracy)} / {interval(tuned.accuracy)}, average "
                f"precision {cell(tuned.average_precision.value)}; majority baseline {tuned.majority:.3f}"
            )
    for row in result.differences:
        if row.decision == PRIOR_CORRECTED:
            (tuned,) = (
                other.accuracy
                for other in result.differences
                if (other.network, other.minus, other.decision) == (row.network, row.minus, TUNED)
            )
            difference = f"{interval(row.accuracy, '+')} / {interval(tuned, '+')}"
            lines.append(f"  {row.network} minus {row.minus}: accuracy {difference}")
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


def scores(network):
    """The scores of a NetworkResult, its answer last."""
    return list(dict.fromkeys(row.score for row in network.rows))


def overview(result):
    """Rows of all networks and scores: means over attributes under all decisions."""
    rows = []
    for name, network in result.networks.items():
        for score in scores(network):
            row = {"network": name, "score": score}
            for decision in DECISIONS:
                mean = results.rows(network, decision, score)[-1]
                row[f"{decision}, accuracy"] = mean.accuracy.value
                row[f"{decision}, balanced accuracy"] = mean.balanced_accuracy.value
                row[f"{decision}, F1"] = mean.f1.value
            rows.append({**row, "average precision": mean.average_precision.value})
    return rows


def published_rows(result):
    """Rows of the comparison with table 2; [] where nothing is published for the data set."""
    return [{"attribute": row.attribute, **row.accuracy} for row in result.published]


def csv_rows(result):
    """All rows of all networks."""
    return [{"network": name, **row} for name, network in result.networks.items() for row in as_dicts(network.rows)]


def tables(result):
    """The text of tables.txt."""
    parts = []
    for name, network in result.networks.items():
        for score in scores(network):
            title = f"{name}, {score}: {result.faces} {result.split} faces"
            parts.append((title, aligned([row for row in network.rows if row.score == score], SHOWN)))
        if network.regions:
            title = f"{name}: regions of raw responses, and revised by the average region, against true boxes"
            parts.append((title, aligned(network.regions)))
    if result.published:
        synthetic = "; the faces here are synthetic, the published ones are photos" if result.synthetic else ""
        title = f"Accuracy (tuned) beside table 2 of the paper, as published{synthetic}"
        parts.append((title, f"{aligned(published_rows(result))}\n{published.note(result.source)}"))
    parts.append(("Means over attributes", aligned(overview(result))))
    if result.differences:
        title = "Differences of means, with 95 % intervals of paired bootstrap resamples"
        parts.append((title, aligned(result.differences)))
    return "\n\n".join(f"{title}\n{text}" for title, text in parts) + "\n"
