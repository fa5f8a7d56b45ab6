"""Rows (lists of dicts) as printed tables and CSV files."""

import csv


def text(value):
    """A cell as printed."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(rows, keys=None):
    """Print rows of one kind as an aligned table; words of the headings under each other."""
    keys = keys or list(rows[0])
    cells = [[text(row.get(key)) for key in keys] for row in rows]
    words = [key.split() for key in keys]
    height = max(map(len, words))
    heads = [[word[line] if line < len(word) else "" for word in words] for line in range(height)]
    widths = [max(len(row[i]) for row in heads + cells) for i in range(len(keys))]
    for row in heads + cells:
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip())


def write_csv(path, rows):
    """Write rows, their keys in the order they first come up. Raises OSError."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
