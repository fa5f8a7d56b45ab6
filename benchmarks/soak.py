"""Measure whether memory and open files stay flat: many mixed photos through Predictor, many training iterations.

    .venv/bin/python -m benchmarks.soak                     # 5,000 photos and 2,000 iterations
    .venv/bin/python -m benchmarks.soak --photos 200 --iterations 300 --only photos

The photos are a few synthetic ones, linked many times: one face, two faces, none, grey, rotated by Exif, and files
that cannot be used: truncated, not an image, empty, too small, of a huge size, a pipe, a broken link. The network has
random weights. Training is a small net on an LMDB of encoded images, with tests and snapshots. Resident memory and open
file descriptors are printed at intervals; the verdict compares the last quarter with the second one, as the first fills
caches. The exit status is 1 if memory or the number of open files grows.
"""

import argparse
import collections
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

import caffe
import cv2
import numpy as np

from benchmarks.measure import load
from data_prep.store import databases
from data_prep.synthetic.synthetic_faces import draw_face
from models import generate
from models.options import NetworkOptions
from tools import networks
from tools.predict import photos
from tools.predict.predictor import Predictor

ATTRIBUTES = ("Male",)
# Growth from the second to the last quarter that counts as flat: share of the memory, or MiB where that is more.
SHARE, SLACK = 0.02, 12
INTERVALS = 40
NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 mirror: true crop_size: 24 }
        data_param { source: "FOLDER/images" backend: LMDB batch_size: 16 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 16 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "FOLDER/net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: 1000000 test_iter: 2
test_interval: 50 snapshot: 100 snapshot_prefix: "FOLDER/small" random_seed: 1
"""

Sample = collections.namedtuple("Sample", "done memory files")  # MiB, open descriptors


class Watch:
    """Takes a Sample at intervals and prints it. total: the number of items in the end; what: their name."""

    def __init__(self, total, what):
        self.total, self.what, self.samples, self.start = total, what, [], time.monotonic()

    def look(self, done):
        """Take a sample if one is due."""
        if len(self.samples) < INTERVALS * done // self.total:
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
            memory = pages * resource.getpagesize() / 2**20
            self.samples.append(Sample(done, memory, len(os.listdir("/proc/self/fd"))))
            speed = f"{done / (time.monotonic() - self.start):.1f}/s; {load()}"
            files = f"{self.samples[-1].files} open files"
            print(f"{done:6,} {self.what}: {memory:8,.1f} MiB, {files}, {speed}", flush=True)

    def verdict(self):
        """Print whether memory and files are flat; returns whether they are."""
        quarter = len(self.samples) // 4
        parts = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        flat = []
        for name, unit, slack in (("memory", " MiB", SLACK), ("files", " open files", 0)):
            before, after = (statistics.median(getattr(sample, name) for sample in part) for part in parts)
            flat.append(after - before <= max(SHARE * before if name == "memory" else 0, slack))
            word = "flat" if flat[-1] else "GROWING"
            print(
                f"{self.what}: {word}, {before:,.1f}{unit} in the second quarter, {after:,.1f} in the last", flush=True
            )
        return all(flat)


# Photos -----------------------------------------------------------------------------------------------------


def originals(folder):
    """Write one photo of each kind; their paths."""
    faces = [draw_face({"Male": True, "Smiling": True}, np.random.default_rng(seed))[0] for seed in range(3)]
    height, width = faces[0].shape[:2]
    scene = np.full((360, 480, 3), 150, np.uint8)
    scene[60 : 60 + height, 20 : 20 + width], scene[80 : 80 + height, 240 : 240 + width] = faces[1], faces[2]
    ramp = np.repeat(np.linspace(0, 255, 320).astype(np.uint8)[np.newaxis], 240, 0)
    pictures = {"face.jpg": faces[0], "two.jpg": scene, "none.png": cv2.merge([ramp] * 3), "grey.png": scene[..., 0]}
    pictures.update({"face.webp": faces[1], "face.bmp": faces[2], "small.png": scene[:8, :8]})
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / name), picture)
    whole = (folder / "two.jpg").read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    (folder / "turned.jpg").write_bytes(whole[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + whole[2:])
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.jpg").write_bytes(whole[:900] + bytes(range(256)) + whole[1200:])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "huge.pgm").write_bytes(b"P5 60000 60000 255\n")
    return sorted(folder.iterdir())


def linked(kinds, folder, count):
    """A folder of `count` photos: hard links to the originals, and in every 50 a pipe and a broken link."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:06d}{kinds[number % len(kinds)].suffix}"
        if number % 50 == 48:
            os.mkfifo(path)
        elif number % 50 == 49:
            path.symlink_to("nowhere.jpg")
        else:
            os.link(kinds[number % len(kinds)], path)
    return folder


def predictor(folder):
    """A Predictor for photos, with a network of random weights."""
    generate.write(folder, NetworkOptions(ATTRIBUTES, lmdb=str(folder)))
    net, rng = caffe.Net(str(folder / "cascade/deploy.prototxt"), caffe.TEST), np.random.default_rng(0)
    for name, blobs in net.params.items():
        for blob in blobs if name not in networks.OPTIONAL else ():
            blob.data[...] = rng.normal(0, (2 / max(1, blob.data[0].size)) ** 0.5, blob.data.shape)
    net.save(str(folder / "random.caffemodel"))
    return Predictor(weights=folder / "random.caffemodel", models=folder, attributes=ATTRIBUTES)


def predict(scratch, count):
    """Photos through Predictor.stream; returns whether memory and files are flat."""
    (scratch / "kinds").mkdir()
    folder = linked(originals(scratch / "kinds"), scratch / "photos", count)
    watch, seen = Watch(count, "photos"), collections.Counter()
    answers = predictor(scratch).stream(photos.read(photos.find([folder])))
    for number, prediction in enumerate(answers, 1):
        seen["faces"] += len(prediction.faces)
        seen["problems"] += prediction.photo.problem is not None
        watch.look(number)
    print(f"{number:,} photos, {seen['faces']:,} faces, {seen['problems']:,} that cannot be used")
    return watch.verdict()


# Training ---------------------------------------------------------------------------------------------------


def train(scratch, count):
    """Iterations of a small net; returns whether memory and files are flat."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 128, (32, 32, 3), np.uint8) + np.uint8(100 * (n % 2)) for n in range(256)]
    values = [databases.image_datum(picture, "jpg", n % 2) for n, picture in enumerate(pictures)]
    databases.write_lmdb(scratch / "images", values, len(values), "images")
    for name, text in (("net", NET), ("solver", SOLVER)):
        (scratch / f"{name}.prototxt").write_text(text.replace("FOLDER", str(scratch)))
    solver, watch = caffe.get_solver(str(scratch / "solver.prototxt")), Watch(count, "iterations")
    for number in range(1, count + 1):
        solver.step(1)
        watch.look(number)
        if number % 100 == 0:  # the use of the disk is not measured
            for path in scratch.glob(f"small_iter_{number - 100}.*"):
                path.unlink()
    return watch.verdict()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--photos", type=int, default=5000, metavar="N", help="The number of photos (default: 5000).")
    add("--iterations", type=int, default=2000, metavar="N", help="The number of iterations (default: 2000).")
    add("--only", choices=("photos", "training"), help="Run only one of the two (default: both).")
    given = parser.parse_args()
    flat = True
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, work, count in (("training", train, given.iterations), ("photos", predict, given.photos)):
            if given.only in (None, name):
                (scratch / name).mkdir()
                flat &= work(scratch / name, count)
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
