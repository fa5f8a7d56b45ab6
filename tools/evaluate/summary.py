"""An EvaluationResult as text: a few lines for the terminal, all its tables for tables.txt, and rows of a CSV file."""

import csv
import dataclasses

from data_prep import files
from tools.evaluate import published, results
from tools.evaluate.calibration import DECISIONS, PRIOR_CORRECTED, TUNED

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


# Rows: dicts, or records of one kind ------------------------------------------------------------------------


def as_dicts(rows):
    """Rows as dicts: records by the headings of their fields, an Estimate as its value, low and high."""
    return [_flat(row) if dataclasses.is_dataclass(row) else row for row in rows]


def _flat(row):
    cells = {}
    # Fields of a base class, the measures, come last.
    for field in sorted(dataclasses.fields(row), key=lambda field: field.name in results.NAMES):
        value, name = getattr(row, field.name), results.heading(field)
        if dataclasses.is_dataclass(value):
            cells.update({name: value.value, f"{name} low": value.low, f"{name} high": value.high})
        else:
            cells[name] = " ".join(f"{number:+.4f}" for number in value) if isinstance(value, list) else value
    return cells


def aligned(rows, keys=None, digits=3):
    """Rows as an aligned table; long headings are broken into lines. keys: the columns, all by default."""
    rows = as_dicts(rows)
    keys = keys or list(rows[0])

    def text(value):
        return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    cells = [[text(row.get(key)) for key in keys] for row in rows]
    words = [key.split() for key in keys]
    height = max(map(len, words))
    heads = [[word[line] if line < len(word) else "" for word in words] for line in range(height)]
    widths = [max(len(row[i]) for row in heads + cells) for i in range(len(keys))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip()
        for row in heads + cells
    )


def write_csv(path, rows):
    """Write rows, their keys in the order they first come up. Raises OSError."""
    rows = as_dicts(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with files.replacing(path, "w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
