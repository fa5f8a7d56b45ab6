"""A baseline from outside: ResNet-18 (He et al. 2016) on the same faces, images seen, decisions and intervals.

    python -m benchmarks.resnet data/lmdb --images 307200                    # balanced batches, as the cascade's
    python -m benchmarks.resnet data/lmdb --images 307200 --sampling plain    # every face with all its labels

The network starts from random weights and has one output per attribute; its loss is the sum of the sigmoid
cross-entropies of the labels in the batch. balanced: batches of the project's plan, in which an image stands for one
attribute and half of the images of an attribute are positive. plain: faces in random order, each with all labels. Both
shift and mirror faces as the project does. --images counts images in all: an ablation of N iterations with batch b on A
attributes sees N x b x A. Learning rate and decision thresholds come from the validation split; test faces are read
once. The LMDB folder must hold the compact form.
"""

import argparse
import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data_prep.geometry import PATCH_SIZE
from data_prep.plan.balance import LARGEST_SHIFT, SAMPLE, Plan
from data_prep.store import manifest
from python_layers.prefetch import Pool
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration, metrics, results, scoring
from tools.evaluate.evaluation import read_data

FORMS = ("balanced", "plain")


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation beside a shortcut: (N, C, H, W) -> (N, C', H / s, W / s)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet18(outputs):
    """ResNet-18 as in table 1 of He et al. (2016): images (N, 3, 224, 224) -> (N, outputs)."""
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, channels, stride), Block(channels, channels, 1)]
        inputs = channels
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net.to(memory_format=torch.channels_last)


def plain_samples(rng, faces):
    """Endless SAMPLE records of all faces in random order, pass after pass, shifted and mirrored at random."""
    while True:
        samples = np.zeros(faces, SAMPLE)
        samples["image"] = rng.permutation(faces)
        for field in ("dx", "dy"):
            samples[field] = rng.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, faces)
        samples["mirror"] = rng.integers(0, 2, faces)
        yield from samples


class Batches:
    """Batches of a compact LMDB folder without end: (images (n, 3, 224, 224), labels (n, A), mask (n, A)) as tensors.

    mask: 1 for the labels that the loss counts. Raises ToolError.
    """

    def __init__(self, lmdb, form, size, seed):
        kept = manifest.read(lmdb)
        if kept.form != "compact":
            raise ToolError(
                f"{lmdb} holds the {kept.form} form; build the compact one: face-cascade data --form compact"
            )
        self.attributes, self.form = len(kept.attributes), form
        self.labels = networks.read_labels(lmdb, "train", self.attributes)
        if form == "balanced":
            self.plan = Plan(self.labels, kept.attributes, seed, kept.settings.augment)
            self.per_attribute = max(2, size // self.attributes // 2 * 2)
            size = self.per_attribute * self.attributes
        else:
            self.plain = plain_samples(np.random.default_rng(seed), len(self.labels))
        self.size, self.number = size, 0
        self.pool = Pool(pathlib.Path(lmdb) / "train_images", size, None, 2, kept.frame)

    def samples(self):
        self.number += 1
        if self.form == "balanced":
            return self.plan.batch(self.number - 1, self.per_attribute)
        return np.fromiter((next(self.plain) for _ in range(self.size)), SAMPLE, self.size)

    def take(self):
        while len(self.pool) <= 2:
            self.pool.ask(self.samples())
        samples, pixels = self.pool.take()
        labels = torch.from_numpy(self.labels[samples["image"]]).float()
        mask = torch.ones_like(labels)
        if self.form == "balanced":
            mask = torch.eye(self.attributes).repeat(self.per_attribute, 1)
        return torch.from_numpy(pixels.copy()), labels, mask


def images(pixels):
    """Pixels 0 to 255 as the network takes them, channels last."""
    return ((pixels.float() - 112) / 64).contiguous(memory_format=torch.channels_last)


def train(batches, iterations, rate, precision, seed, device):
    """A ResNet-18 trained by SGD with momentum, the rate falling to 0 along half a cosine."""
    torch.manual_seed(seed)
    net = resnet18(batches.attributes).train().to(device, memory_format=torch.channels_last)
    solver = torch.optim.SGD(net.parameters(), rate, 0.9, weight_decay=5e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, iterations)
    for _ in tqdm(range(iterations), unit="batch", desc=f"ResNet-18, {batches.form}, rate {rate:g}", disable=None):
        x, labels, mask = (tensor.to(device) for tensor in batches.take())
        x = images(x)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            scores = net(x).float()
        losses = nn.functional.binary_cross_entropy_with_logits(scores, labels, mask, reduction="sum")
        solver.zero_grad(set_to_none=True)
        (losses / mask.sum()).backward()
        solver.step()
        schedule.step()
    return net.eval()


def scores_of(net, lmdb, split, count):
    """Scores (N, A) of the first faces of a split, 0 for all, and their labels (N, A) bool. Raises ToolError."""
    attributes = net[-1].out_features
    labels = networks.read_labels(lmdb, split, attributes)[: count or None]
    patches = (patch for _, patch in zip(range(len(labels)), networks.patches(lmdb, split)))
    parts = []
    with torch.no_grad(), tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for some in networks.batches(patches, 64):
            pixels = torch.from_numpy(np.stack(some).transpose(0, 3, 1, 2).copy())
            parts.append(net(images(pixels.to(net[-1].weight.device))).cpu().numpy())
            bar.update(len(some))
    return np.concatenate(parts), labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("lmdb", type=pathlib.Path, metavar="LMDB", help="The LMDB folder, in the compact form.")
    add(
        "--images",
        type=int,
        default=307200,
        metavar="N",
        help="The number of training images seen in all (default: 307200).",
    )
    add(
        "--batch",
        type=int,
        default=64,
        metavar="N",
        help="Images per mini-batch, for balanced ones rounded to a multiple of twice the attributes (default: 64).",
    )
    add(
        "--sampling",
        choices=FORMS,
        default=FORMS[0],
        help="How mini-batches are sampled, see above (default: balanced).",
    )
    add(
        "--rates", default="0.05", metavar="R,R,...", help="Learning rates to try, separated by commas (default: 0.05)."
    )
    add("--seeds", default="1", metavar="S,S,...", help="Seeds, separated by commas (default: 1).")
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="The arithmetic of the convolutions (default: float32).",
    )
    add("--device", choices=("cpu", "cuda"), default="cpu", help="The device (default: cpu).")
    add("--faces", type=int, default=0, metavar="N", help="Use only the first N faces of a split (default: 0, all).")
    given = parser.parse_args()
    try:
        compare(given)
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def compare(given):
    """Search the rate with the first seed, train with all seeds, print the means. Raises ToolError, OSError."""
    data = read_data(given.lmdb)
    prior = data.prior if given.sampling == "balanced" else np.full(len(data.attributes), 0.5)
    rates, seeds = [float(r) for r in given.rates.split(",")], [int(s) for s in given.seeds.split(",")]

    def trained(rate, seed):
        batches = Batches(given.lmdb, given.sampling, given.batch, seed)
        begin = time.monotonic()
        net = train(batches, -(-given.images // batches.size), rate, given.precision, seed, given.device)
        print(f"rate {rate:g}, seed {seed}: {(time.monotonic() - begin) / 60:.1f} min", flush=True)
        val, labels = scores_of(net, given.lmdb, "val", given.faces)
        threshold, _, _ = calibration.fit(val, labels, prior)
        return net, (val, labels), float(np.nanmean(metrics.accuracy(val > threshold, labels)))

    nets = {(rate, seeds[0]): trained(rate, seeds[0]) for rate in rates}
    rate = max(rates, key=lambda rate: nets[rate, seeds[0]][2])
    for tried in rates:
        print(f"rate {tried:g}: validation accuracy {nets[tried, seeds[0]][2]:.4f}")
    for seed in seeds:
        net, validation, _ = nets.get((rate, seed)) or trained(rate, seed)
        scores, labels = scores_of(net, given.lmdb, "test", given.faces)
        for row in scoring.Scored(scores, labels, prior, validation).rows("ResNet-18", data.attributes):
            if row.attribute == results.MEAN:
                print(
                    f"ResNet-18, {given.sampling}, seed {seed}, {PATCH_SIZE} x {PATCH_SIZE}, {row.decision}: accuracy "
                    f"{row.accuracy:.4f} ({row.accuracy_low:.4f} to {row.accuracy_high:.4f}), balanced accuracy "
                    f"{row.balanced_accuracy:.4f}, average precision {row.average_precision:.4f}"
                )


if __name__ == "__main__":
    main()
