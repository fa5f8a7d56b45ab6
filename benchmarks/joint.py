"""What did joint training teach task two? The parts of a cascade's answer, and each part's share of the gradient.

    python -m benchmarks.joint build/run
    python -m benchmarks.joint build/run --weights other.caffemodel
    python -m benchmarks.joint build/run --whole-face build/whole

The head (eq. 4) makes the answer from three numbers: task one's scores of absence and presence, and task two's score.
Measured on the test split, with thresholds from the validation split: each score by itself, the answer without task
two's, and how much better than each of them the answer is, with 95 % intervals. Training batches give the norm of the
gradient by part of the network: gradients are clipped together, so that a part with a small norm learns slowly. With
--whole-face: what a second network adds that was trained by itself, that is the mean of its score and of task one's,
less task one's. Printed and written to joint.csv, gradients.csv and whole_face.csv in the run.
"""

import argparse
import pathlib
import sys

import caffe
import numpy as np
from tqdm import tqdm

from benchmarks.task_two import difference, measures, scored
from models import table1
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import evaluation, tables
from tools.evaluate.evaluation import EvaluateSettings
from tools.predict.command import count

# Part of the network -> its layers with weights.
PARTS = {
    "shared layers": [row.name for row in (*table1.SHARED, table1.CONV3)],
    "task one": [row.name for row in table1.TASK_ONE],
    "task two": [row.name for row in table1.TASK_TWO],
    "head": ["head"],
}


def scores(net, data, split):
    """Scores on all faces of a split: dict name -> (F, A), and labels (F, A) bool."""
    outputs, labels = evaluation.responses(net, data, split, EvaluateSettings(), ("vector", "max_d", "logits"))
    two = outputs["vector"].reshape(*labels.shape, 3)[..., 2]
    weight = net.params["head"][0].data.reshape(-1, 3)[:, 2]
    return {
        "task one inside": outputs["max_d"],
        "answer": outputs["logits"],
        "answer without task two": outputs["logits"] - two * weight,
        "task two": two,
    }, labels


def gradient_norms(net, batches):
    """Means of the gradient's norm over training batches, a dict for a row of the table."""
    norms = []
    for _ in tqdm(range(batches), desc="gradients", unit="batch", disable=None):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        norms.append(
            [
                np.linalg.norm([np.linalg.norm(blob.diff) for name in names for blob in net.params.get(name, ())])
                for names in PARTS.values()
            ]
        )
    together = np.linalg.norm(norms, axis=1)
    return {**dict(zip(PARTS, np.mean(norms, axis=0).tolist())), "together": float(together.mean())}


def second_network(run, data, found, labels):
    """The table of the mean of two networks' scores: task one's inside the cascade, and the whole face's of a Run.

    found: dict split -> what `scores` returns for the cascade; labels: dict split -> (F, A). Raises ToolError, OSError.
    """
    net, settings, means = networks.load(run.deploy("whole_face"), run.weights("whole_face")), EvaluateSettings(), {}
    for split, of in found.items():
        outputs, _ = evaluation.responses(net, data, split, settings, ("logits",))
        means[split] = (of["task one inside"] + outputs["logits"]) / 2
    one = scored(found["val"]["task one inside"], found["test"]["task one inside"], labels, data.prior)
    both = scored(means["val"], means["test"], labels, data.prior)
    row = {"score": "mean of task one inside and the whole face", **measures([both])}
    return [{**row, **difference("this minus task one inside", [both], one)}]


def compare(given):
    """The tables to write, dict file name -> list of rows. Raises ToolError, OSError."""
    run = runs.Run.read(given.run)
    weights, data = given.weights or run.weights("cascade"), evaluation.read_data(run.data.lmdb)
    if given.whole_face:  # what is wrong with it is said before the minutes of work
        other = runs.Run.read(given.whole_face)
        other.weights("whole_face")
        if other.data.checksum != data.checksum:
            raise ToolError(f"--whole-face {other.folder}: was trained on other data than {data.lmdb}")
    net, found, labels = networks.load(run.deploy("cascade"), weights), {}, {}
    for split in evaluation.SPLITS:
        found[split], labels[split] = scores(net, data, split)
    ones = {name: scored(found["val"][name], found["test"][name], labels, data.prior) for name in found["test"]}
    table = [
        {"score": name, **measures([one]), **difference("answer minus this", [ones["answer"]], one)}
        for name, one in ones.items()
    ]
    training = networks.load(run.place("cascade") / "train_val.prototxt", weights, caffe.TRAIN)
    written = {"joint.csv": table, "gradients.csv": [gradient_norms(training, given.batches)]}
    if given.whole_face:
        written["whole_face.csv"] = second_network(other, data, found, labels)
    return written


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=pathlib.Path, help="A run whose stage cascade is done.")
    add("--weights", type=pathlib.Path, help="Weights of the same network, such as a snapshot (default: the run's).")
    add(
        "--whole-face",
        type=pathlib.Path,
        metavar="RUN",
        help="A run on the same data whose stage whole_face is done, such as RUN itself (default: none).",
    )
    add("--batches", type=count, default=8, help="Training batches for the gradient's norms (default: 8).")
    given = parser.parse_args()
    try:
        for name, table in compare(given).items():
            tables.show(table)
            tables.write_csv(given.run / name, table)
            print(given.run / name)
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
