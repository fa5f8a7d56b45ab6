"""Draw the pictures of docs/: `python docs/draw.py` writes their SVG files beside it."""

import csv
import fractions
import html
import math
import pathlib

from tools.evaluate.calibration import PRIOR_CORRECTED
from tools.report import charts
from tools.report.seeds import INSIDE

FOLDER = pathlib.Path(__file__).resolve().parent
STYLE = (
    "text{font:14px sans-serif;fill:#1b1b1b}.small{font-size:12px;fill:#444}.bold{font-weight:bold}"
    "rect{stroke:#444;rx:5}path{stroke:#444;fill:none;marker-end:url(#tip)}"
    "path.grid{stroke:#ddd;marker-end:none}.curve{fill:none;stroke-width:2}"
)
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" style="fill:#444;stroke:none;marker-end:none"/></marker>'
)
GREY, BLUE, ORANGE, GREEN = "#f2f2f2", "#dbe9f6", "#fde6cf", "#dff0d8"

# A face: name -> (x, y, fill, title, line below it). Boxes are WIDTH x HEIGHT pixels.
WIDTH, HEIGHT = 250, 48
STEPS = {
    "photo": (20, 20, GREY, "photo, any size", "the face is found, with landmarks"),
    "aligned": (20, 100, GREY, "aligned, 178 x 218", "eyes where CelebA has them"),
    "face": (20, 180, GREY, "face, 256 x 256", "stretched"),
    "patch": (20, 260, GREY, "patch, 224 x 224", "centre; moved, mirrored in training"),
    "shared": (310, 260, BLUE, "conv1 ... pool2", "shared by all attributes"),
    "conv3": (310, 180, BLUE, "conv3, 13 x 13", "one group per attribute"),
    "one": (310, 20, ORANGE, "task one: conv4 ... conv7", "response map 4 x 4 in [0, 1]"),
    "mapper": (620, 20, ORANGE, "RegionMapper", "revise, threshold, bound"),
    "warp": (620, 100, ORANGE, "RoIWarp", "region to 10 x 10, pooled to 5 x 5"),
    "two": (620, 180, GREEN, "task two: conv4-t2 ... conv6-t2", "recognises on the region"),
    "head": (620, 260, GREEN, "head: logit", "largest scores of both tasks"),
    "answer": (620, 340, GREY, "answer", "calibrated probability, and region"),
}
ARROWS = (
    ("photo", "aligned"),
    ("aligned", "face"),
    ("face", "patch"),
    ("patch", "shared"),
    ("shared", "conv3"),
    ("conv3", "one"),
    ("one", "mapper"),
    ("mapper", "warp"),
    ("conv3", "warp"),
    ("warp", "two"),
    ("two", "head"),
    ("one", "head"),
    ("head", "answer"),
)

# Folders from the highest to the lowest: (name, its parts from the highest to the lowest or a line of words).
FOLDERS = (
    ("benchmarks", ("measuring scripts",)),
    ("tools", ("model, demo, cli", "export", "report", "predict", "evaluate", "train", "install", "run, errors ...")),
    ("python_layers", ("RegionMapper, RoIWarp, EarlyStopping, BalancedData",)),
    ("models", ("table 1, options, generator of prototxts",)),
    ("data_prep", ("synthetic", "check", "build", "plan", "sources", "faces", "store", "files, geometry ...")),
    ("engine: caffe", ("Caffe on PyTorch",)),
)

# Images of the schedule of `face-cascade model` with six attributes: 3,200 mini-batches of 6 x 16.
SCHEDULE = 3200 * 6 * 16
# Curves: colour and dashes of each, by its name. PANEL: width of what they are drawn in.
PANEL = 390
CURVES = {
    "task one inside the cascade": ("#1f6fb4", "none"),
    "cascade, answer": ("#1f6fb4", "2 3"),
    "whole face": ("#d1640f", "none"),
    "task one alone, from CelebA's weights": ("#8a3fa8", "none"),
}
DATA = {
    "CelebA-64, six attributes": ("#1f6fb4", "none"),
    "LFWA, six attributes": ("#d1640f", "none"),
    "synthetic faces, three attributes": ("#8a3fa8", "7 3"),
    "ResNet-18, 112 x 112": ("#2b8a3e", "none"),
    "MobileNetV3-small, 112 x 112": ("#c92a2a", "none"),
}
MEASURES = {
    "seconds of an iteration": ("#1f6fb4", "none"),
    "seconds of the start": ("#1f6fb4", "2 3"),
    "seconds for 1,000 images": ("#8a3fa8", "none"),
    "peak memory, GiB": ("#d1640f", "7 3"),
}


def text(x, y, words, kind="", anchor="middle"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}</text>'


def box(x, y, width, height, fill):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'


def arrow(start, end):
    """From the side of a box to the nearest side of another: names of STEPS."""
    (x1, y1), (x2, y2) = STEPS[start][:2], STEPS[end][:2]
    middle = HEIGHT // 2
    if x1 == x2:
        down = y2 > y1
        a, b = (x1 + WIDTH // 2, y1 + HEIGHT * down), (x2 + WIDTH // 2, y2 + HEIGHT * (not down))
    else:
        a, b = (x1 + WIDTH, y1 + middle), (x2, y2 + middle)
    return f'<path d="M{a[0]} {a[1]}L{b[0]} {b[1]}"/>'


def svg(width, height, title, parts):
    opened = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#fff" style="stroke:none"/>'
    head = [opened, f"<title>{title}</title><style>{STYLE}</style><defs>{TIP}</defs>{ground}"]
    return "\n".join([*head, *parts, "</svg>", ""])


def face_to_answer():
    parts = [arrow(*ends) for ends in ARROWS]
    for x, y, fill, title, below in STEPS.values():
        parts.append(box(x, y, WIDTH, HEIGHT, fill))
        parts += [text(x + WIDTH // 2, y + 20, title, "bold"), text(x + WIDTH // 2, y + 38, below, "small")]
    return svg(890, 408, "From a face to an answer", parts)


def folders():
    parts, left, y = [], 150, 20
    for number, (name, inside) in enumerate(FOLDERS):
        width = 600 // len(inside)
        parts.append(text(75, y + 26, name, "bold"))
        for place, words in enumerate(inside):
            x = left + place * width
            parts += [box(x, y, width - 6, 44, BLUE if number % 2 else GREEN)]
            lines = words.split(", ", 1) if len(inside) > 1 and len(words) > 12 else [words]
            for line, word in enumerate(lines):
                parts.append(text(x + width // 2 - 3, y + 26 + 14 * line - 7 * (len(lines) - 1), word, "small"))
        y += 60
    parts.append(f'<path d="M765 22L765 {y - 20}"/>')
    parts.append(text(400, y + 4, "imports go downwards, and inside a folder to the right", "small"))
    return svg(780, y + 16, "Folders, and what each may import", parts)


def read(name, panel, curve, x, y):
    """The points of a CSV file: dict panel -> dict curve -> list of (x, y); its columns are named."""
    panels = {}
    with open(FOLDER / name, newline="") as file:
        for row in csv.DictReader(file):
            points = panels.setdefault(row[panel], {}).setdefault(row[curve], [])
            points.append((float(row[x]), float(row[y])))
    return panels


def panel(left, top, title, label, across, down, curves, names):
    """A panel of curves, dict name -> list of (x, y).

    across, down: of each axis the function of a place from a value, and dict value -> words of its ticks; names: dict
    curve -> (colour, dashes)
    """
    (x, ticks), (y, levels) = across, down
    parts, bottom = [text(left + PANEL / 2, top - 18, title, "bold")], top + 270
    for value, words in levels.items():
        parts.append(f'<path class="grid" d="M{left} {y(value):.1f}H{left + PANEL}"/>')
        parts.append(text(left - 8, f"{y(value) + 4:.1f}", words, "small", "end"))
    for value, words in ticks.items():
        parts.append(text(f"{x(value):.1f}", bottom + 18, words, "small"))
    parts.append(text(left + PANEL / 2, bottom + 38, label, "small"))
    for place, (name, points) in enumerate(curves.items()):
        style = 'class="curve" style="stroke:{};stroke-dasharray:{}"'.format(*names[name])
        along = " ".join(f"{x(value):.1f},{y(number):.1f}" for value, number in points)
        height = top + 12 + 18 * place
        parts.append(f'<polyline points="{along}" {style}/>')
        if len(points) == 1:
            parts.append('<circle cx="{}" cy="{}" r="5" fill="{}"/>'.format(*along.split(","), names[name][0]))
        parts.append(f'<polyline points="{left + 150},{height - 4} {left + 178},{height - 4}" {style}/>')
        parts.append(text(left + 184, height, name, "small", "start"))
    return parts


def between(low, high, start, end):
    """The function of a place between two ends from a value between two values."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def powers(low, high, start, end):
    """The same on a scale on which factors are distances."""
    place = between(math.log(low), math.log(high), start, end)
    return lambda value: place(math.log(value))


def learning_curves():
    """Training losses from learning_curves.csv: a panel for each data set, all with one vertical scale."""
    parts = []
    panels = read("learning_curves.csv", "data", "curve", "images_per_attribute", "loss")
    for number, (title, curves) in enumerate(panels.items()):
        left, last = 60 + number * 450, max(int(x) for points in curves.values() for x, _ in points)
        ticks = {tick: f"{tick:,}" for tick in range(0, last + 1, 20000 if last > 25000 else 5000)}
        across = between(0, last, left, left + PANEL), ticks
        down = between(0.25, 0.75, 316, 46), {tick: f"{tick}" for tick in (0.3, 0.4, 0.5, 0.6, 0.7)}
        parts += panel(left, 46, title, "training images per attribute", across, down, curves, CURVES)
    return svg(930, 366, "Training loss per attribute, over the training images seen", parts)


def growth():
    """Seconds and memory from growth.csv, each axis in powers: a panel for each quantity that grows."""
    parts, panels = [], read("growth.csv", "growing", "curve", "value", "number")
    for number, (what, curves) in enumerate(panels.items()):
        left, top, values = 60 + number % 2 * 450, 46 + number // 2 * 350, [x for x, _ in next(iter(curves.values()))]
        ticks = {value: f"{value:,.0f}" if value >= 1 else f"1/{1 / value:.0f}" for value in values}
        across = powers(values[0], values[-1], left, left + PANEL), ticks
        down = powers(0.05, 200, top + 270, top), {tick: f"{tick:g}" for tick in (0.1, 1, 10, 100)}
        parts += panel(left, top, f"over {what}", what, across, down, curves, MEASURES)
    height = 16 + 350 * ((len(panels) + 1) // 2)
    return svg(930, height, f"Seconds and memory over {', '.join(panels)}", parts)


def short(value):
    return f"{value:.0f}" if value > 2 else f"{value:.2g}"


def width():
    """What narrow networks cost: accuracy and IoU over width; accuracy over memory and time, beside common networks."""
    with open(FOLDER / "results/width.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["decision"] == PRIOR_CORRECTED]
    with open(FOLDER / "results/width_speed.csv", newline="") as file:
        minutes = {row["network"]: SCHEDULE / 60 / float(row["training images/s"]) for row in csv.DictReader(file)}
    widths = {row["network"]: float(fractions.Fraction(row["network"])) for row in rows if row["IoU"]}
    of_celeba = [row for row in rows if row["data"].startswith("CelebA")]
    size = {row["network"]: int(row["weights in bytes"]) / 1e6 for row in of_celeba}
    parts = []
    for number, (measure, over, places, (low, high, step)) in enumerate(
        (
            ("accuracy", "width", widths, (0.75, 1, 0.05)),
            ("IoU", "width", widths, (0.3, 0.65, 0.05)),
            ("accuracy", "MB of weights, float32", size, (0.86, 0.92, 0.01)),
            ("accuracy", "minutes of training on two cores", minutes, (0.86, 0.92, 0.01)),
        )
    ):
        left, top, curves = 60 + number % 2 * 450, 46 + number // 2 * 350, {}
        for row in rows if places is widths else of_celeba:
            if row[measure] and row["network"] in places:
                name = row["data"] if row["network"] in widths else row["network"]
                curves.setdefault(name, []).append((places[row["network"]], float(row[measure])))
        ticks = {places[share]: share if places is widths else short(places[share]) for share in widths}
        across = powers(min(places.values()), max(places.values()), left, left + PANEL), ticks
        levels = (low + step * count for count in range(round((high - low) / step) + 1))
        down = between(low, high + (high - low) / 3, top + 270, top), {level: f"{level:.2f}" for level in levels}
        parts += panel(left, top, f"{measure} over {over}", over, across, down, curves, DATA)
    return svg(930, 716, "Accuracy and IoU with true boxes over width, weights and time to train", parts)


def region():
    """What the region is worth, from results/region_differences.csv: the cascade minus its controls."""
    measures = {f"accuracy, {PRIOR_CORRECTED}": [], "average precision": []}
    with open(FOLDER / "results/region_differences.csv") as file:
        for row in csv.DictReader(file):
            if row["measure"] in measures and row["minus"] != INSIDE:
                other = row["minus"].replace("rectangles of another attribute", "another attribute")
                numbers = ("difference", "difference low", "difference high", "low seeds too", "high seeds too")
                row.update({key: float(row[key]) if row[key] else None for key in numbers})
                row["minus"] = f"{row['data']}: {other}"
                measures[row["measure"]].append(row)
    for lines in measures.values():
        lines.sort(key=lambda line: "whole map" not in line["minus"])  # the question itself first
    return charts.differences("The cascade minus the same network with other rectangles", measures)


PICTURES = {
    "face_to_answer.svg": face_to_answer,
    "folders.svg": folders,
    "learning_curves.svg": learning_curves,
    "growth.svg": growth,
    "region.svg": region,
    "width.svg": width,
}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw())
