"""Evaluate trained networks on a split of an LMDB folder: the numbers of table 2, and regions.

    .caffe/bin/python -m tools.evaluate.evaluate --lmdb data/lmdb --models models --out build/evaluation \\
        region=build/measured.caffemodel cascade=build/cascade_iter_30000.caffemodel

Any number of weights are compared side by side; which network they belong to is read from the weights. Training
batches are balanced and the test set is not, so three decisions are reported: p > 0.5 (p>.5); the logit corrected by
the training set's prior (prior); thresholds tuned on the validation split (tuned). For each: accuracy, balanced
accuracy (mean of the accuracies on faces with and without) and F1; and average precision, which needs no decision.
Intervals hold 95 % of bootstrap resamples of the faces; all scores see the same resamples: differences are paired.

Written to OUT: evaluation.csv and evaluation.json (all of that), NAME.npz (scores and responses, for make report),
and, where a network maps regions, regions.png (found regions, white: true boxes) and NAME-figure4.png (as the paper's).
Thresholds, priors and probabilities' calibration go to calibration.json beside the weights; make predict uses them.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import numpy as np
from tqdm import tqdm

from data_prep.pictures import write_image
from data_prep.store.manifest import sampling
from tools import drawing, networks
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, metrics, published, scoring
from tools.evaluate.tables import show, write_csv

# Blob of a deploy net -> what it decides.
SCORES = {"max_d": "task one", "logits": "answer"}
REGIONS = ("rois_image", "response")
# The columns that are printed; CSV and JSON hold all.
PRINTED = ("attribute", "positive", "majority", "rule", "accuracy", "balanced", "f1", "average_precision")


def run(net, folder, split, batch, faces=0):
    """Scores and regions of a split: dict blob -> (N, ...) array, and the labels (N, A) bool.

    faces: only the first so many, 0 for all
    """
    blobs = [name for name in (*SCORES, *REGIONS) if name in net.blobs]
    labels = networks.read_labels(folder, split, networks.attributes_of(net))[: faces or None]
    images = (patch for _, patch in zip(range(len(labels)), networks.patches(folder, split)))
    parts = []
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for patches in networks.batches(images, batch):
            parts.append(networks.forward(net, patches, blobs))
            bar.update(len(patches))
    return {name: np.concatenate([part[name] for part in parts]) for name in blobs}, labels


class Evaluation:
    """One file of weights on a split.

    Attributes: net (its kind), rate (faces/s, reading included), blobs (dict blob -> (N, ...)), labels (N, A), scored
    (dict title -> scoring.Scored), mapper (localisation.Mapper or None). Writes calibration.json where none holds yet.
    Raises ToolError.
    """

    def __init__(self, weights, attributes, prior, arguments):
        model = networks.deploy(arguments.models, weights)
        net = networks.load(model, weights)
        self.net, self.weights, self.attributes = networks.net_of(weights), weights, attributes
        start = time.perf_counter()
        self.blobs, self.labels = run(net, arguments.lmdb, arguments.split, arguments.batch, arguments.faces)
        self.rate = len(self.labels) / (time.perf_counter() - start)
        scores = {blob: self.blobs[blob] for blob in SCORES if blob in self.blobs}
        if any(score.shape != self.labels.shape for score in scores.values()):
            raise ToolError(f"{model} is not for the {len(attributes)} attributes of {arguments.lmdb}")
        self.calibrated = self.calibrate(net, prior, arguments)
        self.scored = {}
        for blob, score in scores.items():
            threshold = np.array(self.calibrated["scores"][blob]["threshold"])
            self.scored[SCORES[blob]] = scoring.Scored(score, self.labels, prior, threshold, arguments.resamples)
        self.mapper = localisation.Mapper.of(net, model) if "region_mapper" in net.params else None

    def calibrate(self, net, prior, arguments):
        """The entry of calibration.json, made from the validation split unless there is one."""
        told = {"split": "val", "faces": arguments.faces, "tuned for": arguments.tune}
        known = calibration.read(self.weights, self.attributes)
        if known and all(known.get(key) == value for key, value in told.items()):
            return known
        if arguments.split == "val":
            blobs, labels = self.blobs, self.labels
        else:
            blobs, labels = run(net, arguments.lmdb, "val", arguments.batch, arguments.faces)
        scores = {blob: blobs[blob] for blob in SCORES if blob in blobs}
        made = calibration.make(scores, labels, prior, arguments.tune)
        calibration.write(self.weights, self.attributes, prior, made, **told)
        return calibration.read(self.weights, self.attributes)

    def rows(self):
        """Rows of the evaluation, one per score, attribute and decision; the mean after the attributes."""
        positive = np.append(self.labels.mean(axis=0), self.labels.mean())
        majority = np.append(metrics.majority(self.labels), metrics.majority(self.labels).mean())
        names = [*self.attributes, "mean"]
        rows = []
        for title, scored in self.scored.items():
            for row in scored.rows(self.attributes):
                place = names.index(row["attribute"])
                told = {"score": title, "attribute": row.pop("attribute")}
                told.update(positive=float(positive[place]), majority=float(majority[place]))
                rows.append({**told, **row})
        return rows

    def regions(self, boxes):
        """Rows of found regions against true boxes, of raw and of revised responses."""
        found = {"raw": self.mapper.regions(self.blobs["response"], revise=False), "revised": self.blobs["rois_image"]}
        return localisation.table(found, boxes[: len(self.labels)], self.attributes)

    def save(self, path):
        """Write scores, labels and what regions need as an .npz file. Raises OSError."""
        arrays = {"labels": self.labels, **self.blobs}
        if self.mapper:
            arrays.update(average=self.mapper.average, rectangles=self.mapper.rectangles)
            arrays.update(threshold=self.mapper.threshold, average_weight=self.mapper.weight)
        np.savez_compressed(str(path), attributes=np.array(self.attributes), **arrays)


def beside_the_paper(evaluations, attributes, kind):
    """Accuracies (tuned) beside the published ones of the same data set; [] where nothing is published."""
    table = published.rows(kind)
    known = [name for name in attributes if name in table.get(published.OURS, {})]
    rows = []
    for attribute in [*known, "mean"] if known else []:
        row = {"attribute": attribute}
        for name, evaluation in evaluations.items():
            values = list(evaluation.scored.values())[-1].values["tuned", "accuracy"]
            mine = dict(zip(attributes, values.tolist()))
            row[f"{name} (here)"] = mine[attribute] if attribute in mine else published.mean(mine, known)
        for method in (published.RIVAL, published.OURS):
            told = table[method]
            row[f"{method} (published)"] = told[attribute] if attribute in told else published.mean(told, known)
        rows.append(row)
    return rows


def sheet(evaluations, folder, split, boxes, faces=6):
    """Found regions of each attribute's first positive faces, one row of pictures per weights."""
    rows = []
    for index, attribute in enumerate(next(iter(evaluations.values())).attributes):
        for name, evaluation in evaluations.items():
            places = np.flatnonzero(evaluation.labels[:, index])[:faces]
            tiles = []
            for place, image in zip(places, networks.chosen_patches(folder, split, places)):
                true = boxes[place].get(attribute) if boxes else None
                tiles.append(drawing.region(image, evaluation.blobs["rois_image"][place, index], true))
            tiles += [drawing.blank()] * (faces - len(tiles))
            rows.append(drawing.titled(np.hstack(tiles), f"{attribute}: {name}"))
    return np.vstack(rows)


def figure4(evaluation, folder, split, boxes):
    """Figure 4 of the paper for each attribute's first positive face: one row of five panels each."""
    rows = []
    for index, attribute in enumerate(evaluation.attributes):
        places = np.flatnonzero(evaluation.labels[:, index])[:1]
        for place, image in zip(places, networks.chosen_patches(folder, split, places)):
            response = evaluation.blobs["response"][place : place + 1]
            true = boxes[place].get(attribute) if boxes else None
            rows.append(
                drawing.figure4(
                    image,
                    attribute,
                    (response[0, index], evaluation.mapper.regions(response, revise=False)[0, index]),
                    (evaluation.mapper.revised(response)[0, index], evaluation.mapper.regions(response)[0, index]),
                    true,
                )
            )
    return np.vstack(rows)


def summary(evaluations):
    """The means of all weights and scores: what a comparison comes down to."""
    rows = []
    for name, evaluation in evaluations.items():
        for title, scored in evaluation.scored.items():
            row = {"weights": name, "score": title}
            for rule in scored.rules:
                for measure in metrics.MEASURES:
                    row[f"{rule} {measure}"] = float(np.nanmean(scored.values[rule, measure]))
            row["average precision"] = float(np.nanmean(scored.values[None, scoring.PRECISION]))
            _, low, high = (cells[-1] for cells in scored.cells(("tuned", "accuracy")))
            rows.append({**row, "tuned accuracy, 95 %": f"{low:.3f}-{high:.3f}"})
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


def report(evaluations, arguments, boxes, kind):
    """Everything that was measured, as evaluation.json holds it."""
    last = {name: list(evaluation.scored.values())[-1] for name, evaluation in evaluations.items()}
    first = next(iter(evaluations.values()))
    told = {
        "kind": kind,
        "lmdb": str(arguments.lmdb),
        "split": arguments.split,
        "faces": len(first.labels),
        "attributes": first.attributes,
        "tuned for": arguments.tune,
        "resamples": arguments.resamples,
        "drawn faces": boxes is not None,
        "weights": {},
        "differences": scoring.differences(last),
        "published": beside_the_paper(evaluations, first.attributes, kind),
    }
    for name, evaluation in evaluations.items():
        part = {"file": str(evaluation.weights), "net": evaluation.net, "accuracy": evaluation.rows()}
        engine = "the engine on PyTorch" if "torch" in sys.modules else "BVLC Caffe"
        part.update({"faces/s": evaluation.rate, "engine": engine, "cores": len(os.sched_getaffinity(0))})
        if evaluation.mapper and boxes:
            part["regions"] = evaluation.regions(boxes)
        told["weights"][name] = part
    return told


def say(told, evaluations):
    """Print what was measured."""
    for name, part in told["weights"].items():
        for title in evaluations[name].scored:
            print(f"\n{name}, {title}: {told['faces']} {told['split']} faces")
            show([row for row in part["accuracy"] if row["score"] == title], PRINTED)
        if "regions" in part:
            print(f"\n{name}: found regions and true boxes, without and with the average region's revision")
            show(part["regions"])
    if told["published"]:
        drawn = "; these faces are drawn, theirs are photos" if told["drawn faces"] else ""
        print(f"\naccuracy (tuned) beside table 2 of the paper, as published{drawn}")
        show(told["published"])
        print(published.note(told["kind"]))
    print("\nmeans over attributes")
    show(summary(evaluations))
    if told["differences"]:
        print("\ndifferences of means (tuned), with 95 % intervals of paired resamples")
        show(told["differences"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("weights", nargs="+", metavar="[NAME=]FILE", help=".caffemodel files to compare")
    add("--models", default="models", help="folder with the networks' deploy prototxts (default models)")
    add("--lmdb", default="data/lmdb", type=pathlib.Path, help="folder of the LMDBs (default data/lmdb)")
    add("--split", default="test", choices=("val", "test"), help="default test")
    add("--batch", type=int, default=16, help="faces per forward pass (default 16)")
    add("--faces", type=int, default=0, help="only the first so many of each split, 0 for all (default 0)")
    add("--tune", default="accuracy", choices=tuple(metrics.MEASURES), help="what thresholds are tuned for")
    add("--resamples", type=int, default=1000, help="bootstrap resamples (default 1000)")
    add("--out", type=pathlib.Path, default=pathlib.Path("build/evaluation"), help="folder to write to")
    arguments = parser.parse_args()
    try:
        manifest = networks.manifest(arguments.lmdb)
        attributes, train = manifest["attributes"], manifest["train"]
        prior = np.array([train["positive"][name] / train["images"] for name in attributes])
        if sampling(manifest) == "natural":
            prior[:] = 0.5  # the score knows already how rare an attribute is: nothing to correct
        box_file = arguments.lmdb / f"{arguments.split}_boxes.json"
        boxes = json.loads(box_file.read_text()) if box_file.exists() else None
        evaluations = {}
        for name, weights in named_weights(arguments.weights).items():
            evaluations[name] = Evaluation(weights, attributes, prior, arguments)
        source = manifest.get("source")
        told = report(evaluations, arguments, boxes, source["kind"] if isinstance(source, dict) else "")
        say(told, evaluations)
        out = arguments.out
        out.mkdir(parents=True, exist_ok=True)
        (out / "evaluation.json").write_text(json.dumps(told, indent=1) + "\n")
        rows = [{"weights": name, **row} for name, part in told["weights"].items() for row in part["accuracy"]]
        write_csv(out / "evaluation.csv", rows)
        for name, evaluation in evaluations.items():
            evaluation.save(out / f"{name}.npz")
        mapping = {name: evaluation for name, evaluation in evaluations.items() if evaluation.mapper}
        if mapping:
            write_image(out / "regions.png", sheet(mapping, arguments.lmdb, arguments.split, boxes))
        for name, evaluation in mapping.items():
            picture = figure4(evaluation, arguments.lmdb, arguments.split, boxes)
            write_image(out / f"{name}-figure4.png", picture)
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"\n{out}: " + ", ".join(sorted(path.name for path in out.iterdir())))


if __name__ == "__main__":
    main()
