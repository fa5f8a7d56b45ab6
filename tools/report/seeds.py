"""Networks side by side, over the same faces and several seeds: tables of means and of differences, and a chart."""

import numpy as np

from data_prep.files import write_bytes
from tools.evaluate import results, scoring
from tools.evaluate.calibration import PRIOR_CORRECTED
from tools.evaluate.results import aligned, write_csv
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
    others, and with the task one inside it. images: dict network -> training images per attribute. Raises OSError.
    """
    answers = {name: [list(scores.values())[-1] for scores in seeds] for name, seeds in scored.items()}
    first, rows = next(iter(scored)), [means(name, seeds, images[name]) for name, seeds in answers.items()]
    write_csv(folder / "means.csv", rows)
    keys = [key for title in SHOWN for key in (title, f"{title}, spread")]
    parts = ["means over the seeds, and their standard deviations", aligned(rows, ["network", "seeds", *keys])]
    ours = answers.pop(first)
    if len(scored[first][0]) > 1:
        answers = {INSIDE: [scores["task one"] for scores in scored[first]], **answers}
    found = [
        {"network": first, "minus": name, "measure": heading(key), **over_seeds(ours, theirs, key)}
        for name, theirs in answers.items()
        for key in ours[0].values
    ]
    if found:
        write_csv(folder / "differences.csv", found)
        panels = {title: [row for row in found if row["measure"] == title] for title in SHOWN}
        write_bytes(folder / "differences.svg", charts.differences(f"{first} minus ...", panels).encode())
        for title, of_measure in panels.items():
            parts += [f"\n{first} minus the others, {title}; 95 % intervals of resampled persons, and of seeds too"]
            parts += [aligned(of_measure, COLUMNS, digits=4)]
    else:
        for name in ("differences.csv", "differences.svg"):
            (folder / name).unlink(missing_ok=True)  # of an earlier call with more variants
    return "\n".join(parts)


def means(name, seeds, images):
    """The row of a network: means over its seeds (list of Scored), and standard deviations ("spread"), a dict."""
    row = {"network": name, "seeds": len(seeds), "images per attribute": images}
    for key in seeds[0].values:
        values, title = [scored.values[key][-1] for scored in seeds], heading(key)
        row[title] = float(np.mean(values))
        row[f"{title}, spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return row


def over_seeds(ours, theirs, key):
    """Difference of two lists of Scored of the same faces, one per seed: cells of a row of differences.csv, a dict.

    key: of their values. "difference" is the mean over the seeds of the differences of the means over attributes, with
    the interval of resampled test and validation persons, the same for all seeds: what other faces would change.
    "seeds too" are the ends of the interval of resampled persons and seeds, None of one seed. For each resample of the
    seeds one seed less than there are is drawn, with replacement: means of S - 1 of S values have, on average, the
    spread of means of S new ones; those of S would have less (Rao and Wu 1988).
    """
    values, samples = map(np.stack, zip(*(our.minus(their, key) for our, their in zip(ours, theirs))))
    difference, both = results.difference(values.mean(), samples.mean(axis=0)), results.estimate()
    if len(values) > 1:
        chosen = np.random.RandomState(0).randint(len(values), size=(len(values) - 1, samples.shape[1]))
        both = results.difference(values.mean(), np.take_along_axis(samples, chosen, axis=0).mean(axis=0))
    return {
        "difference": difference.value,
        "difference low": difference.low,
        "difference high": difference.high,
        "low seeds too": both.low,
        "high seeds too": both.high,
        "by seed": " ".join(f"{value:+.4f}" for value in values),
    }


def heading(key):
    """The title of a key of scoring.Scored: "accuracy, tuned"; "average precision", which needs no decision."""
    decision, measure = key
    return measure.replace("_", " ") + (f", {decision}" if decision else "")
