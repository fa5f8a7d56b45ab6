"""Rows (dicts, or records of one kind) as aligned text and as CSV files."""

import csv
import dataclasses

from data_prep import files
from tools.evaluate.results import NAMES, heading


def as_dicts(rows):
    """Rows as dicts: records by the headings of their fields, an Estimate as its value, low and high."""
    return [_flat(row) if dataclasses.is_dataclass(row) else row for row in rows]


def _flat(row):
    cells = {}
    # Fields of a base class, the measures, come last.
    for field in sorted(dataclasses.fields(row), key=lambda field: field.name in NAMES):
        value, name = getattr(row, field.name), heading(field)
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
