"""What did joint training teach task two? The parts of a cascade's answer, and each part's share of the gradient.

    python -m benchmarks.joint build/run
    python -m benchmarks.joint build/run --whole-face build/whole

The head (eq. 4) makes the answer from three numbers: task one's scores of absence and presence, and task two's score.
Measured on the test split, with decision thresholds from the validation split: how much better the answer is than each
score by itself and than the answer without task two's. Training batches give the norm of the gradient by part of the
network: gradients are clipped together, so that a part with a small norm learns slowly. With --whole-face: what a
second network adds that was trained by itself: the answer against the mean of its score and of task one's. Written to
joint/ in the run: gradients.csv, and means.csv, differences.csv and differences.svg, as of `face-cascade ablation`.
"""

import argparse
import pathlib
import sys

import caffe
import numpy as np
from tqdm import tqdm

from models import table1
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import comparison, evaluation, scoring, tables
from tools.evaluate.settings import EvaluateSettings
from tools.train.average import current_folder

# Part of the network -> its layers with weights.
PARTS = {
    "shared layers": [row.name for row in (*table1.SHARED, table1.CONV3)],
    "task one": [row.name for row in table1.TASK_ONE],
    "task two": [row.name for row in table1.TASK_TWO],
    "head": ["head"],
}


def scores(net, data, split, second):
    """Scores on all faces of a split: dict name -> scoring.Faces. second: another network for the last, or None."""
    outputs = evaluation.responses(net, data, split, EvaluateSettings(), ("vector", "max_d", "logits"))
    labels, persons, one = outputs["labels"], outputs.get("persons"), outputs["max_d"]
    two = outputs["vector"].reshape(*labels.shape, 3)[..., 2]
    weight = net.params["head"][0].data.reshape(-1, 3)[:, 2]
    named = {"answer": outputs["logits"], "task one inside": one, "task two": two}
    named["answer without task two"] = outputs["logits"] - two * weight
    if second:
        other = evaluation.responses(second, data, split, EvaluateSettings(), ("logits",))["logits"]
        named["mean of task one inside and the whole face"] = (one + other) / 2
    return {name: scoring.Faces(values, labels, persons) for name, values in named.items()}


def gradient_norms(net, batches):
    """Means of the gradient's norm over training batches, a row of the table."""
    norms = []
    for _ in tqdm(range(batches), desc="gradients", unit="batch", disable=None):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        blobs = {part: [blob for name in names for blob in net.params.get(name, ())] for part, names in PARTS.items()}
        norms.append([np.linalg.norm([np.linalg.norm(blob.diff) for blob in of]) for of in blobs.values()])
    together = np.linalg.norm(norms, axis=1).mean()
    return {**dict(zip(PARTS, np.mean(norms, axis=0).tolist())), "together": float(together)}


def compare(given):
    """Write the tables and return their text. Raises ToolError, OSError."""
    run, second = runs.Run.read(given.run), None
    run.check_data()
    weights, data = given.weights or run.weights("cascade"), evaluation.read_data(run.lmdb)
    if given.whole_face:
        other = runs.Run.read(given.whole_face)
        second = networks.load(other.deploy("whole_face"), other.weights("whole_face"))
        if other.data.checksum != data.checksum:
            raise ToolError(f"--whole-face {other.folder}: was trained on other data than {data.lmdb}")
    net = networks.load(run.deploy("cascade"), weights)
    validation, test = (scores(net, data, split, second) for split in ("val", "test"))
    scored = {
        name: [{"full network": scoring.Scored(faces, data.prior, validation[name])}] for name, faces in test.items()
    }
    out = given.run / "joint"
    out.mkdir(exist_ok=True)
    text = comparison.conclude(out, scored, dict.fromkeys(scored, run.stages["cascade"].images))
    with current_folder(run.folder):  # where the paths in its prototxts start
        path = pathlib.Path(run.places("cascade")["net"])
        gradients = [gradient_norms(networks.load(path, weights.absolute(), caffe.TRAIN), given.batches)]
    tables.write_csv(out / "gradients.csv", gradients)
    return f"{text}\n\nnorms of the gradient, means of {given.batches} batches\n{tables.aligned(gradients)}"


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
    add("--batches", type=int, default=8, help="Training batches for the gradient's norms (default: 8).")
    given = parser.parse_args()
    try:
        print(compare(given))
    except (ToolError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
