"""What can task two add to task one? Trained on the frozen features of a run, with other regions, losses and heads.

    python -m benchmarks.task_two build/demo
    python -m benchmarks.task_two build/run --faces 4000 --iterations 2000 --seeds 1,2,3

In joint training everything changes at once, and a variant takes hours. Here conv3, the response map and task one's
scores come from the weights of the run's stage `average`, once for every face, as it is and mirrored; only task two and
the head (eq. 4) are trained, in plain PyTorch, so a variant takes minutes and all of them see the same features.

Regions: "region" is what the cascade uses, "theoretical" has the printed receptive fields, "another attribute" the
rectangles of the next one, and "whole map" is no region. HEADS are variants of the loss and of the head's first
weights. Written to task_two/ in the run: means.csv, differences.csv (task one, frozen, less each answer) and
differences.svg, as of `face-cascade ablation`.
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
from tools.evaluate import comparison, localisation, scoring
from tools.evaluate.evaluation import read_data, read_persons

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
    presence), score (F, A) of task one, roi: dict region -> (F, A, C, 5, 5) float16, persons (F,) or None."""

    labels: np.ndarray
    vector: np.ndarray
    score: np.ndarray
    roi: dict
    persons: np.ndarray


def rectangles(mapper):
    """dict region -> function of a response (n, A, 4, 4) to rectangles (n, A, 4) in conv3 cells.

    mapper: localisation.Mapper of the run
    """
    theoretical = np.broadcast_to(regions.theoretical_rectangles(), mapper.rectangles.shape).astype(np.float32)
    whole = np.array([0, 0, table1.MAP_SIZE, table1.MAP_SIZE], np.float32)
    kinds = {
        "region": mapper.rectangles,
        "theoretical": theoretical,
        "another attribute": np.roll(mapper.rectangles, -1, axis=0),
        "whole map": np.broadcast_to(whole, mapper.rectangles.shape),
    }
    if len(mapper.rectangles) == 1:
        del kinds["another attribute"]
    return {
        name: lambda response, of=of: regions.regions(response, mapper.average, of, mapper.threshold, mapper.weight)
        for name, of in kinds.items()
    }


def extract(net, kinds, data, split, faces):
    """Features of the first faces of a split, 0 for all; each training face is followed by its mirror image."""
    labels, mirrored = networks.read_labels(data.lmdb, split, networks.attributes_of(net)), split == "train"
    labels, parts = labels[: faces or None], []
    images = (image for _, image in zip(range(len(labels)), networks.patches(data.lmdb, split)))
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
    labels = labels.repeat(2, axis=0) if mirrored else labels
    return Features(labels, vector.astype(np.float32), score, roi, read_persons(data, split, faces))


# Training ---------------------------------------------------------------------------------------------------


class TaskTwo(nn.Module):
    """Rows conv4-t2 to conv6-t2 of table 1 and the head of eq. 4, for A attributes, as groups; width: of the run."""

    def __init__(self, attributes, head, width):
        super().__init__()
        table, layers = table1.scaled(width), []
        channels = table.conv3.channels
        for row in table.task_two:
            shape = channels * attributes, row.channels * attributes, row.kernel, 1, row.padding
            layers += [nn.Conv2d(*shape, groups=attributes), nn.ReLU()]
            nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
            nn.init.zeros_(layers[-2].bias)
            channels = row.channels
        nn.init.normal_(layers[-2].weight, std=0.02)
        self.body, self.head = nn.Sequential(*layers[:-1]), head
        if head.first:
            self.weight = nn.Parameter(torch.tensor([head.first] * attributes))
            self.bias = nn.Parameter(torch.zeros(attributes))

    def forward(self, roi, vector):
        """roi (n, A, C, 5, 5), vector (n, A, 2) -> the answer's logits and task two's score, (n, A) each."""
        score = self.body(roi.flatten(1, 2)).amax(dim=(-1, -2))
        if not self.head.first:
            return score, score
        if self.training and self.head.dropped:
            vector = vector * (torch.rand(len(vector), 1, 1) >= self.head.dropped)
        return (torch.cat([vector, score[..., None]], -1) * self.weight).sum(-1) + self.bias, score


def balanced(labels, size, rng):
    """Numbers of faces (size, A) for a batch, of which half are positive for each attribute."""
    halves = [[rng.choice(np.flatnonzero(column == wanted), size // 2) for wanted in (0, 1)] for column in labels.T]
    return np.stack([np.concatenate(pair) for pair in halves], axis=1)


def train(features, region, head, given, width, seed):
    """A trained TaskTwo. Adam, its rate falling from 0.001 to 0 along half a cosine."""
    torch.manual_seed(seed)
    rng, each = np.random.default_rng(seed), np.arange(features.labels.shape[1])
    net = TaskTwo(len(each), head, width).train()
    solver = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, given.iterations)
    for _ in range(given.iterations):
        numbers = balanced(features.labels, given.batch, rng)
        arrays = features.roi[region], features.vector, features.labels
        roi, vector, label = (torch.from_numpy(array[numbers, each]).float() for array in arrays)
        answer, score = net(roi, vector)
        loss = nn.functional.binary_cross_entropy_with_logits(answer, label)
        if head.own:
            loss = loss + head.own * nn.functional.binary_cross_entropy_with_logits(score, label)
        solver.zero_grad(set_to_none=True)
        loss.backward()
        solver.step()
        schedule.step()
    return net.eval()


def answers(net, features, region):
    """The answer's logits on all faces, (F, A)."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(features.labels), 200):
            roi = torch.from_numpy(features.roi[region][start : start + 200]).float()
            parts.append(net(roi, torch.from_numpy(features.vector[start : start + 200]))[0])
    return torch.cat(parts).numpy()


def compare(given):
    """Run the comparison, write its tables and return their text. Raises ToolError, OSError."""
    run = runs.Run.read(given.run)
    net = networks.load(run.deploy("average"), run.weights("average"))
    run.check_data()
    data, width = read_data(run.lmdb), run.network().width
    kinds = rectangles(localisation.Mapper.of(net, run.deploy("average")))
    splits = {split: extract(net, kinds, data, split, given.faces if split == "train" else 0) for split in SPLITS}

    def scored(scores):
        faces = {split: scoring.Faces(scores(of), of.labels, of.persons) for split, of in splits.items()}
        return {"full network": scoring.Scored(faces["test"], data.prior, faces["val"])}

    cases = [("task two alone", ALONE, kind) for kind in kinds]
    cases += [(name, head, "region") for name, head in HEADS.items()]
    cases += [(name, HEADS[name], "whole map") for name in list(HEADS)[:2]]
    frozen = scored(lambda features: features.score)
    found = {"task one, frozen": [frozen] * len(given.seeds)}
    for name, head, kind in tqdm(cases, desc="variants", unit="variant", disable=None):
        nets = [train(splits["train"], kind, head, given, width, seed) for seed in given.seeds]
        found[f"{name}, {kind}"] = [scored(lambda of, net=net, kind=kind: answers(net, of, kind)) for net in nets]
    out = given.run / "task_two"
    out.mkdir(exist_ok=True)
    return comparison.conclude(out, found, dict.fromkeys(found, given.iterations * given.batch))


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
        given.seeds = [int(seed) for seed in given.seeds.split(",")]
        print(compare(given))
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
