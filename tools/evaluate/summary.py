"""An EvaluationResult as text: a few lines for the terminal, and all its tables for tables.txt."""

from tools.evaluate import localisation, published, results
from tools.evaluate.calibration import TUNED
from tools.evaluate.tables import aligned, as_dicts

# Columns of the tables per attribute; the CSV and JSON files hold the intervals too.
SHOWN = "attribute,positive,majority,decision,accuracy,balanced accuracy,F1,average precision".split(",")


def signed_interval(value, low, high):
    """A difference with its interval."""
    ends = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
    return f"{value:+.3f}{ends}"


def short(result):
    """Means with intervals and differences, a line each."""
    number = len(result.attributes)
    lines = [
        f"Means over {number} attribute{'s' * (number > 1)} on {result.faces} {result.split} faces, thresholds tuned "
        "on validation, with 95 % intervals:"
    ]
    for name, network in result.networks.items():
        for score, row in mean_rows(network):
            lines.append(
                f"  {name}, {score}: accuracy {row.accuracy:.3f} ({row.accuracy_low:.3f} to {row.accuracy_high:.3f}), "
                f"balanced accuracy {cell(row.balanced_accuracy)}; majority baseline {row.majority:.3f}"
            )
    for row in result.differences:
        difference = signed_interval(row.accuracy, row.accuracy_low, row.accuracy_high)
        lines.append(f"  {row.network} minus {row.minus}: accuracy {difference}")
    for name, network in result.networks.items():
        for row in network.regions or []:
            if row.attribute == results.MEAN and row.response == localisation.REVISED:
                lines.append(
                    f"  {name}, regions: IoU {row.iou:.3f}, box coverage {row.coverage:.3f}, pointing-game accuracy "
                    f"{row.pointing_game:.3f}"
                )
    return "\n".join(lines)


def cell(value):
    """A number as text, also if it is None (not defined)."""
    return "-" if value is None else f"{value:.3f}"


def mean_rows(network, decision=TUNED):
    """The (score, Row of the mean over attributes) of a NetworkResult under one decision."""
    return [(row.score, row) for row in network.rows if row.attribute == results.MEAN and row.decision == decision]


def overview(result):
    """Rows of all networks and scores: means over attributes under all decisions."""
    rows = []
    for name, network in result.networks.items():
        for score in dict.fromkeys(row.score for row in network.rows):
            row = {"network": name, "score": score}
            for mean in network.rows:
                if mean.attribute == results.MEAN and mean.score == score:
                    row[f"{mean.decision}, accuracy"] = mean.accuracy
                    row[f"{mean.decision}, balanced accuracy"] = mean.balanced_accuracy
                    row[f"{mean.decision}, F1"] = mean.f1
                    row["average precision"] = mean.average_precision
            rows.append(row)
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
        for score in dict.fromkeys(row.score for row in network.rows):
            title = f"{name}, {score}: {result.faces} {result.split} faces"
            parts.append((title, aligned([row for row in network.rows if row.score == score], SHOWN)))
        if network.regions:
            title = f"{name}: regions of raw responses, and revised by the average region, against true boxes"
            parts.append((title, aligned(network.regions)))
    if result.published:
        synthetic = "; the faces here are synthetic, the published ones are photos" if result.synthetic_faces else ""
        title = f"Accuracy (tuned) beside table 2 of the paper, as published{synthetic}"
        parts.append((title, f"{aligned(published_rows(result))}\n{published.note(result.source)}"))
    parts.append(("Means over attributes", aligned(overview(result))))
    if result.differences:
        title = "Differences of means (tuned), with 95 % intervals of paired bootstrap resamples"
        parts.append((title, aligned(result.differences)))
    return "\n\n".join(f"{title}\n{text}" for title, text in parts) + "\n"
