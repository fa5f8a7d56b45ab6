"""The section of a report on training: validation and loss of every stage, and where early stopping acted."""

from models.options import NETWORKS
from tools import record
from tools.report import charts, page
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


def training(opened):
    """Curves of every stage's log, in the order of training, and a table of what the stages took."""
    run, parts = opened.run, []
    found = {path.parent.name: path for path in run.folder.glob("*/train.log")} if run.recorded else {}
    for name in [*NETWORKS, *sorted(set(found) - set(NETWORKS))]:
        if name in found:
            lines = found[name].read_text(errors="replace").splitlines()
            parts.append(stage(name, caffe_log.read(lines), opened.shown))
    parts = [part for part in parts if part]
    return page.render("training.html", stages=parts, table=stages(run)) if parts else ""


def stage(name, series, attributes):
    """The part of one stage; empty for a log without curves. series: as caffe_log.read gives them."""
    named = {f"{phase} {output}": points for (phase, output), points in series.items()}
    steps = rates(series)

    def chosen(holds):
        keys = [key for key in NAMES if key in named] + sorted(set(named) - set(NAMES))
        return {NAMES.get(key, key): named[key] for key in keys if holds(key)}

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
    on = of_attributes(series, "train", "attributes_training_each", attributes)
    panels = per_attribute(series, attributes, on)
    curves = page.picker("Attribute", panels) if panels else ""
    return page.render("stage.html", name=name, charts=shown, steps=steps, validated=bool(accuracy), curves=curves)


def of_attributes(series, phase, output, attributes):
    """The points of an output that holds a number per attribute: dict attribute -> list; {} where it does not."""
    points = [(i, values if isinstance(values, list) else [values]) for i, values in series.get((phase, output), [])]
    if not points or any(len(values) != len(attributes) for _, values in points):
        return {}
    return {name: [(i, values[place]) for i, values in points] for place, name in enumerate(attributes)}


def per_attribute(series, attributes, on):
    """Validation accuracy over iterations: dict attribute -> chart. on: where it was trained, as `of_attributes`."""
    found = {title: of_attributes(series, "test", output, attributes) for output, title in EACH.items()}
    panels = {}
    for name in attributes:
        points = {title: of[name] for title, of in found.items() if of}
        steps = [(i, "resumed" if after else "stopped") for i, _, after in caffe_log.changes(on.get(name, []))]
        title = "Validation accuracy at p > 0.5; dashed: early stopping"
        panels[name] = charts.lines(points, high=1, title=title if steps else title.split(";")[0], steps=steps[:8])
    return {name: chart for name, chart in panels.items() if chart}


def rates(series):
    """Where the learning rate changed: list of (iteration, words)."""
    points = [point for point in series.get(("train", "lr"), []) if charts.is_number(point[1])]
    changes = caffe_log.changes(points)
    return [(i, f"learning rate {after:g}") for i, _, after in changes] if len(changes) <= 8 else []


def stages(run):
    """Table of what each stage took."""
    rows = []
    for name in record.STAGES:
        if name != "evaluate" and run.done(name):
            its = run.stages[name]
            rate = f"{its.images_per_second:.1f}" if its.images_per_second else page.UNKNOWN
            took = f"{its.seconds / 60:,.1f}"
            rows.append([page.human(name), f"{its.iterations:,}", f"{its.images:,}", took, rate])
    heads = ["Stage", "Iterations", "Images per attribute", "Minutes", "Images per second"]
    return page.table(heads, rows, words="Stages")
