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
        panels[attribute] = page.render(
            "curves.html",
            counts=tuned,
            charts=[
                *(curve(curves, tuned, is_roc) for is_roc in (True, False)),
                reliability(probabilities[:, place], label),
            ],
            both=label.any() and not label.all(),
        )
    return page.render("details.html", network=opened.chosen, panels=page.picker("Attribute", panels))


def curve(counts, tuned, is_roc):
    """The ROC curves of networks, or their curves of precision over recall, with the areas under them.

    Empty without a face that has the attribute, and of ROC without one that has it not.
    counts: dict name -> what metrics.curve returns; tuned: Counts of the first one's tuned decision, which is marked
    """
    series = []
    for style, (name, (tp, fp)) in enumerate(counts.items()):
        if not tp[-1] or (is_roc and not fp[-1]):
            return ""
        if is_roc:
            x, y = fp / fp[-1], tp / tp[-1]
            area = np.trapezoid(y, x)
        else:
            x, y = tp[1:] / tp[-1], tp[1:] / (tp + fp)[1:]
            area = np.diff(x, prepend=0) @ y
        places = np.unique(np.linspace(0, len(y) - 1, min(len(y), POINTS)).round().astype(int))
        points = np.stack([x, y], axis=1)[places].tolist()
        series.append(charts.curve(f"{page.human(name)}, area {area:.3f}", points, style))
    recall = metrics.share(tuned.tp, tuned.tp + tuned.fn)
    if is_roc:
        title, labels = "ROC: true over false positives", ("false positive rate", "true positive rate")
        point = metrics.share(tuned.fp, tuned.fp + tuned.tn), recall
    else:
        title, labels = "Precision over recall", ("recall", "precision")
        point = recall, metrics.share(tuned.tp, tuned.tp + tuned.fp)
    if np.isfinite(point).all():
        series.append(charts.curve("tuned decision threshold", [tuple(map(float, point))], 3, line=False))
    return charts.plot(series, *(charts.Axis(label, 0, 1) for label in labels), title, diagonal=is_roc)


def reliability(probability, label):
    """Reliability diagram of calibrated probabilities, with the expected calibration error.

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
    words = "share of faces with the attribute, 95 % interval over faces"
    series = charts.curve(words, points, 0, errors, line=False)
    axes = charts.Axis("calibrated probability", 0, 1), charts.Axis("share", 0, 1)
    return charts.plot([series], *axes, f"Reliability; calibration error {error:.3f}", diagonal=True)
