"""The part of a report on training: curves of every stage's log, and where early stopping acted."""

import html
import pathlib

import numpy as np

from tools.report import charts, page
from tools.train import caffe_log

# Outputs of the networks that hold a number per attribute, and the score that they are of.
EACH = {"accuracy_attribute_each": "full network", "accuracy_region_each": "task one"}


def each(series, attributes):
    """What a log says per attribute: accuracy on validation over iterations, and where early stopping acted."""
    series_of = {}
    for phase, name in series:
        points = series[phase, name]
        if name.endswith("_each") and points:
            columns = [value if isinstance(value, list) else [value] for _, value in points]
            if all(len(column) == len(attributes) for column in columns):
                series_of[phase, name] = [
                    [(i, c[a]) for (i, _), c in zip(points, columns)] for a in range(len(attributes))
                ]
    names = [name for name in EACH if ("test", name) in series_of]
    if not names:
        return ""
    trained = series_of.get(("train", "attributes_training_each"), [[]] * len(attributes))
    rows = [
        (attribute, [series_of["test", name][a] for name in names], [(i, not on) for i, on in trained[a]])
        for a, attribute in enumerate(attributes)
    ]
    lowest = min(value for _, cells, _ in rows for points in cells for _, value in points)
    low = min(0.5, float(np.floor(10 * lowest) / 10))
    title = "Accuracy per attribute at p > 0.5 on validation; the latest is written above"
    body = charts.multiples(rows, [EACH[name] for name in names], title, low, 1, "stopped early in the batch logged")
    stopped = []
    for attribute, points in zip(attributes, trained):
        stops = [i for i, on in points if not on]
        if stops:
            resumed = sum(before < after for _, before, after in caffe_log.pauses(points))
            row = {"attribute": attribute, "first stopped at": stops[0], "stopped in logged batches": len(stops)}
            stopped.append({**row, "of": len(points), "resumed": resumed})
    if stopped:
        body += f"<details><summary>When early stopping acted</summary>{page.table(stopped)}</details>"
    return body


def training(run, attributes):
    """Curves of every stage's log."""
    body = ""
    for log in sorted(pathlib.Path(run).glob("*/train.log")):
        series = caffe_log.read(log.read_text(errors="replace").splitlines())
        named = {f"{phase} {name}": points for (phase, name), points in series.items()}
        losses = {name: points for name, points in named.items() if "loss" in name}
        shares = {name: points for name, points in named.items() if "accuracy" in name and not name.endswith("_each")}
        active = {name: points for name, points in named.items() if name == "train attributes_training"}
        parts = charts.lines(losses, low=0, title="Losses")
        parts += charts.lines(shares, high=1, title="Accuracy at p > 0.5 on validation, all attributes")
        parts += charts.lines(active, low=0, title="Attributes that the mini-batch still trains (early stopping)")
        if parts:
            body += f'<h3>{html.escape(log.parent.name)}</h3><div class="charts">{parts}</div>'
            body += each(series, attributes)
            stops = caffe_log.pauses(series.get(("train", "attributes_training"), []))
            if stops:
                words = "; ".join(f"iteration {i}: {before} to {after}" for i, before, after in stops[:12])
                body += f"<p class=pale>Attributes training changed at {words}{' ...' if len(stops) > 12 else ''}.</p>"
    return body
