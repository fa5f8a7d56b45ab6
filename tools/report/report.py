"""Make report.html of an evaluation: one file, no network, to be opened from disk.

    .venv/bin/python -m tools.report.report --evaluation build/run/evaluation --run build/run --out report.html

Reads what tools.evaluate.evaluate wrote, the faces of its LMDB, and the logs RUN/*/train.log.
"""

import argparse
import html
import itertools
import json
import pathlib
import sys

import numpy as np

from data_prep.store import manifest
from models import table1
from tools import drawing, networks
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, metrics, published
from tools.report import charts, page
from tools.train import caffe_log

# Attributes whose groups are told apart.
GROUPS = {"Male": ("women", "men"), "Young": ("older", "young")}
LICENCE = {
    True: "The faces are drawn by data_prep.synthetic.synthetic_faces; they show nobody.",
    False: "CelebA and LFWA are for non-commercial research; their pictures show real people who were not asked. This "
    "file holds some of them: do not pass it on. Labels are guesses at appearances by annotators, not facts about the "
    "people; a model of them must not decide about anybody.",
}
MILLION = 1e6
FACES = 6
# Outputs of the networks that hold a number per attribute, and what they are of.
EACH = {"accuracy_attribute_each": "answer", "accuracy_region_each": "task one"}


class Results:
    """One evaluation, as tools.evaluate.evaluate left it. Raises ToolError, OSError.

    told: evaluation.json; arrays: dict name of weights -> its .npz; decisions, probabilities: (N, A) of the last
    weights' last score, tuned on validation
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        try:
            self.told = json.loads((self.folder / "evaluation.json").read_text())
        except FileNotFoundError:
            raise ToolError(f"{self.folder}: no evaluation.json in it; make evaluate first")
        self.attributes, self.names = self.told["attributes"], list(self.told["weights"])
        self.arrays = {name: dict(np.load(self.folder / f"{name}.npz")) for name in self.names}
        self.labels = self.arrays[self.names[0]]["labels"]

    def chosen(self):
        """The weights that details are shown of: a cascade where there is one, else the first."""
        nets = {name: part["net"] for name, part in self.told["weights"].items()}
        return next((name for name in self.names if nets[name] == "cascade"), self.names[0])

    def answers(self, name):
        """Decisions (N, A) bool and probabilities (N, A) of weights. Raises ToolError where they have changed since."""
        arrays = self.arrays[name]
        blob = "logits" if "logits" in arrays else "max_d"
        known = calibration.read(self.told["weights"][name]["file"], self.attributes)
        if known is None:
            raise ToolError(f"{self.told['weights'][name]['file']}: changed since it was evaluated; make evaluate")
        line = {key: np.array(values) for key, values in known["scores"][blob].items()}
        p = calibration.probability(arrays[blob], line["slope"], line["offset"])
        return arrays[blob] > line["threshold"], p

    def rows(self, name, rule="tuned"):
        """Rows of the last score of weights under one decision."""
        rows = self.told["weights"][name]["accuracy"]
        return [row for row in rows if row["score"] == rows[-1]["score"] and row["rule"] == rule]

    def patches(self, numbers):
        return networks.chosen_patches(self.told["lmdb"], self.told["split"], numbers)


def overview(results):
    """Mean accuracies as large numbers, and what the networks have over each other."""
    cells = []
    for name in results.names:
        mean = results.rows(name)[-1]
        ends = f"{100 * mean['accuracy_low']:.1f} to {100 * mean['accuracy_high']:.1f}"
        cells.append(
            (f"{100 * mean['accuracy']:.1f} %", f"{name}: mean accuracy ({ends}); balanced {mean['balanced']:.3f}")
        )
    body = page.tiles(cells)
    rows = []
    for name in results.names:
        scores = dict.fromkeys(row["score"] for row in results.told["weights"][name]["accuracy"])
        for score in scores:
            row = {"weights": name, "score": score}
            for part in results.told["weights"][name]["accuracy"]:
                if part["attribute"] == "mean" and part["score"] == score:
                    row.update({f"{m}, {part['rule']}": part[m] for m in metrics.MEASURES})
                    row["average precision"] = part["average_precision"]
            rows.append(row)
    body += "<p>Means over attributes under three decisions: p &gt; 0.5; the logit corrected by the training prior; "
    body += "thresholds tuned on validation.</p>" + page.table(rows)
    if results.told["differences"]:
        body += "<h3>Differences of means</h3><p>Tuned; with 95 % intervals of paired bootstrap resamples.</p>"
        body += page.table(results.told["differences"])
    return body


def beside_the_paper(results):
    """Accuracies beside table 2's."""
    rows = results.told["published"]
    if not rows:
        return ""
    body = "<p>Accuracies, tuned. Columns marked “published” are table 2 of the paper on the same data set"
    body += "; <b>the faces here are drawn, theirs are photos</b>" if results.told["drawn faces"] else ""
    return body + ".</p>" + page.table(rows) + f"<p>{html.escape(published.note(results.told['kind']))}</p>"


def per_attribute(results):
    """Accuracy of every network per attribute with intervals: a chart, then tables with everything."""
    tables = {name: results.rows(name) for name in results.names}
    keys = ("accuracy", "accuracy_low", "accuracy_high")
    rows = []
    for place, attribute in enumerate([*results.attributes, "mean"]):
        rows.append((attribute, [tuple(tables[name][place][key] for key in keys) for name in results.names]))
    lowest = min(row["accuracy_low"] for part in tables.values() for row in part)
    low = np.floor(10 * lowest) / 10 if lowest < 1 else 0.9
    body = charts.dots(rows, results.names, "Accuracy (tuned) and 95 % intervals", float(low), 1.0)
    for name in results.names:
        part = results.told["weights"][name]["accuracy"]
        body += f"<details><summary>All measures of {html.escape(name)}</summary>{page.table(part)}</details>"
    return body


def each(series, attributes):
    """What a log says per attribute: accuracy on validation over iterations, and where training was stopped."""
    found = {}
    for phase, name in series:
        points = series[phase, name]
        if name.endswith("_each") and points:
            columns = [value if isinstance(value, list) else [value] for _, value in points]
            if all(len(column) == len(attributes) for column in columns):
                found[phase, name] = [[(i, c[a]) for (i, _), c in zip(points, columns)] for a in range(len(attributes))]
    names = [name for name in EACH if ("test", name) in found]
    if not names:
        return ""
    trained = found.get(("train", "attributes_training_each"), [[]] * len(attributes))
    rows = [
        (attribute, [found["test", name][a] for name in names], [(i, not on) for i, on in trained[a]])
        for a, attribute in enumerate(attributes)
    ]
    lowest = min(value for _, cells, _ in rows for points in cells for _, value in points)
    low = min(0.5, float(np.floor(10 * lowest) / 10))
    title = "Accuracy per attribute at p > 0.5 on validation; the latest is written above"
    body = charts.multiples(rows, [EACH[name] for name in names], title, low, 1, "stopped early in the batch logged")
    told = []
    for attribute, points in zip(attributes, trained):
        stops = [i for i, on in points if not on]
        if stops:
            resumed = sum(before < after for _, before, after in caffe_log.pauses(points))
            row = {"attribute": attribute, "first stopped at": stops[0], "stopped in logged batches": len(stops)}
            told.append({**row, "of": len(points), "resumed": resumed})
    if told:
        body += f"<details><summary>When early stopping acted</summary>{page.table(told)}</details>"
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


def regions(results):
    """Average regions on the mean face, figure 4, and overlaps where true boxes are known."""
    body = ""
    for name in results.names:
        arrays = results.arrays[name]
        if "average" not in arrays:
            continue
        mapper = localisation.Mapper(
            arrays["average"], arrays["rectangles"], float(arrays["threshold"]), float(arrays["average_weight"])
        )
        faces = results.patches(range(min(200, len(results.labels))))
        mean = np.mean(faces, axis=0).astype(np.uint8)
        tiles = [
            drawing.titled(drawing.region(mean, box), attribute)
            for attribute, box in zip(results.attributes, mapper.average_regions())
        ]
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % min(5, len(tiles)))
        columns = min(5, len(tiles))
        sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
        body += f"<h3>{html.escape(name)}: average regions on the mean face</h3>"
        body += f'<div class="panels">{page.picture(sheet, "average regions")}</div>'
        rows = []
        for index, attribute in enumerate(results.attributes):
            for place in np.flatnonzero(results.labels[:, index])[:1]:
                response = arrays["response"][place : place + 1]
                raw = response[0, index], mapper.regions(response, revise=False)[0, index]
                revised = mapper.revised(response)[0, index], mapper.regions(response)[0, index]
                (image,) = results.patches([place])
                rows.append(drawing.figure4(image, attribute, raw, revised))
        if rows:
            body += "<h3>Figure 4: responses and regions without and with the average region</h3>"
            body += f'<div class="panels">{page.picture(np.vstack(rows), "figure 4")}</div>'
        if "regions" in results.told["weights"][name]:
            body += (
                "<h3>Regions against true boxes</h3><p>Overlap: intersection over union; covered: share of the true "
            )
            body += "box; hit: the region's centre lies in the box; region: share of the picture.</p>"
            body += page.table(results.told["weights"][name]["regions"])
    return body


def examples(results):
    """Per attribute the faces answered best and worst."""
    name = results.chosen()
    _, probabilities = results.answers(name)
    body = f"<p>Of {html.escape(name)}; p is the calibrated probability of “present”. Worst first errs most.</p>"
    for index, attribute in enumerate(results.attributes):
        p, label = probabilities[:, index], results.labels[:, index]
        right = np.where(label, p, 1 - p)
        order = np.argsort(right, kind="stable")
        body += f"<h3>{html.escape(attribute)}</h3>"
        for words, places in (("worst", order[:FACES]), ("best", order[::-1][:FACES])):
            body += f'<p class=pale>{words}</p><div class="faces">'
            for place, image in zip(places, results.patches(places)):
                image = drawing.small(image)
                told = f"{'present' if label[place] else 'absent'}, p = {p[place]:.2f}"
                body += f"<figure>{page.picture(image, told)}<figcaption>{told}</figcaption></figure>"
            body += "</div>"
    return f"<details><summary>Show {2 * FACES * len(results.attributes)} faces</summary>{body}</details>"


def slices(results):
    """Accuracy by groups of Male and Young, with intervals."""
    known = [name for name in GROUPS if name in results.attributes]
    if not known:
        return "<p>Neither Male nor Young is among the attributes, so there are no groups to tell apart.</p>"
    decisions, _ = results.answers(results.chosen())
    others = [i for i, name in enumerate(results.attributes) if name not in known]
    rows = []
    for values in itertools.product((False, True), repeat=len(known)):
        inside = np.ones(len(results.labels), bool)
        for name, value in zip(known, values):
            inside &= results.labels[:, results.attributes.index(name)] == value
        group = ", ".join(GROUPS[name][value] for name, value in zip(known, values))
        row = {"group": group, "faces": int(inside.sum())}
        if inside.any() and others:
            decided, labels = decisions[inside][:, others], results.labels[inside][:, others]
            draws = [
                metrics.accuracy_of(metrics.count(decided, labels, weights)).mean(axis=-1)
                for weights in metrics.resamples(len(labels), 1000)
            ]
            low, high = metrics.interval(np.concatenate(draws))
            row.update(accuracy=float((decided == labels).mean()), low=float(low), high=float(high))
            each = (decided == labels).mean(axis=0)
            row.update({results.attributes[i]: float(share) for i, share in zip(others, each)})
        rows.append(row)
    shown = [(row["group"], [(row["accuracy"], row["low"], row["high"])]) for row in rows if "accuracy" in row]
    low = min([np.floor(10 * cells[0][1]) / 10 for _, cells in shown] or [0.0])
    words = f"Mean accuracy (tuned) of the other attributes by {' and '.join(known)}, 95 % intervals"
    heads = {key: key for row in rows for key in row}
    return charts.dots(shown, ["accuracy"], words, float(min(low, 0.9)), 1.0) + page.table(rows, heads)


def speed(part):
    """How fast the evaluation went, in words."""
    if "faces/s" not in part:
        return "not measured"
    return f"{part['faces/s']:.1f} faces/s on {part['cores']} cores, {part['engine']}, reading included"


def card(results):
    """The model card."""
    told = results.told
    data = manifest.read(told["lmdb"])
    count = len(results.attributes)
    operations = {
        "shared": 549.5,
        "task one": 528.6 * count,
        "task two": 12.9 * count,
    }
    name = results.chosen()
    file = pathlib.Path(told["weights"][name]["file"])
    message = networks.read_weights(file)
    kept = sum(len(blob.data) for layer in message.layer if layer.name not in networks.OPTIONAL for blob in layer.blobs)
    source = data["source"] if isinstance(data.get("source"), dict) else {}
    drawn = told["drawn faces"]
    kind = "drawn faces, laid out as " if drawn else ""
    return page.facts(
        {
            "model": f"{html.escape(name)} ({told['weights'][name]['net']}), {kept / MILLION:.1f} M parameters, "
            f"{file.stat().st_size / MILLION:.0f} MB",
            "attributes": html.escape(", ".join(results.attributes)),
            "data": f"{kind}{html.escape(source.get('kind', 'unknown'))}; "
            f"{data['train']['images']:,} faces for training, {told['faces']:,} of the {told['split']} split",
            "input": f"{table1.INPUT_SIZE} x {table1.INPUT_SIZE} centre patch of an aligned face, B G R, 0 to 255",
            "operations": "; ".join(f"{key} {value / 1000:.1f}" for key, value in operations.items())
            + " thousand million multiply-adds a face (table 1)",
            "speed": speed(told["weights"][name]),
            "made for": "studying and reproducing the paper; no decision about a person",
            "known limits": "aligned, roughly frontal faces; probabilities hold for faces as in the validation split",
            "licence and privacy": html.escape(LICENCE[bool(drawn)]),
        }
    )


def make(evaluation, run):
    """The page, as text. Raises ToolError, OSError."""
    results = Results(evaluation)
    lead = f"{results.told['faces']:,} faces of the {html.escape(results.told['split'])} split of "
    lead += html.escape(results.told["lmdb"])
    sections = {
        "Results": overview(results),
        "Beside the paper": beside_the_paper(results),
        "Attributes": per_attribute(results),
        "Training": training(run, results.attributes),
        "Regions": regions(results),
        "Groups": slices(results),
        "Best and worst": examples(results),
        "Model card": card(results),
    }
    return page.page("Face attributes: report", lead, sections)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--evaluation", default="build/run/evaluation", help="folder that tools.evaluate.evaluate wrote")
    add("--run", default="build/run", help="folder with the stages' train.log")
    add("--out", type=pathlib.Path, default=pathlib.Path("build/run/report.html"), help="file to write")
    arguments = parser.parse_args()
    try:
        text = make(arguments.evaluation, arguments.run)
        partial = arguments.out.with_name(f"{arguments.out.name}.partial")
        partial.write_text(text)
        partial.replace(arguments.out)
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.out}: {len(text) / MILLION:.1f} MB")


if __name__ == "__main__":
    main()
