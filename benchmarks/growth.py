"""How do time and memory of training grow? The cascade over attributes, b and width; reading over the number of faces.

    python -m benchmarks.growth && python docs/draw.py       # docs/growth.csv, docs/growth.svg: 20 minutes

One quantity varies at a time; the others are the paper's twenty attributes, b = 4 and width 1. An iteration is forward,
backward and update by the engine on one thread, on noise; seconds are those of the processor, the fewest of --rounds
iterations, so that other work on the machine counts little. Data are the same few synthetic faces of 89 x 109 pixels
again and again, in the compact form, and BalancedData alone reads them in mini-batches of 80: seconds of the processor
to the first mini-batch, and then seconds of the clock for 1,000 images, the fewest of several readings. Every point is
a process of its own, whose peak memory counts; that of the two processes that read for it, 0.1 GiB each, does not.
"""

import argparse
import concurrent.futures
import csv
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time

import cv2
import numpy as np

from benchmarks.engine import nets, workers
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.store import databases, manifest
from data_prep.synthetic.synthetic_faces import draw_face
from models.data_layers import compact_layers
from models.options import NetworkOptions

GROWING = {
    "attributes": (1, 2, 5, 10, 20, 40),
    "b": (2, 4, 8, 16),
    "width": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1),
    "faces": (1000, 10_000, 100_000, 1_000_000),
}
DISTINCT = 100  # faces, which are repeated
BATCHES = 10  # whose reading is timed


def peak():
    """Peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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
    return {"seconds of an iteration": min(seconds[1:]), "peak memory, GiB": peak()}


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

    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(compact_layers(NetworkOptions(PAPER_ATTRIBUTES, batch=4, lmdb=str(folder)))[0])
        file.flush()
        begin = time.process_time()
        net = caffe.Net(file.name, caffe.TRAIN)
        net.forward()
        start, seconds = time.process_time() - begin, []
        for _ in range(5 * rounds):
            begin = time.perf_counter()
            for _ in range(BATCHES):
                net.forward()
            seconds.append((time.perf_counter() - begin) / (BATCHES * net.blobs["data"].num) * 1000)
    return {"seconds of the start": start, "seconds for 1,000 images": min(seconds), "peak memory, GiB": peak()}


def alone(function, *values, **named):
    """What a function returns in a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(function, *values, **named).result()


def measure(what, value, rounds):
    """The numbers of one point: dict measure -> number."""
    if what != "faces":
        return alone(iteration, rounds, **{what: value})
    with tempfile.TemporaryDirectory() as folder:
        write_faces(pathlib.Path(folder), value)
        return alone(reading, rounds, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", choices=tuple(GROWING), help="Measure only the growth over this (default: all four).")
    add("--rounds", type=int, default=3, metavar="N", help="Iterations, and readings, per point (default: 3).")
    add("--out", type=pathlib.Path, default=pathlib.Path("docs/growth.csv"), help="Where it goes (docs/growth.csv).")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    for what in [given.only] if given.only else GROWING:
        for value in GROWING[what]:
            for name, number in measure(what, value, given.rounds).items():
                rows.append({"growing": what, "value": value, "curve": name, "number": f"{number:.4g}"})
                print(*rows[-1].values(), sep=", ", flush=True)
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
