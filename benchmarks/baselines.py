"""Baselines from outside: common networks on the same faces, batches, decisions and intervals as the cascade.

    python -m benchmarks.baselines data/lmdb --net resnet18 --images 307200 --rates 0.02,0.05,0.1 --seeds 1,2,3
    python -m benchmarks.baselines data/lmdb --net mobilenet_v3_small --ablation build/ablation

The network starts from random weights and has one output per attribute; its loss is the sum of the sigmoid
cross-entropies of the labels in the batch. --sampling balanced: batches of the project's plan, in which an image stands
for one attribute and half of the images of an attribute are positive. plain: faces in random order, each with all
labels. Both shift and mirror faces as the project does. --images counts images in all: an ablation of N iterations with
batch b on A attributes sees N x b x A. The learning rate with the best prior-corrected accuracy on the validation split
is used for all seeds; test faces are read once, after that. With --ablation the networks of an ablation on the same
data and seeds are compared in the same tables. --size: the network sees the patches of 224 pixels reduced to this side;
photos of 64 pixels hold no more at 224. --search-images: the rates are tried with this many images.

Written to --out: the weights of each training, from which the same command resumes; means.csv,
differences.csv and differences.svg, as of `face-cascade ablation`. The LMDB folder must hold the compact form.
"""

import dataclasses
import hashlib
import pathlib
import time

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks.common_nets import NETS
from benchmarks.measure import run_script
from data_prep import geometry
from data_prep.plan.balance import LARGEST_SHIFT, SAMPLE, Plan
from data_prep.settings import setting
from data_prep.store import manifest
from data_prep.store.databases import read_labels
from python_layers.prefetch import Pool
from tools import networks
from tools import run as runs
from tools.ablation import VARIANTS
from tools.errors import ToolError
from tools.evaluate import calibration, results, scoring
from tools.evaluate.evaluate import read_persons, training_prior
from tools.report import seeds


@dataclasses.dataclass
class Settings:
    """What is trained, and with what it is compared."""

    lmdb: str = setting(help="The LMDB folder, in the compact form")
    net: str = setting("resnet18", "The network", choices=tuple(NETS))
    images: int = setting(307200, "Training images seen in all", least=1)
    search_images: int = setting(0, "Training images of each rate that is tried, 0 for --images", least=0)
    size: int = setting(224, "Height and width of the images that the network sees", least=32)
    batch: int = setting(64, "Images per mini-batch; if balanced a multiple of twice the number of attributes", least=2)
    sampling: str = setting("balanced", "How batches are sampled", choices=("balanced", "plain"))
    rates: list[float] = setting(factory=lambda: [0.05], help="Learning rates to try", above=0, shown="0.05")
    seeds: list[int] = setting(factory=lambda: [1], help="Seeds", least=0, shown="1")
    precision: str = setting("float32", "Of the convolutions", choices=("float32", "bfloat16"))
    device: str = setting("cpu", "The device", choices=("cpu", "cuda"))
    ablation: str = setting("", "An ablation to compare with", metavar="FOLDER")
    out: str = setting("", "Where results go", metavar="FOLDER", shown="build/NET")


class Batches:
    """Batches of a compact LMDB folder without end: (images (n, 3, 224, 224), labels (n, A), mask (n, A)) as tensors.

    mask: 1 for the labels that the loss counts. Raises ToolError.
    """

    def __init__(self, lmdb, sampling, size, seed):
        kept = manifest.read(lmdb)
        if kept.form != "compact":
            raise ToolError(f"{lmdb}: holds the {kept.form} form; build the compact one with face-cascade data")
        self.attributes, self.balanced = len(kept.attributes), sampling == "balanced"
        self.labels, self.rng = read_labels(f"{lmdb}/train_labels", self.attributes), np.random.default_rng(seed)
        settings = kept.settings
        self.plan = Plan(self.labels, kept.attributes, seed, settings.augment, settings.sampling)
        self.per_attribute = max(2, size // self.attributes // 2 * 2)
        self.size, self.number = self.per_attribute * self.attributes if self.balanced else size, 0
        self.faces = np.empty(0, int)
        self.pool = Pool(pathlib.Path(lmdb) / "train_images", self.size, None, 2, kept.frame)

    def samples(self):
        """The next batch, (n,) of SAMPLE."""
        if self.balanced:
            self.number += 1
            return self.plan.batch(self.number - 1, self.per_attribute)
        while len(self.faces) < self.size:  # pass after pass over all faces
            self.faces = np.append(self.faces, self.rng.permutation(len(self.labels)))
        samples = np.zeros(self.size, SAMPLE)
        samples["image"], self.faces = self.faces[: self.size], self.faces[self.size :]
        for field in ("dx", "dy"):
            samples[field] = self.rng.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, self.size)
        samples["mirror"] = self.rng.integers(0, 2, self.size)
        return samples

    def take(self):
        """The next batch as tensors."""
        while len(self.pool) <= 2:
            self.pool.ask(self.samples())
        samples, pixels = self.pool.take()
        labels = torch.from_numpy(self.labels[samples["image"]]).float()
        mask = torch.eye(self.attributes).repeat(self.per_attribute, 1) if self.balanced else torch.ones_like(labels)
        return torch.from_numpy(pixels.copy()), labels, mask


def inputs(pixels, size):
    """Pixels 0 to 255 as the network takes them, reduced to size x size, channels last."""
    pixels = (pixels.float() - geometry.PIXEL_MEAN) / geometry.PIXEL_SCALE
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return nn.functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)


def train(given, rate, seed, total):
    """The network after `total` images (SGD, the rate falls to 0 along half a cosine), and the images per attribute."""
    named = given.net, total, given.size, given.batch, given.sampling, given.precision, manifest.checksum(given.lmdb)
    path = given.out / f"rate-{rate:g}-seed-{seed}-{hashlib.sha256(repr(named).encode()).hexdigest()[:8]}.pt"
    torch.manual_seed(seed)
    batches = Batches(given.lmdb, given.sampling, given.batch, seed)
    iterations, net = -(-total // batches.size), NETS[given.net](batches.attributes)
    net = net.to(given.device, memory_format=torch.channels_last)
    images = iterations * (batches.per_attribute if batches.balanced else batches.size)
    if path.exists():
        net.load_state_dict(torch.load(path, map_location=given.device, weights_only=True))
        return net.eval(), images
    start, net = time.monotonic(), net.train()
    solver = torch.optim.SGD(net.parameters(), rate, 0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, iterations)
    for _ in tqdm(range(iterations), unit="batch", desc=f"{given.net}, rate {rate:g}, seed {seed}", disable=None):
        x, labels, mask = (tensor.to(given.device) for tensor in batches.take())
        with torch.autocast(given.device, torch.bfloat16, enabled=given.precision == "bfloat16"):
            scores = net(inputs(x, given.size)).float()
        losses = nn.functional.binary_cross_entropy_with_logits(scores, labels, mask, reduction="sum")
        solver.zero_grad(set_to_none=True)
        (losses / mask.sum()).backward()
        solver.step()
        schedule.step()
    torch.save(net.state_dict(), path)
    print(f"rate {rate:g}, seed {seed}: {total / (time.monotonic() - start):.0f} images/s", flush=True)
    return net.eval(), images


def answers(given, attributes, net, split):
    """The scores of a network on a split, as scoring.Scored takes them: a dict. Raises DataError, OSError."""
    labels, parts = read_labels(f"{given.lmdb}/{split}_labels", attributes), []
    with torch.no_grad(), tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for some in networks.batches(networks.patches(given.lmdb, split), 64):
            pixels = torch.from_numpy(np.stack(some).transpose(0, 3, 1, 2).copy())
            parts.append(net(inputs(pixels.to(given.device), given.size)).float().cpu().numpy())
            bar.update(len(some))
    persons = read_persons(given.lmdb, split)
    known = {} if persons is None else {"persons": persons}
    return {"logits": np.concatenate(parts), "labels": labels.astype(bool), **known}


def compare(given):
    """Search the rate with the first seed, train with all seeds, write the tables; returns their text.

    Raises ToolError, OSError, ValueError.
    """
    prior = training_prior(given.lmdb)
    prior = prior if given.sampling == "balanced" else np.full_like(prior, 0.5)
    scored, images = {given.net: []}, {}
    if given.ablation:  # what is wrong with it is said before the minutes of work
        scored.update(of_ablation(given, images))
    given.out.mkdir(parents=True, exist_ok=True)
    shift, accuracies = calibration.thresholds(prior, None)[calibration.PRIOR_CORRECTED], {}
    for rate in given.rates:
        net, _ = train(given, rate, given.seeds[0], given.search_images or given.images)
        validation = answers(given, len(prior), net, "val")
        accuracies[rate] = float(((validation["logits"] > shift) == validation["labels"]).mean())
        print(f"rate {rate:g}: validation accuracy, prior-corrected: {accuracies[rate]:.4f}", flush=True)
    for seed in given.seeds:
        net, images[given.net] = train(given, max(accuracies, key=accuracies.get), seed, given.images)
        validation, test = (answers(given, len(prior), net, split) for split in ("val", "test"))
        test.update((f"validation_{name}", values) for name, values in validation.items())
        scored[given.net].append({"full network": scoring.Scored(test, "logits", prior)})
    return seeds.conclude(given.out, scored, images)


def of_ablation(given, images):
    """The scores of the variants of an ablation that were evaluated with all seeds: dict variant -> list of dicts.

    images: dict to which their training images per attribute are added. Raises ToolError.
    """
    found = {}
    for name, variant in VARIANTS.items():
        folders = [given.ablation / f"seed-{seed}" / name.replace(" ", "_") for seed in given.seeds]
        evaluated = [runs.Run.read(folder) for folder in folders if runs.Run.exists(folder)]
        if len(evaluated) == len(folders) and all((run.place("evaluate") / results.NAME).exists() for run in evaluated):
            if {run.data.checksum for run in evaluated} != {manifest.checksum(given.lmdb)}:
                raise ToolError(f"{given.ablation}: {name} was trained on other data than {given.lmdb}")
            found[name] = [seeds.scores_of(run, variant.stages[-1]) for run in evaluated]
            images[name] = evaluated[0].stages[variant.stages[-1]].images
    if not found:
        raise ToolError(f"{given.ablation}: no variant in it is evaluated with all of these seeds")
    return found


def main(given):
    given.out = pathlib.Path(given.out or f"build/{given.net}")
    given.ablation = given.ablation and pathlib.Path(given.ablation)
    print(compare(given))
    print(f"{given.out}: means.csv, differences.csv, differences.svg")


if __name__ == "__main__":
    run_script(main, Settings)
