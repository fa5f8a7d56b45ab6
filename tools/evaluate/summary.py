"""An evaluation as text: a few lines for the terminal, and rows of tables and of CSV files."""

import csv

from data_prep import files
from tools.evaluate import results
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED


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
    for prior, tuned in zip(result.differences[::2], result.differences[1::2]):
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
    """An estimate as text."""
    value, low, high = (cell(number, sign) for number in (estimate.value, estimate.low, estimate.high))
    return value if estimate.low is None else f"{value} ({low} to {high})"


def cell(value, sign=""):
    """A number as text, also if it is None (not defined)."""
    return "-" if value is None else f"{value:{sign}.3f}"


def csv_rows(result):
    """All rows of all networks by the headings of their keys, a measure as its value, low and high: list of dicts."""
    rows = []
    for network, of_network in result.networks.items():
        for row in of_network.rows:
            cells = {"network": network}
            for key, value in row.items():
                title = results.heading(key)
                if isinstance(value, dict):
                    cells.update({title: value.value, f"{title} low": value.low, f"{title} high": value.high})
                else:
                    cells[title] = value
            rows.append(cells)
    return rows


def aligned(rows, keys=None, digits=3):
    """Rows, a list of dicts, as an aligned table; long headings are broken into lines. keys: the columns, or all."""
    keys = keys or list(rows[0])

    def text(value):
        return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    words = [key.split() for key in keys]
    heads = [[word[line] if line < len(word) else "" for word in words] for line in range(max(map(len, words)))]
    cells = [*heads, *([text(row.get(key)) for key in keys] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(keys))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip()
        for row in cells
    )


def write_csv(path, rows):
    """Write rows, a list of dicts, their keys in the order they first come up. Raises OSError."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with files.replacing(path, "w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
