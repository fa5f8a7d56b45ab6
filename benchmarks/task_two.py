"""What can task two add to task one? Trained on the frozen features of a run, with other regions, losses and heads.

    python -m benchmarks.task_two build/demo
    python -m benchmarks.task_two build/run --faces 4000 --iterations 2000 --seeds 1,2,3

In joint training everything changes at once, and a variant takes hours. Here conv3, the response map and task one's
scores come from the weights of the run's stage `average`, once for every face, as it is and mirrored; only task two and
the head (eq. 4) are trained, in plain PyTorch, so a variant takes minutes and all of them see the same features.

Regions: "region" is what the cascade uses, "theoretical" has the printed receptive fields, "whole map" has no region,
and "mean true box" (data sets with boxes) is the same rectangle for all faces, so that it says nothing about the label.
Variants of the loss and of the head's first weights are the rows of HEADS. Thresholds come from the validation split.
Printed and written to task_two.csv: accuracy, balanced accuracy and average precision on the test split, and the
difference of the answer to task one's score, with 95 % intervals over resampled faces, means over the seeds.
"""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from models import table1
from python_layers import bilinear, regions
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, scoring, tables
from tools.evaluate.evaluation import read_data

SPLITS = ("train", "val", "test")
WARP, POOL = 10, 2
EXTRACTED = 16  # faces in one forward pass


@dataclasses.dataclass(frozen=True)
class Head:
    """How an answer is made and trained.

    first: weights of (score of absence, negated; score of presence; task two) at the start, None for task two alone;
    own: weight of a further loss on task two's own score; dropped: share of the training images whose entries of
    task one are left out
    """

    first: tuple = (0.5, 0.5, 0.5)
    own: float = 0.0
    dropped: float = 0.0


ALONE = Head(None)
ACCURACY = calibration.TUNED, "accuracy"
HEADS = {
    "head as in the cascade": Head(),
    "and a loss of task two's own": Head(own=1.0),
    "head that starts from task two": Head((0.05, 0.05, 1.0)),
    "task one left out of half of the images": Head(dropped=0.5),
}


# Features ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Features:
    """What the frozen layers give for F faces: labels (F, A) bool, vector (F, A, 2) of task one (absence negated, and
    presence), score (F, A) of task one, roi: dict region -> (F, A, 384, 5, 5) float16."""

    labels: np.ndarray
    vector: np.ndarray
    score: np.ndarray
    roi: dict


def mean_boxes(lmdb, attributes):
    """The mean true box of each attribute on the test faces, (A, 4) in conv3 cells; None where one has no box."""
    boxes = localisation.read_boxes(lmdb, "test", len(networks.read_labels(lmdb, "test", len(attributes))))
    if not boxes or not all(any(name in one for one in boxes) for name in attributes):
        return None
    mean = [np.mean([one[name] for one in boxes if name in one], axis=0) for name in attributes]
    edges = regions.cells_to_image(np.arange(table1.MAP_SIZE + 1.0))
    return np.interp(mean, edges, np.arange(table1.MAP_SIZE + 1.0))


def rectangles(mapper, boxes):
    """dict region -> function of a response (n, A, 4, 4) to rectangles (n, A, 4) in conv3 cells.

    mapper: localisation.Mapper of the run; boxes: as mean_boxes gives them
    """
    theoretical = np.broadcast_to(regions.theoretical_rectangles(), mapper.rectangles.shape).astype(np.float32)
    whole = np.array([[0, 0, table1.MAP_SIZE, table1.MAP_SIZE]], np.float32)

    def mapped(of_points):
        return lambda response: regions.regions(response, mapper.average, of_points, mapper.threshold, mapper.weight)

    def fixed(same):
        return lambda response: np.broadcast_to(same, (*response.shape[:2], 4)).astype(np.float32)

    kinds = {"region": mapped(mapper.rectangles), "theoretical": mapped(theoretical), "whole map": fixed(whole)}
    if boxes is not None:
        kinds["mean true box"] = fixed(boxes)
    return kinds


def extract(net, kinds, lmdb, split, faces, mirrored):
    """Features of the first faces of a split. mirrored: whether each face is followed by its mirror image."""
    labels = networks.read_labels(lmdb, split, networks.attributes_of(net))[: faces or None]
    parts = []
    images = (image for _, image in zip(range(len(labels)), networks.patches(lmdb, split)))
    with tqdm(total=len(labels), unit="face", desc=f"features, {split}", disable=None) as bar:
        for some in networks.batches(images, EXTRACTED):
            given = [view for one in some for view in ((one, one[:, ::-1]) if mirrored else (one,))]
            out = networks.forward(net, given, ("conv3", "conv7", "max_d", "response"))
            conv7 = out["conv7"].reshape(len(given), labels.shape[1], 2, -1).max(axis=-1)
            conv3 = torch.from_numpy(out["conv3"].reshape(len(given), labels.shape[1], -1, *out["conv3"].shape[2:]))
            roi = {}
            for name, of in kinds.items():
                rois = torch.from_numpy(np.array(of(out["response"]), np.float32))
                warped, _, _ = bilinear.warp(conv3, rois, WARP, torch)
                roi[name] = bilinear.max_pool(warped, POOL, torch).numpy().astype(np.float16)
            parts.append((conv7 * (-1, 1), out["max_d"], roi))
            bar.update(len(some))
    vector, score = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    roi = {name: np.concatenate([part[2][name] for part in parts]) for name in kinds}
    return Features(labels.repeat(2, axis=0) if mirrored else labels, vector.astype(np.float32), score, roi)


# Training ---------------------------------------------------------------------------------------------------


class TaskTwo(nn.Module):
    """Rows conv4-t2 to conv6-t2 of table 1 and the head of eq. 4, for A attributes, as groups."""

    def __init__(self, attributes, head):
        super().__init__()
        channels, layers = table1.CONV3.channels, []
        for row in table1.TASK_TWO:
            layers += [
                nn.Conv2d(
                    channels * attributes, row.channels * attributes, row.kernel, 1, row.padding, groups=attributes
                ),
                nn.ReLU(),
            ]
            nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
            nn.init.zeros_(layers[-2].bias)
            channels = row.channels
        nn.init.normal_(layers[-2].weight, std=0.02)
        self.body, self.head = nn.Sequential(*layers[:-1]), head
        if head.first:
            self.weight = nn.Parameter(torch.tensor([head.first] * attributes))
            self.bias = nn.Parameter(torch.zeros(attributes))

    def forward(self, roi, vector):
        """roi (n, A, 384, 5, 5), vector (n, A, 2) -> the answer's logits and task two's score, (n, A) each."""
        score = self.body(roi.flatten(1, 2)).amax(dim=(-1, -2))
        if not self.head.first:
            return score, score
        if self.training and self.head.dropped:
            vector = vector * (torch.rand(len(vector), 1, 1) >= self.head.dropped)
        answer = (torch.cat([vector, score[..., None]], -1) * self.weight).sum(-1) + self.bias
        return answer, score


def balanced(labels, size, rng):
    """Numbers of faces (size, A) for a batch, of which half are positive for each attribute."""
    columns = []
    for label in labels.T:
        halves = [rng.choice(np.flatnonzero(label == wanted), size // 2) for wanted in (False, True)]
        columns.append(np.concatenate(halves))
    return np.stack(columns, axis=1)


def train(features, region, head, iterations, batch, seed):
    """A trained TaskTwo. Adam, its rate falling from 0.001 to 0 along half a cosine."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    attributes = features.labels.shape[1]
    net = TaskTwo(attributes, head).train()
    solver = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, iterations)
    each = np.arange(attributes)
    for _ in range(iterations):
        numbers = balanced(features.labels, batch, rng)
        roi, vector, label = (
            torch.from_numpy(array[numbers, each]).float()
            for array in (features.roi[region], features.vector, features.labels)
        )
        answer, score = net(roi, vector)
        loss = nn.functional.binary_cross_entropy_with_logits(answer, label)
        if head.own:
            loss = loss + head.own * nn.functional.binary_cross_entropy_with_logits(score, label)
        solver.zero_grad(set_to_none=True)
        loss.backward()
        solver.step()
        schedule.step()
    return net.eval()


def scores(net, features, region):
    """The answer's logits and task two's scores on all faces, (F, A) each."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(features.labels), 200):
            some = slice(start, start + 200)
            roi = torch.from_numpy(features.roi[region][some]).float()
            parts.append(net(roi, torch.from_numpy(features.vector[some])))
    return [torch.cat(column).numpy() for column in zip(*parts)]


# Comparison -------------------------------------------------------------------------------------------------


def scored(val, test, labels, prior):
    """scoring.Scored of test scores, with thresholds tuned on validation scores. labels: dict split -> (F, A)."""
    return scoring.Scored(test, labels["test"], prior, (val, labels["val"]))


def measures(ones):
    """Columns of a table: means over the seeds of Scored `ones`."""

    def mean(*key):
        return float(np.mean([scoring.with_mean(one.values[key])[-1] for one in ones]))

    return {
        "accuracy": mean(*ACCURACY),
        "balanced accuracy": mean(calibration.TUNED, "balanced_accuracy"),
        "average precision": mean(None, scoring.PRECISION),
    }


def difference(title, ones, reference):
    """Columns of a table: Scored `ones`, one per seed, less a Scored, with 95 % intervals over the faces.

    Of the tuned accuracy and of average precision, which does not depend on the choice of thresholds.
    """
    columns = {}
    for name, key in (("accuracy", ACCURACY), ("average precision", (None, scoring.PRECISION))):
        by_seed, low, high = scoring.over_seeds(ones, [reference] * len(ones), key)
        columns.update({f"{title}: {name}": float(np.mean(by_seed)), f"{name} low": low, f"{name} high": high})
    return columns


def compare(given):
    """Run the comparison and return the rows of the table. Raises ToolError, OSError."""
    run = runs.Run.read(given.run)
    net = networks.load(run.deploy("region"), run.weights("average"))
    data = read_data(run.data.lmdb)
    mapper = localisation.Mapper.of(net, run.deploy("region"))
    kinds = rectangles(mapper, mean_boxes(run.data.lmdb, data.attributes))
    splits = {
        split: extract(net, kinds, run.data.lmdb, split, given.faces if split == "train" else 0, split == "train")
        for split in SPLITS
    }
    labels = {split: features.labels for split, features in splits.items()}
    one = scored(splits["val"].score, splits["test"].score, labels, data.prior)
    table = []

    def add(name, kind, ones):
        table.append({"answer": name, "region": kind, **measures(ones), **difference("minus task one", ones, one)})

    add("task one, frozen", "", [one])
    cases = [("task two alone", ALONE, kind) for kind in kinds]
    cases += [(name, head, "region") for name, head in HEADS.items()]
    cases += [(name, HEADS[name], "whole map") for name in list(HEADS)[:2]]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    for name, head, kind in tqdm(cases, desc="variants", unit="variant", disable=None):
        nets = [train(splits["train"], kind, head, given.iterations, given.batch, seed) for seed in seeds]
        (answers, twos) = ([], [])
        for net in nets:
            val, test = (scores(net, splits[split], kind) for split in SPLITS[1:])
            answers.append(scored(val[0], test[0], labels, data.prior))
            twos.append(scored(val[1], test[1], labels, data.prior))
        add(name, kind, answers)
        if head.first:
            add("  task two's score in it", kind, twos)
            weights = torch.stack([net.weight.detach() for net in nets]).mean(dim=(0, 1)).tolist()
            table[-2]["head"] = " ".join(f"{weight:.2f}" for weight in weights)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=pathlib.Path, help="A run whose stages region and average are done.")
    add("--faces", type=int, default=1000, help="Training faces, each also mirrored; 0 takes all (default: 1000).")
    add("--iterations", type=int, default=1000, help="Iterations per variant (default: 1000).")
    add("--batch", type=int, default=16, help="Images per attribute and batch, half positive (default: 16).")
    add("--seeds", default="1,2", help="Seeds, separated by commas (default: 1,2).")
    given = parser.parse_args()
    try:
        table = compare(given)
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    tables.show(table)
    tables.write_csv(given.run / "task_two.csv", table)
    print(given.run / "task_two.csv")


if __name__ == "__main__":
    main()
