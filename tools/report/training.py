"""The section of a report on training: validation and loss of every stage, and where early stopping acted."""

import pathlib

import numpy as np

from tools.report import charts, page
from tools.report.headline import STAGES
from tools.train import caffe_log

# Outputs of the networks that hold a number per attribute, and the score that they are of.
EACH = {"accuracy_attribute_each": "full network", "accuracy_region_each": "task one"}
NAMES = {
    "train loss": "training: all losses, averaged",
    "train loss_region": "training: task one (L1)",
    "train loss_attribute": "training: full network (L2)",
    "test loss_region": "validation: task one (L1)",
    "test loss_attribute": "validation: full network (L2)",
    "test accuracy_region": "task one",
    "test accuracy_attribute": "full network",
    "train attributes_training": "attributes",
}


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
    trained = series_of.get(("train", "attributes_training_each"), [[]] * len(attributes))
    names = [name for name in EACH if ("test", name) in series_of]
    stopped = any(not on for points in trained for _, on in points)
    body = ""
    if names:
        rows = [
            (
                page.human(attribute),
                [series_of["test", name][a] for name in names],
                [(i, not on) for i, on in trained[a]] if stopped else [],
            )
            for a, attribute in enumerate(attributes)
        ]
        lowest = min(
            (v for _, cells, _ in rows for points in cells for _, v in points if charts.is_number(v)), default=0.5
        )
        low = min(0.5, float(np.floor(10 * lowest) / 10))
        rows = [
            (label, [[point for point in points if charts.is_number(point[1])] for points in cells], marks)
            for label, cells, marks in rows
        ]
        title = "Validation accuracy per attribute at p > 0.5 over iterations; the last value stands above each chart."
        band = "early stopping: the attribute was not trained in the mini-batch logged" if stopped else ""
        body = charts.multiples(rows, [EACH[name] for name in names], title, low, 1, band)
    return body, when_stopped(attributes, trained)


def when_stopped(attributes, trained):
    """Table of the attributes that early stopping paused; empty where it paused none."""
    rows = []
    for attribute, points in zip(attributes, trained):
        stops = [i for i, on in points if not on]
        if stops:
            resumed = sum(before < after for _, before, after in caffe_log.pauses(points))
            rows.append([page.human(attribute), stops[0], f"{len(stops)} of {len(points)}", resumed])
    heads = ["Attribute", "First stopped at iteration", "Stopped in logged mini-batches", "Times resumed"]
    return page.table(heads, rows, words="Early stopping")


def rates(series):
    """Where the learning rate changed: list of (iteration, words)."""
    points = [point for point in series.get(("train", "lr"), []) if charts.is_number(point[1])]
    changes = [(i, after) for (_, before), (i, after) in zip(points, points[1:]) if before != after]
    return [(i, f"learning rate {after:g}") for i, after in changes] if len(changes) <= 8 else []


def logs(run):
    """The stages' logs in the order of training, others after them: list of (stage, path)."""
    found = {path.parent.name: path for path in pathlib.Path(run).glob("*/train.log")}
    order = [*STAGES, *sorted(set(found) - set(STAGES))]
    return [(name, found[name]) for name in order if name in found]


def stage(name, log, attributes):
    """The part of one stage; empty for a log without curves."""
    series = caffe_log.read(log.read_text(errors="replace").splitlines())
    named = {f"{phase} {name}": points for (phase, name), points in series.items()}
    steps = rates(series)

    def chosen(holds):
        keys = sorted(
            filter(holds, named), key=lambda key: (key not in NAMES, list(NAMES).index(key) if key in NAMES else 0)
        )
        return {NAMES.get(key, key): named[key] for key in keys}

    accuracy = chosen(lambda key: key.startswith("test") and "accuracy" in key and not key.endswith("_each"))
    parts = [charts.lines(accuracy, high=1, title="Validation accuracy at p > 0.5, mean over attributes", steps=steps)]
    parts.append(charts.lines(chosen(lambda key: "loss" in key), low=0, title="Losses", steps=steps))
    active = chosen(lambda key: key == "train attributes_training")
    counts = [value for points in active.values() for _, value in points if charts.is_number(value)]
    if counts and min(counts) < max(counts):
        parts.append(charts.lines(active, low=0, title="Attributes that early stopping lets train", steps=steps))
    shown = [part for part in parts if part]
    if not shown:
        return ""
    curves, table = each(series, attributes)
    return page.render(
        "stage.html", name=name, charts=shown, steps=steps, validated=bool(accuracy), curves=curves, stopped=table
    )


def training(run, attributes, record=None):
    """Curves of every stage's log.

    run: folder with the logs; record: the run's record (tools.run.Run) for the table of stages, or None
    """
    parts = [part for name, log in logs(run) if (part := stage(name, log, attributes))]
    return page.render("training.html", stages=parts, table=stages(record)) if parts else ""


def stages(record):
    """Table of what each stage took; empty without a record."""
    rows = []
    for name in ("region", "average", "cascade", "whole_face"):
        if record and record.done(name):
            its = record.stages[name]
            rate = f"{its.images_per_second:.1f}" if its.images_per_second else page.UNKNOWN
            took = f"{its.seconds / 60:,.1f}"
            rows.append([page.human(name), f"{its.iterations:,}", f"{its.images:,}", took, rate])
    heads = ["Stage", "Iterations", "Images per attribute", "Minutes", "Images per second"]
    return page.table(heads, rows, words="Stages")
