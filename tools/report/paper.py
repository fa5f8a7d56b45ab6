"""The section of a report on the paper: accuracies beside table 2, of five methods on CelebA and LFWA."""

import csv
import pathlib

import numpy as np

from tools.evaluate.calibration import TUNED
from tools.evaluate.summary import cell
from tools.report import page

TABLE = pathlib.Path(__file__).with_name("table2.csv")
# The methods that results are compared with: the paper's own, and the best of the others.
OURS, RIVAL = "Paper", "LNets+ANet"
NOTE = (
    "Published means over different attributes are not comparable: the paper sets its means over 20 attributes beside "
    "LNets+ANet's 87 (CelebA) and 84 (LFWA), which are over all 40; over the same 20 LNets+ANet has {rival:.2f} here."
)


def published(kind):
    """Table 2's rows for a kind of data set: dict method -> dict attribute -> accuracy; empty if it has none."""
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    found = {}
    for row in csv.DictReader(lines):
        dataset, method, _ = (row.pop(name) for name in ("dataset", "method", "printed_average"))
        if dataset == kind:
            found[method] = {name: float(value) / 100 for name, value in row.items()}
    return found


def beside_the_paper(opened):
    """Tuned accuracies beside those of table 2, and their means; empty where nothing is published for the data."""
    table = published(opened.result.source)
    shared = [name for name in opened.attributes if name in table.get(OURS, {})]
    if not shared:
        return ""
    columns = {name: {row.attribute: row.accuracy.value for row in opened.rows(name, TUNED)} for name in opened.names}
    columns.update((f"{method} (published)", table[method]) for method in (RIVAL, OURS))
    rows = [[page.human(name), *(cell(column[name]) for column in columns.values())] for name in shared]
    rows.append(["Mean", *(cell(np.mean([column[name] for name in shared])) for column in columns.values())])
    heads = ["Attribute", *map(page.heading, columns)]
    return page.render(
        "published.html",
        synthetic=opened.result.synthetic,
        table=page.table(heads, rows, "Accuracies beside table 2 of the paper", mean=True),
        note=NOTE.format(rival=100 * np.mean(list(table[RIVAL].values()))),
    )
