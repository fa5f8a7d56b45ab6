"""Predict the attributes of the faces in photos, with the region that each was found in.

    face-cascade predict --run build/run holiday/ portrait.jpg clip.mp4

PHOTO: image files, folders with their subfolders, videos, or the index of a camera. Faces are found, rotated ones
included, and aligned like CelebA's pictures. Written to OUT, photo by photo: predictions.jsonl (a line per photo),
predictions.csv (a row per face and attribute), and a picture per photo that shows its faces, answers and regions. Boxes
and regions are x1 y1 x2 y2 in pixels of the photo. The predictions of an earlier call in OUT are replaced.

    face-cascade predict --run build/run clip.mp4 --video answers.mp4

This predicts for every frame of a video, tracks the faces, averages their predictions over half a second, and writes
the frames with the predictions as a video without sound.

Probabilities are calibrated once `face-cascade evaluate` has run. Each photo without an answer (not readable, no face)
is reported in one line on standard error, and the exit status is then 1.
"""

import argparse
import math
import pathlib
import sys

from data_prep.faces import face_finder
from tools import run as runs
from tools.errors import ToolError
from tools.predict import cards, output, photos, video
from tools.predict.cards import MIN_CONFIDENCE


def add_arguments(parser):
    """Add the arguments of `face-cascade predict` to an argparse parser."""
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="Image files, folders, videos, or the index of a camera.")
    runs.add_argument(parser, "of the run whose network predicts, a model that was handed on, or a .caffemodel")
    add("--out", type=pathlib.Path, metavar="FOLDER", help="The folder to write to (default: predictions/ in the run).")
    add("--attributes", metavar="A,B,...", help="The attributes to predict (default: all of the network).")
    add(
        "--min-confidence",
        type=between(0.5, 1),
        default=MIN_CONFIDENCE,
        metavar="P",
        help="The confidence, 0.5 to 1, below which an answer is uncertain; raise it to get fewer, safer answers "
        f"(default: {MIN_CONFIDENCE}).",
    )
    add("--device", help="The device: cpu, cuda or cuda:N; BVLC Caffe computes on cpu only (default: the run's).")
    add(
        "--batch",
        type=count,
        metavar="N",
        help="Faces per forward pass; lower it to save memory (default: 16; with a camera 1, to answer every frame at "
        "once).",
    )
    add(
        "--no-pictures",
        action="store_true",
        help="Write only predictions.jsonl and predictions.csv (default: a picture per photo, too).",
    )
    add(
        "--all-regions",
        action="store_true",
        help="Also draw the regions of absent and uncertain attributes, with dashed lines (default: only those of "
        "present ones).",
    )
    faces = parser.add_argument_group("finding faces")
    add = faces.add_argument
    add(
        "--aligned",
        action="store_true",
        help="Take each picture as one face, framed like the training data (default: find the faces).",
    )
    add(
        "--detector",
        default="mtcnn",
        metavar="NAME|FILE.onnx",
        help="The face detector: mtcnn, or a YuNet file of your own (default: mtcnn).",
    )
    add(
        "--detection-size",
        type=count,
        default=face_finder.DETECTION_SIZE,
        metavar="PIXELS",
        help="The longer side, in pixels, to which larger photos are reduced before faces are searched; raise it for "
        f"crowds, lower it for speed (default: {face_finder.DETECTION_SIZE}).",
    )
    add(
        "--min-face-size",
        type=count,
        default=face_finder.MIN_FACE_SIZE,
        metavar="PIXELS",
        help="The side of the smallest face to find, in pixels of the reduced photo; raise it for speed and for fewer "
        f"false detections (default: {face_finder.MIN_FACE_SIZE}).",
    )
    videos = parser.add_argument_group("videos and cameras")
    add = videos.add_argument
    add(
        "--every",
        type=between(0.001, 1e6),
        metavar="SECONDS",
        help="The seconds from one frame that is processed to the next; the video of --video holds only those frames "
        "(default: 1; with --video, every frame).",
    )
    add(
        "--frames",
        type=count,
        metavar="N",
        help="The largest number of frames to process of each video or camera (default: all).",
    )
    add(
        "--video",
        type=pathlib.Path,
        metavar="FILE",
        help="Instead of pictures, write the frames of one video or camera with their answers to FILE "
        f"({', '.join(video.CODECS)}).",
    )


def count(text):
    """A whole number of at least 1 for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


def between(low, high):
    """The argparse type of a number from low to high."""

    def number(text):
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise argparse.ArgumentTypeError(f"{text}: must lie between {low:g} and {high:g}")
        return value

    return number


def run(arguments):
    """Run `face-cascade predict`: the exit status, 0 if every photo got an answer. Raises ToolError, OSError."""
    from tools.predict.predictor import Predictor

    found_run = runs.Run.read(arguments.run)
    out = arguments.out or found_run.output / "predictions"
    found = photos.find(arguments.photos)
    if arguments.video:
        check_video(found, arguments.video)
    finder = None
    if not arguments.aligned:
        finder = face_finder.FaceFinder(arguments.detector, arguments.min_face_size, arguments.detection_size)
    predictor = Predictor(
        found_run,
        only=arguments.attributes and [name.strip() for name in arguments.attributes.split(",")],
        aligned=arguments.aligned,
        finder=finder,
        min_confidence=arguments.min_confidence,
        device=arguments.device or found_run.device(),
    )
    if predictor.synthetic:
        print("note: the network was trained on rendered faces; its answers for photos mean nothing", file=sys.stderr)
    if not predictor.calibrated:
        print("note: probabilities are not calibrated; run face-cascade evaluate for that", file=sys.stderr)
    every = arguments.every or (0 if arguments.video else 1)
    batch = arguments.batch or (1 if any(isinstance(one.path, int) for one in found) else 16)
    results = predictor.stream(photos.read(found, every, arguments.frames or 0), batch)
    style = cards.Style(arguments.min_confidence, predictor.calibrated, arguments.all_regions)
    try:
        if arguments.video:
            return annotate(results, predictor, found[0].path, every, arguments, out, style)
        faces, problems = output.write(results, out, len(found), None if arguments.no_pictures else style)
    except KeyboardInterrupt:
        kept = photos.shown(out / output.LINES) + (f" and {photos.shown(arguments.video)}" if arguments.video else "")
        print(f"error: interrupted; the answers until then are in {kept}", file=sys.stderr)
        return 130
    what = f"{counted(faces, 'face')} in {counted(len(found) - problems, 'photo')}"
    print(f"{photos.shown(out)}: {what}; {counted(problems, 'photo')} could not be processed")
    return 1 if problems else 0


def check_video(found, path):
    """Raise ToolError unless one video or camera was given and the annotated one does not replace it."""
    source = found[0].path
    if len(found) > 1 or not (isinstance(source, int) or source.suffix.lower() in photos.VIDEOS):
        raise ToolError("--video annotates one video or camera; give one of them, and no photos")
    if not isinstance(source, int) and path.exists() and path.samefile(source):
        raise ToolError(f"--video {photos.shown(path)}: is the video to be annotated; give another name")


def annotate(results, predictor, source, every, arguments, out, style):
    """Write an annotated video and the answers of its frames: the exit status. Raises ToolError, OSError."""
    rate, frames = photos.answered_frames(source, every, arguments.frames or 0)
    with video.AnnotatedVideo(arguments.video, rate, predictor.only, predictor.decide, style) as annotated:
        _, problems = output.write(map(annotated.add, results), out, frames or None, unit="frame")
    if not problems and not annotated.tracker.count:
        problems = 1
        print(f"error: {photos.shown(photos.text(source))}: no face found in any frame", file=sys.stderr)
    if annotated.frames:
        path, what = photos.shown(arguments.video), counted(annotated.frames, "frame")
        faces = counted(annotated.tracker.count, "face")
        print(f"{path}: {what}, {faces}; answers for each frame in {photos.shown(out)}")
    return 1 if problems else 0


def counted(number, noun):
    """A number and its noun: "1 face", "2 faces"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
