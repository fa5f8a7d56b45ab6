"""The section of a report on single attributes: confusion, ROC, precision and recall, reliability, behind a picker."""

import numpy as np

from tools.evaluate import metrics
from tools.report import charts, page

POINTS = 60  # of a curve at most
BINS = 10


def details(opened):
    """One panel per attribute, of the chosen network; curves of the other networks beside its own."""
    decisions, probabilities = opened.answers(opened.chosen)
    panels = {}
    for place, attribute in enumerate(opened.shown):
        label = opened.labels[:, place]
        curves = {name: metrics.curve(opened.arrays[name][opened.blob(name)][:, place], label) for name in opened.names}
        tuned = metrics.count(decisions[:, place], label)
        reliable, _ = reliability(probabilities[:, place], label)
        panels[attribute] = page.render(
            "curves.html",
            counts=tuned,
            charts=[roc(curves, tuned), precision_recall(curves, tuned), reliable],
            both=label.any() and not label.all(),
        )
    return page.render("details.html", network=opened.chosen, panels=page.picker("Attribute", panels))


def plot(curves, tuned, title, x, y, **options):
    """A chart of one curve per network: dict name -> (x (T,), y (T,), area); tuned: where the first one decides."""
    series = []
    for style, (name, (across, up, area)) in enumerate(curves.items()):
        places = np.unique(np.linspace(0, len(up) - 1, min(len(up), POINTS)).round().astype(int))
        points = np.stack([across, up], axis=1)[places].tolist()
        series.append(charts.Series(f"{page.human(name)}, area {area:.3f}", points, style))
    if np.isfinite(tuned).all():
        series.append(charts.Series("tuned decision threshold", [tuple(map(float, tuned))], 3, dots=True, line=False))
    return charts.plot(series, charts.Axis(x, 0, 1), charts.Axis(y, 0, 1), title, **options)


def roc(counts, tuned):
    """Receiver operating characteristic; empty without both faces with and without the attribute.

    counts: dict name -> what metrics.curve returns; tuned: Counts of the tuned decision
    """
    if not all(tp[-1] and fp[-1] for tp, fp in counts.values()):
        return ""
    curves = {}
    for name, (tp, fp) in counts.items():
        true, false = tp / tp[-1], fp / fp[-1]
        curves[name] = false, true, (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    place = metrics.share(tuned.fp, tuned.fp + tuned.tn), metrics.share(tuned.tp, tuned.tp + tuned.fn)
    title, x, y = "ROC: true over false positives", "false positive rate", "true positive rate"
    return plot(curves, place, title, x, y, diagonal=True)


def precision_recall(counts, tuned):
    """Precision over recall; empty without a face that has the attribute. Arguments as of `roc`."""
    if not all(tp[-1] for tp, _ in counts.values()):
        return ""
    curves = {}
    for name, (tp, fp) in counts.items():
        recall, precision = tp[1:] / tp[-1], tp[1:] / (tp + fp)[1:]
        curves[name] = recall, precision, (np.diff(recall, prepend=0) * precision).sum()
    place = metrics.share(tuned.tp, tuned.tp + tuned.fn), metrics.share(tuned.tp, tuned.tp + tuned.fp)
    return plot(curves, place, "Precision over recall", "recall", "precision")


def reliability(probability, label):
    """Reliability diagram of calibrated probabilities, and the expected calibration error.

    Faces are put into BINS bins of equal numbers, in order of probability. Intervals: Wilson (1927), 95 %.
    """
    order = np.argsort(probability, kind="stable")
    points, errors, error = [], [], 0.0
    for places in np.array_split(order, min(BINS, len(order))):
        mean, present, faces = float(probability[places].mean()), float(label[places].mean()), len(places)
        centre = (present + 1.92 / faces) / (1 + 3.84 / faces)
        half = 1.96 / (1 + 3.84 / faces) * np.sqrt(present * (1 - present) / faces + 0.96 / faces**2)
        points.append((mean, present))
        errors.append((mean, max(0.0, centre - half), min(1.0, centre + half)))
        error += abs(mean - present) * faces / len(order)
    series = charts.Series(
        "share of faces with the attribute, 95 % interval over faces", points, 0, True, errors, line=False
    )
    axes = charts.Axis("calibrated probability", 0, 1), charts.Axis("share", 0, 1)
    return charts.plot([series], *axes, f"Reliability; calibration error {error:.3f}", diagonal=True), error
