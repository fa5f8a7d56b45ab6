"""Measure data preparation: the builder against Caffe's own, its memory, and the layer BalancedData.

    python -m benchmarks.data builder IMAGES_FOLDER --caffe .caffe/bin      # images/s against convert_imageset
    python -m benchmarks.data memory SCRATCH                                # peak memory, 2,000 and 50,000 images
    python -m benchmarks.data layer COMPACT_LMDB --caffe .caffe/bin         # images/s of BalancedData alone
    python -m benchmarks.data train STREAM_LMDB COMPACT_LMDB --caffe .caffe/bin   # iteration times, interleaved

Each prints its measurements and the load of the machine.
"""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measure import command_seconds, interleaved, load, peak, ratio
from data_prep import start
from data_prep.store import manifest
from data_prep.synthetic import synthetic_faces
from models import generate
from models.options import NetworkOptions

BUILD = start.command(sys.executable, "tools.cli", "data")


def data_set(folder, images, rows):
    """Write a data set in CelebA's layout. images: name -> file, linked; rows: lines of attributes and labels."""
    (folder / "img_align_celeba").mkdir(parents=True)
    for name, path in images.items():
        os.link(path, folder / "img_align_celeba" / name)
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(images)), *rows]) + "\n")
    count = len(images)
    parts = [int(number >= 0.8 * count) + int(number >= 0.9 * count) for number in range(count)]
    lines = (f"{name} {part}\n" for name, part in zip(images, parts))
    (folder / "list_eval_partition.txt").write_text("".join(lines))


def builder(images, caffe, rounds):
    """The same faces resized to 224 and encoded as JPEG by convert_imageset, and a whole build, interleaved."""
    with tempfile.TemporaryDirectory(dir=images.parent) as scratch:
        scratch = pathlib.Path(scratch)
        faces = {path.name: path for path in sorted(images.iterdir())}
        (scratch / "list.txt").write_text("".join(f"{name} 0\n" for name in faces))
        # One attribute, half of the faces with it: each face is once in the training stream, or in val or test.
        rows = ["Smiling", *(f"{name} {1 if number % 2 else -1}" for number, name in enumerate(faces))]
        data_set(scratch / "source", faces, rows)
        converter = [caffe / "convert_imageset", "-resize_width", 224, "-resize_height", 224]
        converter += ["-encoded", "-encode_type", "jpg", f"{images}/", scratch / "list.txt", scratch / "theirs"]
        ours = [*BUILD, scratch / "source", "--out", scratch / "ours", "--attributes", "Smiling"]
        ours += ["--form", "stream", "--records", 0, "--keep-duplicates"]

        def run(contestant):
            command, out = contestant
            shutil.rmtree(out, ignore_errors=True)
            return command_seconds(command, stderr=subprocess.DEVNULL)

        def show(number, found):
            (theirs, theirs_cpu), (our, our_cpu) = found["theirs"], found["ours"]
            print(
                f"round {number}: convert_imageset {len(faces) / theirs:,.0f} images/s ({theirs_cpu:.2f} s of CPU), "
                f"face-cascade data {len(faces) / our:,.0f} images/s ({our_cpu:.2f} s), {theirs / our:.2f} times; "
                f"{load()}",
                flush=True,
            )

        contestants = {"theirs": (converter, scratch / "theirs"), "ours": (ours, scratch / "ours")}
        results = interleaved(contestants, rounds, run, warm_up=False, after_round=show)
        walls = {name: [wall for wall, _ in found] for name, found in results.items()}
        print(f"median {ratio(walls['theirs'], walls['ours']):.2f} times, whole commands with their start")


def memory(scratch, sizes=(2000, 50000)):
    """Peak memory of whole builds of few and of many images (hard links to synthetic ones)."""
    synthetic, peaks = scratch / "synthetic", []
    if not synthetic.exists():
        synthetic_faces.generate(synthetic, 500, 1)
    _, names, *rows = (synthetic / "list_attr_celeba.txt").read_text().splitlines()
    for size in sizes:
        source = scratch / f"faces{size}"
        if not source.exists():
            faces = sorted((synthetic / "img_align_celeba").iterdir())
            images = {f"{number + 1:06d}.jpg": faces[number % 500] for number in range(size)}
            data_set(source, images, [names, *(name + rows[n % 500][10:] for n, name in enumerate(images))])
        for form in ("stream", "compact"):
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            command = [*BUILD, source, "--out", out, "--form", form, "--records", 2000, "--attributes", "Male,Smiling"]
            peaks.append(peak([*command, "--keep-duplicates"]))
            print(f"{size:,} images, {form}: peak {peaks[-1]:.0f} MiB", flush=True)
    few, many = peaks[:2], peaks[-2:]
    print(", ".join(f"{form}: {b / a - 1:+.1%}" for form, a, b in zip(("stream", "compact"), few, many)))


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
        folders = {}
        for form, lmdb in (("stream", stream), ("compact", compact)):
            folders[form] = pathlib.Path(scratch) / form
            options = NetworkOptions(manifest.read(lmdb).attributes, lmdb=os.path.abspath(lmdb), form=form)
            changes = {"max_iter": iterations + 1, "snapshot": 0, "display": 1, "snapshot_after_train": "false"}
            generate.write(folders[form], options, changes, ["region"])

        def run(folder):
            command = [str(caffe.absolute() / "caffe"), "train", "-solver", "region/solver.prototxt"]
            options = {"check": True, "stderr": subprocess.PIPE, "text": True, "cwd": folder}
            log = subprocess.run(command, env=dict(os.environ, GLOG_minloglevel="0"), **options).stderr
            seconds = [float(s) for s in re.findall(r"iter/s, ([\d.e+-]+)s/1 iters", log)]
            return statistics.median(seconds[1:])

        def show(number, times):
            words = ", ".join(f"{form} {times[form]:.3f} s" for form in ("stream", "compact"))
            change = times["compact"] / times["stream"] - 1
            print(f"round {number}: median iteration {words}, {change:+.1%}; {load()}", flush=True)

        results = interleaved(folders, rounds, run, warm_up=False, after_round=show)
        print(f"median {ratio(results['compact'], results['stream']) - 1:+.1%}")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=("builder", "memory", "layer", "train"), help="The measurement to run, see above.")
    add("paths", nargs="+", type=pathlib.Path, metavar="PATH", help="What the measurement needs, see above.")
    add(
        "--caffe",
        type=pathlib.Path,
        default=pathlib.Path(".caffe/bin"),
        metavar="FOLDER",
        help="The folder of the start scripts of BVLC Caffe (default: .caffe/bin).",
    )
    add("--rounds", type=int, default=5, metavar="N", help="Rounds of builder and of train (default: 5).")
    add("--iterations", type=int, default=6, metavar="N", help="Iterations of each training of train (default: 6).")
    given = parser.parse_args()
    if given.what == "builder":
        builder(*given.paths, given.caffe, given.rounds)
    elif given.what == "memory":
        memory(*given.paths)
    elif given.what == "layer":
        layer(*given.paths, given.caffe)
    else:
        train(*given.paths, given.caffe, given.iterations, given.rounds)


if __name__ == "__main__":
    main()
