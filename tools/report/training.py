"""The section of a report on training: validation and loss of every stage, and how many attributes train."""

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


def training(opened):
    """Curves of every stage's log, in the order of training, and a table of what the stages took."""
    run, parts = opened.run, []
    logs = {name: run.folder / name / "train.log" for name in NETWORKS if run.recorded}
    for name, log in logs.items():
        if log.exists():
            series = caffe_log.read(log.read_text(errors="replace").splitlines())
            parts.append(stage(name, series))
    parts = [part for part in parts if part]
    return page.render("training.html", stages=parts, table=stages(run)) if parts else ""


def stage(name, series):
    """The part of one stage; empty where its log has no curves. series: as caffe_log.read gives them."""
    points = [point for point in series.get(("train", "lr"), []) if charts.is_number(point[1])]
    steps = [(i, f"learning rate {after:g}") for i, _, after in caffe_log.changes(points)]
    steps = steps if len(steps) <= 8 else []  # a rate that falls at each iteration has no steps
    losses, accuracies = (
        {TITLES.get(key, " ".join(key)): points for key, points in series.items() if wanted(*key)}
        for wanted in (
            lambda phase, output: "loss" in output,
            lambda phase, output: phase == "test" and "accuracy" in output and not output.endswith("_each"),
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
    return shown and page.render("stage.html", name=name, charts=shown, steps=steps, validated=bool(accuracies))


def stages(run):
    """Table of what each stage took."""
    rows = []
    for name in record.STAGES:
        if run.done(name):
            stage = run.stages[name]
            rate = f"{stage.images_per_second:.1f}" if stage.images_per_second else "-"
            took = f"{stage.seconds / 60:,.1f}"
            rows.append([page.human(name), f"{stage.iterations:,}", f"{stage.images:,}", took, rate])
    heads = ["Stage", "Iterations", "Images per attribute", "Minutes", "Images per second"]
    return page.table(heads, rows, "Stages")
