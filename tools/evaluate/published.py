"""Published figures: table 2 of the paper, the accuracies of five methods on twenty attributes of CelebA and LFWA."""

import csv
import pathlib

import numpy as np

from tools.evaluate import results
from tools.evaluate.calibration import TUNED

TABLE = pathlib.Path(__file__).with_name("table2.csv")
# The methods that results are compared with: the paper's own, and the best of the others.
OURS, RIVAL = "Paper", "LNets+ANet"
NOTE = (
    "Published means over different attributes are not comparable: the paper sets its means over 20 attributes beside "
    "LNets+ANet's 87 (CelebA) and 84 (LFWA), which are over all 40; over the same 20 LNets+ANet has {rival:.2f} here."
)


def rows(kind):
    """Table 2's rows for a kind of data set: dict method -> dict attribute -> accuracy; empty if it has none."""
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    found = {}
    for row in csv.DictReader(lines):
        dataset, method, _ = (row.pop(name) for name in ("dataset", "method", "printed_average"))
        if dataset == kind:
            found[method] = {name: float(value) / 100 for name, value in row.items()}
    return found


def mean(row, attributes=None):
    """Mean accuracy of a row over attributes, those of table 2 by default; NaN if one is missing."""
    return float(np.mean([row.get(name, np.nan) for name in attributes or row]))


def beside(result):
    """The tuned accuracies of an EvaluationResult beside table 2: a dict for every attribute of it, and for the mean.

    Keys: "attribute", the networks, and methods of table 2. [] for another data set or other attributes.
    """
    table = rows(result.source)
    shared = [name for name in result.attributes if name in table.get(OURS, {})]
    if not shared:
        return []
    columns = {
        name: {row.attribute: row.accuracy.value for row in results.rows(network, TUNED)}
        for name, network in result.networks.items()
    }
    columns.update((f"{method} (published)", table[method]) for method in (RIVAL, OURS))
    found = [{"attribute": name, **{title: column.get(name) for title, column in columns.items()}} for name in shared]
    means = {title: mean(column, shared) for title, column in columns.items()}
    return [*found, {"attribute": results.MEAN, **means}]


def note(kind):
    """The sentence on means over 20 and over 40 attributes for a data set of table 2."""
    return NOTE.format(rival=100 * mean(rows(kind)[RIVAL]))
