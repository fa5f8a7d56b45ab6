"""Evaluate trained networks on a split of an LMDB folder: accuracies, and regions where true boxes are known.

    .caffe/bin/python -m tools.evaluate --lmdb data/lmdb --models models --out build/evaluation \\
        region=build/measured.caffemodel cascade=build/cascade_iter_30000.caffemodel

Any number of weights are compared side by side; which network they belong to is read from the weights. Training
batches are balanced and the test set is not, so two decisions are reported: p > 0.5, and the logit
corrected by the training set's prior. Written to OUT: evaluation.csv, evaluation.json, and regions.png (found
regions beside true boxes) where the network maps regions.
"""

import argparse
import csv
import json
import pathlib
import sys

import cv2
import numpy as np
from tqdm import tqdm

from tools import drawing, metrics, networks
from tools.networks import ToolError

# Blob of a deploy net -> what it decides.
SCORES = {"max_d": "task one", "logits": "answer"}
REGIONS = ("rois_image", "response")


def run(net, folder, split, batch):
    """Scores and regions of a split: dict blob -> (N, ...) array, and the labels (N, A) bool."""
    blobs = [name for name in (*SCORES, *REGIONS) if name in net.blobs]
    labels = networks.read_labels(folder / f"{split}_labels")
    images = networks.patches(folder, split)
    parts = []
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for patches in networks.batches(images, batch):
            parts.append(networks.forward(net, patches, blobs))
            bar.update(len(patches))
    return {name: np.concatenate([part[name] for part in parts]) for name in blobs}, labels


def table(scores, labels, attributes, prior):
    """Rows of the evaluation: one per attribute, then the mean.

    scores: dict name -> (N, A) logits; labels (N, A) bool; prior: share of positives in training, (A,)
    """
    columns = {"majority": metrics.majority(labels)}
    for name, logits in scores.items():
        for rule, decisions in (("p>.5", logits > 0), ("prior", logits + metrics.prior_shift(prior) > 0)):
            columns[f"{name} {rule} accuracy"] = metrics.accuracy(decisions, labels)
            columns[f"{name} {rule} balanced"] = metrics.balanced_accuracy(decisions, labels)
    rows = [
        {"attribute": attribute, **{key: float(values[i]) for key, values in columns.items()}}
        for i, attribute in enumerate(attributes)
    ]
    rows.append({"attribute": "mean", **{key: float(np.nanmean(values)) for key, values in columns.items()}})
    return rows


def region_table(rois, boxes, attributes):
    """Mean overlap (IoU) of found region and true box, and mean share of the true box covered, per attribute.

    rois: (N, A, 4) in pixels of the patch; boxes: for each image a dict attribute -> box, as positives have
    """
    rows = []
    for index, attribute in enumerate(attributes):
        images = [i for i, known in enumerate(boxes) if attribute in known]
        if not images:
            continue
        true = np.array([boxes[i][attribute] for i in images])
        found = rois[images, index]
        seen = metrics.area(true) > 0
        true, found = true[seen], found[seen]
        row = {
            "attribute": attribute,
            "faces": len(true),
            "overlap": float(metrics.overlap(found, true).mean()),
            "covered": float(metrics.coverage(found, true).mean()),
            "region": float(metrics.area(found).mean() / networks.PATCH_AREA),
        }
        rows.append(row)
    if rows:
        mean = {key: float(np.mean([row[key] for row in rows])) for key in ("overlap", "covered", "region")}
        rows.append({"attribute": "mean", "faces": sum(row["faces"] for row in rows), **mean})
    return rows


def show(rows):
    """Print rows of one kind as an aligned table."""
    keys = list(rows[0])
    cells = [keys] + [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    words = [key.split() for key in keys]
    for line in range(max(map(len, words))):
        cells.insert(line, [word[line] if line < len(word) else "" for word in words])
    cells.remove(keys)
    widths = [max(len(row[i]) for row in cells) for i in range(len(keys))]
    for row in cells:
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]))


def sheet(results, labels, folder, split, attributes, boxes, faces=6):
    """Found regions of each attribute's first positive faces, one column of pictures per weights."""
    images = list(networks.patches(folder, split))
    columns = []
    for name, blobs in results.items():
        rows = []
        for index, attribute in enumerate(attributes):
            tiles = []
            for i in np.flatnonzero(labels[:, index])[:faces]:
                true = boxes[i].get(attribute) if boxes else None
                tiles.append(drawing.region(images[i], blobs["rois_image"][i, index], true))
            tiles += [np.full_like(images[0], 255)] * (faces - len(tiles))
            rows.append(drawing.titled(np.hstack(tiles), f"{attribute}: {name}"))
        columns.append(np.vstack(rows))
    return np.hstack(columns)


def summary(report):
    """The means of all weights and scores, one row each: what a comparison comes down to."""
    rows = []
    for name, parts in report.items():
        mean = parts["accuracy"][-1]
        for score in SCORES.values():
            rules = ("p>.5 accuracy", "p>.5 balanced", "prior accuracy", "prior balanced")
            if f"{score} {rules[0]}" in mean:
                rows.append({"weights": name, "score": score, **{rule: mean[f"{score} {rule}"] for rule in rules}})
    return rows


def named_weights(words):
    """["a=x.caffemodel", "y.caffemodel"] -> {"a": "x.caffemodel", "y": "y.caffemodel"}. Raises ToolError."""
    named = {}
    for word in words:
        name, _, path = word.rpartition("=")
        name = name or pathlib.Path(path).stem
        if name in named:
            raise ToolError(f"two weights are named {name}; name them apart: NAME=FILE")
        named[name] = path
    return named


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("weights", nargs="+", metavar="[NAME=]FILE", help=".caffemodel files to compare")
    add("--models", default="models", help="folder with the networks' deploy prototxts (default models)")
    add("--lmdb", default="data/lmdb", type=pathlib.Path, help="folder of the LMDBs (default data/lmdb)")
    add("--split", default="test", choices=("val", "test"), help="default test")
    add("--batch", type=int, default=16, help="faces per forward pass (default 16)")
    add("--out", type=pathlib.Path, default=pathlib.Path("build/evaluation"), help="folder to write to")
    arguments = parser.parse_args()
    try:
        manifest = networks.manifest(arguments.lmdb)
        attributes = manifest["attributes"]
        train = manifest["train"]
        prior = np.array([train["positive"][name] / train["images"] for name in attributes])
        box_file = arguments.lmdb / f"{arguments.split}_boxes.json"
        boxes = json.loads(box_file.read_text()) if box_file.exists() else None
        results, report = {}, {}
        for name, weights in named_weights(arguments.weights).items():
            model = networks.deploy(arguments.models, weights)
            net = networks.load(model, weights)
            blobs, labels = run(net, arguments.lmdb, arguments.split, arguments.batch)
            scores = {title: blobs[blob] for blob, title in SCORES.items() if blob in blobs}
            if any(score.shape != labels.shape for score in scores.values()):
                raise ToolError(f"{model} is not for the {len(attributes)} attributes of {arguments.lmdb}")
            report[name] = {"accuracy": table(scores, labels, attributes, prior)}
            print(f"\n{name}: {len(labels)} {arguments.split} faces")
            show(report[name]["accuracy"])
            if "rois_image" in blobs:
                results[name] = blobs
                if boxes:
                    report[name]["regions"] = region_table(blobs["rois_image"], boxes, attributes)
                    print(f"\n{name}: found region and true box")
                    show(report[name]["regions"])
        print("\nmeans")
        show(summary(report))
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
        with open(arguments.out / "evaluation.csv", "w", newline="") as file:
            rows = [{"weights": name, **row} for name, parts in report.items() for row in parts["accuracy"]]
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        if results:
            picture = sheet(results, labels, arguments.lmdb, arguments.split, attributes, boxes)
            cv2.imwrite(str(arguments.out / "regions.png"), picture)
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"\n{arguments.out}: " + ", ".join(sorted(path.name for path in arguments.out.iterdir())))


if __name__ == "__main__":
    main()
