"""The section of a report on training: validation and loss of every stage, and where early stopping acted."""

from models.options import NETWORKS
from tools import record
from tools.report import charts, page
from tools.train import caffe_log

# Titles of curves, by phase and output; of others they are these.
TITLES = {
    ("train", "loss"): "training: all losses, averaged",
    ("train", "loss_region"): "training: task one (L1)",
    ("train", "loss_attribute"): "training: full network (L2)",
    ("test", "loss_region"): "validation: task one (L1)",
    ("test", "loss_attribute"): "validation: full network (L2)",
    ("test", "accuracy_region"): "task one",
    ("test", "accuracy_attribute"): "full network",
}
TRAINING = ("train", "attributes_training")  # how many attributes early stopping lets train
EACH = "_each"  # end of the names of outputs that hold a number per attribute


def training(opened):
    """Curves of every stage's log, in the order of training, and a table of what the stages took."""
    run, parts = opened.run, []
    logs = {name: run.folder / name / "train.log" for name in NETWORKS if run.recorded}
    for name, log in logs.items():
        if log.exists():
            series = caffe_log.read(log.read_text(errors="replace").splitlines())
            parts.append(stage(name, series, opened.shown))
    parts = [part for part in parts if part]
    return page.render("training.html", stages=parts, table=stages(run)) if parts else ""


def stage(name, series, attributes):
    """The part of one stage; empty for a log without curves. series: as caffe_log.read gives them."""
    points = [point for point in series.get(("train", "lr"), []) if charts.is_number(point[1])]
    steps = [(i, f"learning rate {after:g}") for i, _, after in caffe_log.changes(points)]
    steps = steps if len(steps) <= 8 else []  # a rate that falls at each iteration has no steps
    losses, accuracies = (
        {TITLES.get(key, " ".join(key)): points for key, points in series.items() if wanted(*key)}
        for wanted in (
            lambda phase, output: "loss" in output,
            lambda phase, output: phase == "test" and "accuracy" in output and not output.endswith(EACH),
        )
    )
    parts = [
        charts.lines(accuracies, high=1, title="Validation accuracy at p > 0.5, mean over attributes", steps=steps),
        charts.lines(losses, low=0, title="Losses", steps=steps),
    ]
    if caffe_log.changes(series.get(TRAINING, [])):
        active = {"attributes": series[TRAINING]}
        parts.append(charts.lines(active, low=0, title="Attributes that early stopping lets train", steps=steps))
    shown = [part for part in parts if part]
    if not shown:
        return ""
    panels = per_attribute(series, attributes)
    curves = page.picker("Attribute", panels) if panels else ""
    return page.render("stage.html", name=name, charts=shown, steps=steps, validated=bool(accuracies), curves=curves)


def per_attribute(series, attributes):
    """Validation accuracy over iterations, and where early stopping acted: dict attribute -> chart."""
    panels = {}
    for place, name in enumerate(attributes):
        # An output of one attribute is a number.
        own = {
            key: [(i, values[place] if isinstance(values, list) else values) for i, values in points]
            for key, points in series.items()
            if key[1].endswith(EACH)
            and all(len(values) == len(attributes) if isinstance(values, list) else place == 0 for _, values in points)
        }
        trained = own.pop((TRAINING[0], TRAINING[1] + EACH), [])
        steps = [(i, "resumed" if after else "stopped") for i, _, after in caffe_log.changes(trained)]
        title = "Validation accuracy at p > 0.5" + ("; dashed: early stopping" if steps else "")
        points = {TITLES.get((phase, output[: -len(EACH)]), output): of for (phase, output), of in own.items()}
        panels[name] = charts.lines(points, high=1, title=title, steps=steps[:8])
    return {name: chart for name, chart in panels.items() if chart}


def stages(run):
    """Table of what each stage took."""
    rows = []
    for name in record.STAGES:
        if name != "evaluate" and run.done(name):
            stage = run.stages[name]
            rate = f"{stage.images_per_second:.1f}" if stage.images_per_second else "-"
            took = f"{stage.seconds / 60:,.1f}"
            rows.append([page.human(name), f"{stage.iterations:,}", f"{stage.images:,}", took, rate])
    heads = ["Stage", "Iterations", "Images per attribute", "Minutes", "Images per second"]
    return page.table(heads, rows, "Stages")
