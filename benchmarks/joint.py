"""What did joint training teach task two? The parts of a cascade's answer, and each part's share of the gradient.

    python -m benchmarks.joint build/run
    python -m benchmarks.joint build/run --weights other.caffemodel

The head (eq. 4) makes the answer from three numbers: task one's scores of absence and presence, and task two's score.
Measured on the test split, with thresholds from the validation split: each score by itself, and the answer without
task two's. Training batches give the norm of the gradient by part of the network: gradients are clipped together, so
that a part with a small norm learns slowly. Printed and written to joint.csv and gradients.csv in the run.
"""

import argparse
import pathlib
import sys

import caffe
import numpy as np
from tqdm import tqdm

from benchmarks.task_two import measures, scored
from models import table1
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import tables
from tools.evaluate.evaluation import read_data

SPLITS = ("val", "test")
TASK_TWO = [line.name for line in table1.TASK_TWO]
SHARED = [line.name for line in (*table1.SHARED, table1.CONV3)]
FACES = 16  # in one forward pass


def parts(net, lmdb, split):
    """Scores on all faces of a split: dict name -> (F, A), and labels (F, A) bool."""
    labels = networks.read_labels(lmdb, split, networks.attributes_of(net))
    weight = net.params["head"][0].data.reshape(labels.shape[1], 3)
    found = []
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for images in networks.batches(networks.patches(lmdb, split), FACES):
            out = networks.forward(net, images, ("vector", "max_d", "logits"))
            found.append((out["vector"].reshape(len(images), -1, 3), out["max_d"], out["logits"]))
            bar.update(len(images))
    vector, one, answer = map(np.concatenate, zip(*found))
    return {
        "task one inside": one,
        "answer": answer,
        "answer without task two": answer - vector[..., 2] * weight[:, 2],
        "task two": vector[..., 2],
    }, labels


def gradient_norms(net, batches):
    """Means of the gradient's norm over training batches, a dict for a row of the table."""
    norms = []
    for _ in tqdm(range(batches), desc="gradients", unit="batch", disable=None):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        squares = dict.fromkeys(("shared layers", "task one", "task two", "head"), 0.0)
        for name, blobs in net.params.items():
            part = "shared layers" if name in SHARED else "task two" if name in TASK_TWO else "task one"
            squares["head" if name == "head" else part] += sum(
                float(np.square(blob.diff, dtype=np.float64).sum()) for blob in blobs
            )
        norms.append([value**0.5 for value in (*squares.values(), sum(squares.values()))])
    return dict(zip((*squares, "together"), np.mean(norms, axis=0).tolist()))


def compare(given):
    """The tables of scores and of gradients, lists of rows. Raises ToolError, OSError."""
    run = runs.Run.read(given.run)
    weights, prior = given.weights or run.weights("cascade"), read_data(run.data.lmdb).prior
    net = networks.load(run.deploy("cascade"), weights)
    scores, labels = {}, {}
    for split in SPLITS:
        scores[split], labels[split] = parts(net, run.data.lmdb, split)
    ones = {name: scored(scores["val"][name], scores["test"][name], labels, prior) for name in scores["test"]}
    table = [{"score": name, **measures([one], ones["task one inside"])} for name, one in ones.items()]
    training = networks.load(run.place("cascade") / "train_val.prototxt", weights, caffe.TRAIN)
    return table, [gradient_norms(training, given.batches)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=pathlib.Path, help="A run whose stage cascade is done.")
    add("--weights", type=pathlib.Path, help="Weights of the same network, such as a snapshot (default: the run's).")
    add("--batches", type=int, default=8, help="Training batches for the gradient's norms (default: 8).")
    given = parser.parse_args()
    try:
        written = compare(given)
        for name, table in zip(("joint.csv", "gradients.csv"), written):
            tables.show(table)
            tables.write_csv(given.run / name, table)
            print(given.run / name)
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
