"""Measure prediction: faces/s against the net called directly and against exported files, start-up, memory.

    .caffe/bin/python -m benchmarks.prediction FACES --run build/run
    .venv/bin/python -m benchmarks.prediction FACES --run build/run --only speed --onnx build/run/cascade.onnx
    .venv/bin/python -m benchmarks.prediction FACES --run build/run --only memory

FACES: a folder of aligned faces. For memory, photos of 4 million pixels with two of the faces in each are made in a
temporary folder; faces are found on them, and pictures with the results are written.
"""

import dataclasses
import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import cv2
import numpy as np

from benchmarks.measure import command_seconds, interleaved, load, peak, ratio, run_script, seconds
from data_prep import start
from data_prep.geometry import face, patch
from data_prep.settings import setting
from tools import networks
from tools.predict import inputs
from tools.predict.photo import Photo
from tools.predict.predictor import Predictor

PHOTO = (1750, 2300)


@dataclasses.dataclass
class Settings:
    """What is measured."""

    faces: str = setting(help="The folder of aligned faces")
    run: str = setting("build/run", "The folder of the run", metavar="FOLDER")
    rounds: int = setting(5, "Rounds of speed and of first", least=1)
    only: str = setting("", "Run only this measurement", choices=("speed", "first", "memory"), shown="all")
    onnx: list[str] = setting(factory=list, help="ONNX files to compare with", metavar="FILE,...")


def speed(faces, run, rounds, exported=(), count=64):
    """Faces/s of Predictor and of its net alone on patches made before, one by one and in batches, interleaved.

    exported: ONNX files of the run's network, which answer one by one; also said is how much their answers differ
    """
    predictor = Predictor(run=run, aligned=True)
    images = [photo.image for photo in inputs.read(inputs.find([faces])[0][:count])]
    patches = [patch(face(image)) for image in images]

    def net_alone(batch):
        for part in networks.batches(patches, batch):
            networks.forward(predictor.net, part, [predictor.score])

    def ours(batch):
        return list(predictor.stream((Photo("", image) for image in images), batch))

    rivals = {"net alone": net_alone, "Predictor": ours}
    expected = np.array([[a.probability for a in photo.faces[0].attributes.values()] for photo in ours(16)])
    sessions = {}
    for path in exported:
        sessions[path.name] = probabilities = session(path)
        difference = np.abs(np.concatenate([probabilities(image) for image in images]) - expected).max()
        size = path.stat().st_size / 1e6
        print(f"{path}: {size:.1f} MB, probabilities differ by {difference:.1e} at most", flush=True)
    for batch in (1, 16):
        work = {name: functools.partial(rival, batch) for name, rival in rivals.items()}
        if batch == 1:
            work.update((name, lambda of=of: [of(image) for image in images]) for name, of in sessions.items())
        results = interleaved(work, rounds)
        for name, times in results.items():
            share = ratio(results["net alone"], times)
            print(
                f"batches of {batch}: {name} {len(patches) / statistics.median(times):.2f} faces/s, {share:.2f} times "
                f"the net alone (median of {rounds}); {load()}",
                flush=True,
            )


def session(path):
    """A function from a picture (height, width, 3) B G R to the probabilities (1, A) of an ONNX file."""
    import onnxruntime

    opened = onnxruntime.InferenceSession(str(path))
    return lambda image: opened.run(["probability"], {"image": image[np.newaxis, ..., ::-1]})[0]


def command(run, out, *rest):
    """The command line of face-cascade predict."""
    return start.command(sys.executable, "tools.cli", "predict", "--run", run, "--out", out, *rest)


def first(faces, run, rounds):
    """Seconds from the start of the program to its end, for one face."""
    picture = inputs.find([faces])[0][0]
    with tempfile.TemporaryDirectory() as out:
        call = command(run, out, "--aligned", "--no-pictures", picture)
        found = [command_seconds(call, stderr=subprocess.DEVNULL) for _ in range(rounds)]
    wall, processor = (statistics.median(values) for values in zip(*found))
    print(f"one face, start to end: {wall:.2f} s, {processor:.2f} s of the processor (medians of {rounds}); {load()}")


def memory(faces, run, sizes=(100, 1000), originals_count=50):
    """Peak memory of face-cascade predict on few and on many photos."""
    found = inputs.find([faces])[0][: 2 * originals_count]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        originals = []
        for number in range(originals_count):
            photo = np.full((*PHOTO, 3), 128, np.uint8)
            for column in range(2):
                picture = cv2.resize(cv2.imread(str(found[(2 * number + column) % len(found)])), (534, 654))
                photo[500:1154, 300 + 1000 * column : 834 + 1000 * column] = picture
            originals.append(scratch / f"{number}.jpg")
            cv2.imwrite(str(originals[-1]), photo)
        peaks = []
        for size in sizes:
            folder = scratch / f"photos{size}"
            folder.mkdir()
            for number in range(size):
                os.link(str(originals[number % originals_count]), str(folder / f"{number:05d}.jpg"))
            out = scratch / f"out{size}"
            call = command(run, out, folder)
            spent = seconds(lambda call=call: peaks.append(peak(call)))
            answered = (out / "predictions.jsonl").read_text().count('"box"')
            print(
                f"{size:,} photos: peak {peaks[-1]:,.0f} MiB, {answered} faces, {size / spent:.1f} photos/s; {load()}",
                flush=True,
            )
    print(f"{peaks[-1] / peaks[0] - 1:+.1%}")


def main(settings):
    faces = pathlib.Path(settings.faces)
    if settings.only in ("", "speed"):
        speed(faces, settings.run, settings.rounds, map(pathlib.Path, settings.onnx))
    if settings.only in ("", "first"):
        first(faces, settings.run, settings.rounds)
    if settings.only in ("", "memory"):
        memory(faces, settings.run)


if __name__ == "__main__":
    run_script(main, Settings)
