"""Measure data preparation: the builder against Caffe's own, its memory, and the layer BalancedData.

    python -m benchmarks.data builder IMAGES_FOLDER --caffe .caffe/bin      # images/s against convert_imageset
    python -m benchmarks.data memory SCRATCH                                # peak memory, 2,000 and 50,000 images
    python -m benchmarks.data plan CELEBA_BASELINES_CSV                     # a dry run for all of CelebA
    python -m benchmarks.data layer COMPACT_LMDB --caffe .caffe/bin         # images/s of BalancedData alone
    python -m benchmarks.data train STREAM_LMDB COMPACT_LMDB --caffe .caffe/bin   # iteration times, interleaved

Each prints its measurements and the load of the machine.
"""

import argparse
import csv
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.measure import command_seconds, interleaved, load, peak, ratio
from data_prep.attributes import CELEBA_ATTRIBUTES, PAPER_ATTRIBUTES

BUILD = [sys.executable, "-m", "data_prep.build.build_lmdb"]
# The sizes of CelebA's official splits.
PARTS = (162770, 19867, 19962)


def builder(images, caffe, rounds):
    """The same faces resized to 224 and encoded as JPEG by convert_imageset, and a whole build, interleaved."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        faces = sorted(path.name for path in images.iterdir())
        (scratch / "list.txt").write_text("".join(f"{name} 0\n" for name in faces))
        source = scratch / "source"
        source.mkdir()
        (source / "img_align_celeba").symlink_to(images.resolve())
        # One attribute, half of the faces with it: each face is once in the training stream, or in val or test.
        count = len(faces)
        lines = [f"{name} {1 if number % 2 else -1}" for number, name in enumerate(faces)]
        (source / "list_attr_celeba.txt").write_text("\n".join([str(count), "Smiling", *lines]) + "\n")
        parts = [0 if number < 0.8 * count else 1 + number % 2 for number in range(count)]
        lines = [f"{name} {part}\n" for name, part in zip(faces, parts)]
        (source / "list_eval_partition.txt").write_text("".join(lines))
        converter = [caffe / "convert_imageset", "-resize_width", 224, "-resize_height", 224]
        converter += ["-encoded", "-encode_type", "jpg", f"{images}/", scratch / "list.txt", scratch / "theirs"]
        ours = [*BUILD, source, "--out", scratch / "ours", "--attributes", "Smiling", "--records", 0]

        def run(contestant):
            command, out = contestant
            shutil.rmtree(out, ignore_errors=True)
            return command_seconds(command, stderr=subprocess.DEVNULL)

        def show(number, found):
            (theirs, theirs_cpu), (our, our_cpu) = found["theirs"], found["ours"]
            print(
                f"round {number}: convert_imageset {count / theirs:,.0f} images/s ({theirs_cpu:.2f} s of CPU), "
                f"build_lmdb {count / our:,.0f} images/s ({our_cpu:.2f} s), {theirs / our:.2f} times; {load()}",
                flush=True,
            )

        contestants = {"theirs": (converter, scratch / "theirs"), "ours": (ours, scratch / "ours")}
        results = interleaved(contestants, rounds, run, warm_up=False, after_round=show)
        walls = {name: [wall for wall, _ in found] for name, found in results.items()}
        print(f"median {ratio(walls['theirs'], walls['ours']):.2f} times, whole commands with their start")


def memory(scratch, sizes=(2000, 50000)):
    """Peak memory of whole builds of few and of many images (hard links to synthetic ones)."""
    peaks = []
    synthetic = scratch / "synthetic"
    if not synthetic.exists():
        command = [sys.executable, "-m", "data_prep.synthetic.synthetic_faces", synthetic, "--images", 500, "--seed", 1]
        subprocess.run([*map(str, command)], check=True)
    rows = (synthetic / "list_attr_celeba.txt").read_text().splitlines()
    for size in sizes:
        source = scratch / f"faces{size}"
        if not source.exists():
            (source / "img_align_celeba").mkdir(parents=True)
            labels, parts = [], []
            for number in range(size):
                name = f"{number + 1:06d}.jpg"
                os.link(
                    synthetic / "img_align_celeba" / f"{number % 500 + 1:06d}.jpg", source / "img_align_celeba" / name
                )
                labels.append(name + rows[2 + number % 500][10:])
                parts.append(f"{name} {int(number >= 0.8 * size) + int(number >= 0.9 * size)}")
            (source / "list_attr_celeba.txt").write_text("\n".join([str(size), rows[1], *labels]) + "\n")
            (source / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
        for form in ("stream", "compact"):
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            command = [*BUILD, source, "--out", out, "--form", form, "--records", 2000, "--attributes", "Male,Smiling"]
            peaks.append(peak(command))
            print(f"{size:,} images, {form}: peak {peaks[-1]:.0f} MiB", flush=True)
    few, many = peaks[:2], peaks[-2:]
    print(", ".join(f"{form}: {b / a - 1:+.1%}" for form, a, b in zip(("stream", "compact"), few, many)))


def plan(baselines):
    """A dry run of 202,599 rows like CelebA's: random labels with the test split's shares of positives."""
    with open(baselines, newline="") as file:
        majority = {row["attribute"]: float(row["test_majority_accuracy"]) / 100 for row in csv.DictReader(file)}
    rng = np.random.default_rng(0)
    columns = []
    for name in CELEBA_ATTRIBUTES:
        commoner = majority.get(name, 0.75)
        share = commoner if name == "Young" else 1 - commoner  # of the twenty only Young is on most faces
        column = []
        for part in PARTS:  # the exact number in each split
            labels = np.zeros(part, bool)
            labels[: round(share * part)] = True
            column.append(rng.permutation(labels))
        columns.append(np.concatenate(column))
    labels = np.array(columns).T
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        names = [f"{number + 1:06d}.jpg" for number in range(len(labels))]
        rows = (name + "".join("  1" if label else " -1" for label in row) for name, row in zip(names, labels.tolist()))
        (scratch / "list_attr_celeba.txt").write_text(
            "\n".join([str(len(names)), " ".join(CELEBA_ATTRIBUTES), *rows]) + "\n"
        )
        parts = np.repeat([0, 1, 2], PARTS)
        text = "".join(f"{name} {part}\n" for name, part in zip(names, parts))
        (scratch / "list_eval_partition.txt").write_text(text)
        for records in (10000, 0):
            print(f"\n--records {records} ({'the default' if records else 'all'}), {len(PAPER_ATTRIBUTES)} attributes")
            start = time.perf_counter()
            subprocess.run([*BUILD, str(scratch), "--dry-run", "--records", str(records)], check=True)
            print(f"{time.perf_counter() - start:.1f} s for all of it; {load()}", flush=True)


LAYER = """layer {{ name: "balanced_data" type: "Python" top: "data" top: "label_flat" include {{ phase: TRAIN }}
  param {{ lr_mult: 0 decay_mult: 0 }}
  python_param {{ module: "python_layers.balanced_data" layer: "BalancedData"
    param_str: '{{"source": "{folder}", "workers": {workers}}}' }} }}
"""
RUN_LAYER = """
import os, sys, time, caffe
net = caffe.Net(sys.argv[1], caffe.TRAIN)
[net.forward() for _ in range(5)]
start, own = time.time(), time.process_time()
[net.forward() for _ in range(int(sys.argv[2]))]
images = net.blobs["data"].num * int(sys.argv[2])
print("%.0f images/s, %.1f ms of the solver's process per batch of %d" % (images / (time.time() - start),
      1000 * (time.process_time() - own) / int(sys.argv[2]), net.blobs["data"].num))
"""


def layer(folder, caffe, batches=50):
    """Images/s of BalancedData without further layers."""
    for workers in (1, 2):
        with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as net:
            net.write(LAYER.format(folder=folder, workers=workers))
            net.flush()
            command = [str(caffe / "python"), "-c", RUN_LAYER, net.name, str(batches)]
            environment = dict(os.environ, GLOG_minloglevel="2")
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            print(f"{workers} workers: {done.stdout.strip()}; {load()}", flush=True)


def train(stream, compact, caffe, iterations, rounds):
    """Iteration times of the cascade under `caffe train` on both forms, interleaved."""
    with tempfile.TemporaryDirectory() as scratch:
        solvers = {}
        for form, folder in (("stream", stream), ("compact", compact)):
            out = pathlib.Path(scratch) / form
            command = [sys.executable, "-m", "models.generate", "--lmdb", folder, "--out", out]
            command += ["--solver", f"max_iter={iterations + 1},snapshot=0,display=1,snapshot_after_train=false"]
            subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
            solvers[form] = out / "cascade/solver.prototxt"

        def run(solver):
            command = [str(caffe / "caffe"), "train", "-solver", str(solver)]
            environment = dict(os.environ, GLOG_minloglevel="0")
            log = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True, env=environment).stderr
            iterations = [float(s) for s in re.findall(r"iter/s, ([\d.e+-]+)s/1 iters", log)]
            return statistics.median(iterations[1:])

        def show(number, times):
            words = ", ".join(f"{form} {times[form]:.3f} s" for form in ("stream", "compact"))
            change = times["compact"] / times["stream"] - 1
            print(f"round {number}: median iteration {words}, {change:+.1%}; {load()}", flush=True)

        results = interleaved(solvers, rounds, run, warm_up=False, after_round=show)
        print(f"median {ratio(results['compact'], results['stream']) - 1:+.1%}")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=("builder", "memory", "plan", "layer", "train"), help="The measurement to run, see above.")
    add(
        "paths",
        nargs="+",
        type=pathlib.Path,
        metavar="PATH",
        help="The folders and files that the measurement needs, see above.",
    )
    add(
        "--caffe",
        type=pathlib.Path,
        default=pathlib.Path(".caffe/bin"),
        metavar="FOLDER",
        help="The folder of the start scripts of BVLC Caffe (default: .caffe/bin).",
    )
    add(
        "--rounds",
        type=int,
        default=5,
        metavar="N",
        help="Rounds of builder and of train; raise it for steadier medians (default: 5).",
    )
    add(
        "--iterations",
        type=int,
        default=6,
        metavar="N",
        help="Iterations of each training in a round of train (default: 6).",
    )
    given = parser.parse_args()
    if given.what == "builder":
        builder(*given.paths, given.caffe, given.rounds)
    elif given.what == "memory":
        memory(*given.paths)
    elif given.what == "plan":
        plan(*given.paths)
    elif given.what == "layer":
        layer(*given.paths, given.caffe)
    else:
        train(*given.paths, given.caffe, given.iterations, given.rounds)


if __name__ == "__main__":
    main()
