"""Networks side by side, over the same faces and several seeds: tables of means and of differences, and a chart."""

import numpy as np

from data_prep.files import write_bytes
from tools.evaluate import results, scoring
from tools.evaluate.calibration import PRIOR_CORRECTED
from tools.evaluate.summary import aligned, write_csv
from tools.report import charts

INSIDE = "the task one inside it"
# Printed and drawn; the CSV files hold all measures.
SHOWN = (f"accuracy, {PRIOR_CORRECTED}", "average precision")
COLUMNS = ("minus", "difference", "difference low", "difference high", "low seeds too", "high seeds too", "by seed")


def scores_of(run, network):
    """dict score -> scoring.Scored of an evaluated network of a run: its task one and its answer, where it has both.

    run: tools.run.Run; network: name of the stage that is evaluated. Raises ToolError.
    """
    folder = run.place("evaluate")
    result = results.read(folder)
    arrays = results.read_arrays(folder, network, result)
    return scoring.of_network(arrays, result.prior, result.tuned_for, result.resamples)


def conclude(folder, scored, images):
    """Write means.csv, differences.csv and differences.svg; returns the text of the compact tables.

    scored: dict network -> list, one per seed, of what scores_of returns; the first network is compared with the
    others. images: dict network -> training images per attribute. Raises OSError.
    """
    first, rows = next(iter(scored)), means(scored, images)
    write_csv(folder / "means.csv", rows)
    keys = [key for title in SHOWN for key in (title, f"{title}, spread")]
    parts = ["means over the seeds, and their standard deviations", aligned(rows, ["network", "seeds", *keys])]
    found = differences(scored, first)
    if found:
        write_csv(folder / "differences.csv", found)
        panels = {title: [row for row in found if row.measure == title] for title in SHOWN}
        write_bytes(folder / "differences.svg", charts.differences(f"{first} minus ...", panels).encode())
        for title, of_measure in panels.items():
            parts += [f"\n{first} minus the others, {title}; 95 % intervals of resampled persons, and of seeds too"]
            parts += [aligned(of_measure, COLUMNS, digits=4)]
    return "\n".join(parts)


def means(scored, images):
    """A row per network: means over its seeds, and standard deviations ("spread"), of every measure of its answer."""
    rows = []
    for name, seeds in scored.items():
        row = {"network": name, "seeds": len(seeds), "images per attribute": images[name]}
        for key in answer(seeds[0]).values:
            values, title = [answer(scores).values[key][-1] for scores in seeds], heading(key)
            row[title] = float(np.mean(values))
            row[f"{title}, spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def differences(scored, first):
    """How much better one network is than each other one, and than the task one inside it: scoring.SeedDifferences."""
    ours = list(map(answer, scored[first]))
    rivals = {name: list(map(answer, seeds)) for name, seeds in scored.items() if name != first}
    if len(scored[first][0]) > 1:
        rivals = {INSIDE: [scores["task one"] for scores in scored[first]], **rivals}
    return [
        scoring.SeedDifference(first, name, heading(key), **scoring.over_seeds(ours, theirs, key))
        for name, theirs in rivals.items()
        for key in ours[0].values
    ]


def answer(scored):
    """The Scored of the answer among those that scores_of returns."""
    return list(scored.values())[-1]


def heading(key):
    """The title of a key of scoring.Scored: "accuracy, tuned"; "average precision", which needs no decision."""
    decision, measure = key
    return measure.replace("_", " ") + (f", {decision}" if decision else "")
