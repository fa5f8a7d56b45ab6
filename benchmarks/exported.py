"""Accuracy, size and speed of exported networks, by ONNX Runtime, NumPy and Pillow alone.

    .venv/bin/python -m benchmarks.exported build/demo cascade.onnx cascade16.onnx

RUN: the evaluated run that the files were exported from. The networks predict for its first test faces, one by one, and
the results are compared with the scores that `face-cascade evaluate` wrote. The files are interleaved; the machine
should be idle.
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy as np
import onnxruntime
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="The folder of the run.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="The ONNX files of its cascade.")
    parser.add_argument(
        "--faces",
        type=pathlib.Path,
        metavar="FOLDER",
        help="A data set in CelebA's layout, whose test split is used (default: faces/ in the run).",
    )
    parser.add_argument("--count", type=int, default=100, metavar="N", help="The number of test faces (default: 100).")
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [onnxruntime.InferenceSession(file, options) for file in arguments.files]
    metadata = sessions[0].get_modelmeta().custom_metadata_map
    names, calibration = json.loads(metadata["attributes"]), json.loads(metadata["calibration"])
    pictures, labels = test_faces(arguments.faces or arguments.run / "faces", names, arguments.count)
    answers, seconds = [[] for _ in sessions], [[] for _ in sessions]
    for picture in pictures:
        image = np.asarray(Image.open(picture).convert("RGB"))[np.newaxis]
        for number, session in enumerate(sessions):
            began = time.perf_counter()
            answers[number].append(session.run(["probability", "present"], {"image": image}))
            seconds[number].append(time.perf_counter() - began)
    with np.load(arguments.run / "evaluation" / "cascade.npz") as kept:
        scores = kept["logits"][: len(pictures)]
        assert (kept["labels"][: len(pictures)] == labels).all(), "the evaluation is of other faces"
    expected = 1 / (1 + np.exp(-(scores * calibration["slope"] + calibration["offset"])))
    accuracy = ((scores > calibration["threshold"]) == labels).mean()
    print(f"face-cascade evaluate: accuracy {accuracy:.4f} on {len(pictures)} faces")
    for file, some, times in zip(arguments.files, answers, seconds):
        probabilities, present = (np.concatenate(values) for values in zip(*some))
        print(
            f"{file}: {pathlib.Path(file).stat().st_size / 1e6:.1f} MB, accuracy {(present == labels).mean():.4f}, "
            f"probabilities differ by {np.abs(probabilities - expected).max():.1e} at most, "
            f"{statistics.median(times) * 1000:.0f} ms a face"
        )


def test_faces(folder, names, count):
    """Paths of the first test faces, and their labels (count, A) bool."""
    split = dict(line.split() for line in (folder / "list_eval_partition.txt").read_text().splitlines())
    _, header, *rows = (folder / "list_attr_celeba.txt").read_text().splitlines()
    columns = [header.split().index(name) for name in names]
    rows = [row.split() for row in rows]
    rows = [row for row in rows if split[row[0]] == "2"][:count]
    labels = np.array([[row[1 + column] == "1" for column in columns] for row in rows])
    return [folder / "img_align_celeba" / row[0] for row in rows], labels


if __name__ == "__main__":
    main()
