"""How do time and memory of training grow? Over attributes, b, width, the number of faces, and ranks.

    python -m benchmarks.growth && python docs/draw.py       # docs/growth.csv, docs/growth.svg: 20 minutes

One quantity varies at a time; the others are the paper's twenty attributes, b = 4 and width 1. An iteration is forward,
backward and update of the cascade by the engine on one thread, on noise; seconds are those of the processor, the fewest
of --rounds iterations, so that other work on the machine counts little. Faces are the same few synthetic ones of 89 x
109 pixels again and again, in the compact form, and BalancedData alone reads them in mini-batches of 80: seconds of the
processor to the first mini-batch, and then seconds of the clock for 1,000 images, the fewest of several readings. Every
point is a process of its own, whose peak memory counts; that of the two processes that read for it, 0.1 GiB each, does
not. Ranks have one thread each and average their gradients: seconds of the clock in which all together train on 1,000
images of noise (region network, six attributes, width 1/4), by the fastest of --rounds trainings.
"""

import csv
import dataclasses
import multiprocessing
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from benchmarks.engine import nets, workers
from benchmarks.measure import run_script
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.settings import setting
from data_prep.start import REPOSITORY
from data_prep.store import databases, manifest
from data_prep.synthetic.synthetic_faces import draw_face
from models.data_layers import compact_layers
from models.options import NetworkOptions

GROWING = {
    "attributes": (1, 2, 5, 10, 20, 40),
    "b": (2, 4, 8, 16),
    "width": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1),
    "faces": (1000, 10_000, 100_000, 1_000_000),
    "ranks": (1, 2, 4),
}
DISTINCT = 100  # faces, which are repeated
BATCHES = 10  # whose reading is timed
ITERATIONS = 20  # of a training by ranks
LAUNCH = "import sys; from caffe import cli, parallel; n = int(sys.argv.pop(1)); sys.exit(parallel.launch(n))"
SPEED = re.compile(r"\(([\d.]+) iter/s")


@dataclasses.dataclass
class Settings:
    """What is measured."""

    only: str = setting("", "Measure only the growth over this", choices=tuple(GROWING), shown="all")
    rounds: int = setting(3, "Iterations, readings, and trainings by ranks, per point", least=1)
    out: str = setting("docs/growth.csv", "Where the figures go", metavar="FILE")


def iteration(rounds, attributes=20, b=4, width=1):
    """What one iteration takes: dict measure -> number."""
    names = [f"attribute_{number}" for number in range(attributes)]
    with tempfile.TemporaryDirectory() as folder:
        path = nets.write_input_solver(pathlib.Path(folder), "cascade", names, b, width)
        passes, update = workers.caffe_training("float32", attributes, b, str(path))
        seconds = []
        for _ in range(rounds + 1):  # the first one reserves memory
            begin = time.process_time()
            passes()
            update()
            seconds.append(time.process_time() - begin)
    return {"seconds of an iteration": min(seconds[1:]), "peak memory, GiB": workers.peak("cpu") / 1024}


def write_faces(folder, number):
    """Write training data in the compact form: faces that are repeated, with labels of their own."""
    labels = np.random.default_rng(0).random((number, len(PAPER_ATTRIBUTES))) < 0.3
    drawn = [draw_face({}, np.random.default_rng(seed))[0] for seed in range(DISTINCT)]
    small = [cv2.resize(face, (89, 109), interpolation=cv2.INTER_AREA) for face in drawn]
    faces = [databases.image_datum(face, "jpg") for face in small]
    images = (faces[place % DISTINCT] for place in range(number))
    databases.write_lmdb(folder / "train_images", images, number, f"{number:,} faces")
    databases.write_lmdb(folder / "train_labels", map(databases.label_datum, labels), number, "labels")
    manifest.write(folder, manifest.Manifest(list(PAPER_ATTRIBUTES), form="compact", synthetic=True))


def reading(rounds, folder):
    """What reading the data of a folder takes: dict measure -> number."""
    import caffe

    path = folder / "data.prototxt"
    path.write_text(compact_layers(NetworkOptions(PAPER_ATTRIBUTES, batch=4, lmdb=str(folder)))[0])
    begin = time.process_time()
    net = caffe.Net(str(path), caffe.TRAIN)
    net.forward()
    start, seconds = time.process_time() - begin, []
    for _ in range(5 * rounds):
        begin = time.perf_counter()
        for _ in range(BATCHES):
            net.forward()
        seconds.append((time.perf_counter() - begin) / (BATCHES * net.blobs["data"].num) * 1000)
    memory = workers.peak("cpu") / 1024
    return {"seconds of the start": start, "seconds for 1,000 images": min(seconds), "peak memory, GiB": memory}


def by_ranks(rounds, folder, ranks):
    """What training by so many ranks takes: dict measure -> number. Raises CalledProcessError."""
    names, batch = PAPER_ATTRIBUTES[:6], 4
    solver = nets.write_input_solver(folder, "region", names, batch, 1 / 4, ITERATIONS)
    paths = os.pathsep.join([REPOSITORY, f"{REPOSITORY}/engine"])
    environment = dict(os.environ, GLOG_minloglevel="0", PYTHONPATH=paths)
    command = [sys.executable, "-c", LAUNCH, str(ranks), "train", "-solver", str(solver)]
    logs = [subprocess.run(command, check=True, capture_output=True, text=True, env=environment) for _ in range(rounds)]
    # A training logs every iteration; those after the first count.
    rates = [statistics.median(map(float, SPEED.findall(log.stderr)[1:])) for log in logs]
    return {"seconds for 1,000 images": 1000 / (len(names) * batch * ranks * max(rates))}


def measure(what, value, rounds):
    """The numbers of one point: dict measure -> number."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as alone:
        folder = pathlib.Path(folder)
        if what == "ranks":
            return by_ranks(rounds, folder, value)
        if what == "faces":
            write_faces(folder, value)
            return alone.apply(reading, (rounds, folder))
        return alone.apply(iteration, (rounds,), {what: value})


def main(settings):
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    for what in [settings.only] if settings.only else GROWING:
        for value in GROWING[what]:
            for name, number in measure(what, value, settings.rounds).items():
                rows.append({"growing": what, "value": value, "curve": name, "number": f"{number:.4g}"})
                print(*rows[-1].values(), sep=", ", flush=True)
    with open(settings.out, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run_script(main, Settings)
