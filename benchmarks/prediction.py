"""Measure prediction and evaluation: faces/s against the net called directly, start-up, memory, flicker in videos.

    .caffe/bin/python -m benchmarks.prediction FACES --run build/run
    .venv/bin/python -m benchmarks.prediction FACES --run build/run --only memory

FACES: a folder of aligned faces. For memory, photos of 4 million pixels with two of the faces in each are made in a
temporary folder; faces are found on them, and pictures with the results are written. For flicker, three faces move
through a video with noise and changing light; predictions that change from one frame to the next are counted, with and
without tracking.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import cv2
import numpy as np

from benchmarks.measure import command_seconds, interleaved, load, peak, ratio, seconds
from data_prep.geometry import face, patch
from tools import networks
from tools.evaluate import evaluation
from tools.evaluate.settings import EvaluateSettings
from tools.predict import photos
from tools.predict.predictor import Predictor
from tools.predict.tracking import Tracker
from tools.run import Run

PHOTO = (1750, 2300)


def speed(faces, run, rounds, count=64):
    """Faces/s of Predictor and of its net alone on patches made before, one by one and in batches, interleaved.

    In batches also those of an evaluation of the run's test faces, against the same number of patches.
    """
    predictor = Predictor(run=run, aligned=True)
    pictures = list(photos.read(photos.find([faces])[:count]))
    patches = [patch(face(photo.image)) for photo in pictures]
    data = evaluation.read_data(Run.read(run).data.lmdb)
    for batch in (1, 16):

        def net_alone(batch=batch):
            for some in networks.batches(patches, batch):
                networks.forward(predictor.net, some, [predictor.score])

        def ours(batch=batch):
            if batch == 1:
                return [predictor.predict(photo.image) for photo in pictures]
            return list(predictor.stream(iter(pictures), batch))

        def evaluation_of_as_many(batch=batch):
            evaluation.responses(predictor.net, data, "test", EvaluateSettings(faces=len(patches), batch=batch))

        rivals = {"net alone": net_alone, "Predictor": ours}
        if batch > 1:
            rivals["evaluation"] = evaluation_of_as_many
        results = interleaved(rivals, rounds)
        for name, times in results.items():
            share = ratio(results["net alone"], times)
            print(
                f"batches of {batch}: {name} {len(patches) / statistics.median(times):.2f} faces/s, {share:.2f} times "
                f"its net alone (median of {rounds}); {load()}",
                flush=True,
            )


def command(run, out, *rest):
    """The command line of face-cascade predict."""
    return list(map(str, [sys.executable, "-m", "tools.cli", "predict", "--run", run, "--out", out, *rest]))


def first(faces, run, rounds):
    """Seconds from the start of the program to its end, for one face."""
    one = photos.find([faces])[0].path
    with tempfile.TemporaryDirectory() as out:
        call = command(run, out, "--aligned", "--no-pictures", one)
        found = [command_seconds(call, stderr=subprocess.DEVNULL)[0] for _ in range(rounds)]
    print(f"one face, start to end: {statistics.median(found):.1f} s (median of {rounds}); {load()}", flush=True)


def memory(faces, run, sizes=(100, 1000), originals_count=50):
    """Peak memory of face-cascade predict on few and on many photos."""
    found = [source.path for source in photos.find([faces])[: 2 * originals_count]]
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


def moving(faces, frames, shape=(720, 1280)):
    """Frames of a video of 25 per second in which aligned faces (paths) move, turn and grow, as Photos."""
    rng, pictures = np.random.default_rng(0), [cv2.imread(str(path)) for path in faces]
    for number in range(frames):
        frame = np.full((*shape, 3), 160, np.uint8)
        for place, picture in enumerate(pictures):
            turn, scale = 5 * np.sin(number / 11 + 2 * place), 1.15 + 0.25 * np.sin(number / 17 + place)
            matrix = cv2.getRotationMatrix2D((89, 109), turn, scale)
            matrix[:, 2] += 130 + 400 * place + 50 * np.sin(number / 13 + place), 210 + 60 * np.cos(number / 9 + place)
            cv2.warpAffine(picture, matrix, shape[::-1], dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
        light = 1 + 0.25 * np.sin(number / 5)
        frame = np.clip(frame * light + rng.normal(0, 6, frame.shape), 0, 255).astype(np.uint8)
        yield photos.Photo(str(number), frame, None, number / 25)


def changes(tracks):
    """Answers that differ from those of the frame before, and the mean change of a probability.

    tracks: list of dicts (number of the face, attribute) -> Answer, one per frame
    """
    pairs = [(a[key], b[key]) for a, b in zip(tracks, tracks[1:]) for key in a if key in b]
    steps = [abs(a.probability - b.probability) for a, b in pairs]
    return sum(a.answer != b.answer for a, b in pairs), statistics.mean(steps)


def flicker(faces, run, frames=60):
    """Changes of answers from frame to frame, as the network gives them and as they are followed."""
    predictor = Predictor(run=run)
    tracker, given, followed = Tracker(predictor.decide), [], []
    chosen = [source.path for source in photos.find([faces])[:3]]
    for prediction in predictor.stream(moving(chosen, frames)):
        # The faces stay in their third of the picture, which tells them apart without the tracker.
        thirds = [int(3 * (face.box[0] + face.box[2]) / 2 / prediction.shape[1]) for face in prediction.faces]
        given.append({(k, n): a for k, f in zip(thirds, prediction.faces) for n, a in f.attributes.items()})
        shown = tracker.follow(prediction).faces
        followed.append({(face.track, n): a for face in shown for n, a in face.attributes.items()})
    for words, some in (("as given", given), ("followed", followed)):
        count, step = changes(some)
        what = f"{frames} frames, {tracker.count} faces, {words}"
        print(f"{what}: {count} answers change, probabilities by {step:.4f} (mean)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("faces", type=pathlib.Path, metavar="FACES", help="The folder of aligned faces.")
    add("--run", default="build/run", metavar="FOLDER", help="The folder of the run (default: build/run).")
    add("--rounds", type=int, default=5, metavar="N", help="Rounds of speed and of first (default: 5).")
    add("--only", choices=("speed", "first", "memory", "flicker"), help="Run only this measurement (default: all).")
    given = parser.parse_args()
    what = given.faces, given.run
    try:
        if given.only in (None, "speed"):
            speed(*what, given.rounds)
        if given.only in (None, "first"):
            first(*what, given.rounds)
        if given.only in (None, "memory"):
            memory(*what)
        if given.only in (None, "flicker"):
            flicker(*what)
    except (networks.ToolError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
