"""Predict the attributes of the faces in photos, with the region that each was found in.

    face-cascade predict --run build/run holiday/ portrait.jpg clip.mp4

PHOTO: image files, folders (searched deeply), videos, or the index of a camera. Faces are found, also turned ones, and
aligned like CelebA's pictures. Written to OUT, photo by photo: predictions.jsonl (a line per photo), predictions.csv (a
row per face and attribute), and a picture per photo that shows its faces, answers and regions. Boxes and regions are
x1 y1 x2 y2 in pixels of the photo. The predictions of an earlier call in OUT are replaced.

    face-cascade predict --run build/run clip.mp4 --video answers.mp4

answers for every frame of a video, follows the faces, averages their answers over half a second, and writes the frames
with the answers as a video, without sound.

Probabilities are calibrated once `face-cascade evaluate` has run. Each photo without an answer (not readable, no face)
is reported in one line on standard error, and the exit status is then 1.
"""

import argparse
import math
import pathlib
import sys

from tools.errors import ToolError
from tools.predict import cards, face_finder, output, photos, video
from tools.predict.predictor import MIN_CONFIDENCE, Predictor
from tools.run import Run


def add_arguments(parser):
    """Add the arguments of `face-cascade predict` to an argparse parser."""
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="image files, folders, videos, or the index of a camera")
    add("--run", type=pathlib.Path, help="folder of the run whose network answers (default build/run)")
    add("--out", type=pathlib.Path, help="folder to write to (default: predictions in the run's folder)")
    add("--attributes", metavar="A,B", help="the attributes to answer for (default: all that the network knows)")
    add(
        "--min-confidence",
        type=between(0.5, 1),
        default=MIN_CONFIDENCE,
        metavar="P",
        help="an answer is uncertain when its probability of being right is below P, from 0.5 to 1 (default "
        f"{MIN_CONFIDENCE}); raise it to get fewer, safer answers",
    )
    add("--device", help="cpu, cuda, or cuda:N for GPU number N (default: the run's); BVLC Caffe knows cpu only")
    add(
        "--batch",
        type=count,
        default=16,
        metavar="N",
        help="faces per forward pass (default 16); lower it to save memory",
    )
    add("--no-pictures", action="store_true", help="write no pictures, only predictions.jsonl and predictions.csv")
    add(
        "--all-regions",
        action="store_true",
        help="draw the regions of absent and uncertain answers, too, in dashes (default: of what is present)",
    )
    faces = parser.add_argument_group("finding faces")
    add = faces.add_argument
    add("--aligned", action="store_true", help="the pictures are faces framed like the training data's: find none")
    add(
        "--detector",
        default="mtcnn",
        metavar="NAME|FILE.onnx",
        help="mtcnn (default), haar (OpenCV's older one, upright faces only), or a YuNet file of your own",
    )
    add(
        "--detection-size",
        type=count,
        default=face_finder.DETECTION_SIZE,
        metavar="PIXELS",
        help="photos are searched at this many pixels along their longer side at most (default "
        f"{face_finder.DETECTION_SIZE}); raise it for crowds, lower it for speed",
    )
    add(
        "--min-face-size",
        type=count,
        default=face_finder.MIN_FACE_SIZE,
        metavar="PIXELS",
        help="side of the smallest face to find, in pixels of the photo as it is searched (default "
        f"{face_finder.MIN_FACE_SIZE}); raise it for speed and fewer false faces",
    )
    videos = parser.add_argument_group("videos and cameras")
    add = videos.add_argument
    add(
        "--every",
        type=between(0.001, 1e6),
        metavar="SECONDS",
        help="seconds between the frames of a video that are answered for (default 1; with --video every frame is, and "
        "the video that is written has only the frames that are answered for)",
    )
    add("--frames", type=count, metavar="N", help="frames of each video or camera at most (default: all)")
    add(
        "--video",
        type=pathlib.Path,
        metavar="FILE",
        help=f"write one video or camera with its answers to FILE ({', '.join(video.CODECS)}), instead of pictures",
    )
    files = parser.add_argument_group("files of your own instead of a run")
    add = files.add_argument
    add("--weights", type=pathlib.Path, help=".caffemodel of any of the networks")
    add("--models", type=pathlib.Path, default="models", help="folder of their deploy prototxts (default models)")
    add("--names", metavar="A,B", help="the attributes they know, in order (default: those in calibration.json)")


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
    if arguments.weights and arguments.run:
        raise ToolError("give --run or --weights, not both")
    folder = None if arguments.weights else arguments.run or pathlib.Path("build/run")
    out = arguments.out or (folder / "predictions" if folder else pathlib.Path("build/predictions"))
    found = photos.find(arguments.photos)
    if arguments.video:
        check_video(found, arguments.video)
    device = arguments.device or (Run.read(folder).settings.device.split(",")[0] if folder else "cpu")
    finder = None
    if not arguments.aligned:
        finder = face_finder.FaceFinder(arguments.detector, arguments.min_face_size, arguments.detection_size)
    predictor = Predictor(
        weights=arguments.weights,
        models=arguments.models,
        attributes=split(arguments.names),
        run=folder,
        only=split(arguments.attributes),
        aligned=arguments.aligned,
        finder=finder,
        min_confidence=arguments.min_confidence,
        device=device,
    )
    if not predictor.calibrated:
        print("note: probabilities are not calibrated; run face-cascade evaluate for that", file=sys.stderr)
    every = arguments.every or (0 if arguments.video else 1)
    results = predictor.stream(photos.read(found, every, arguments.frames or 0), arguments.batch)
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


def split(names):
    """Names between commas, None where none are given."""
    return names and [name.strip() for name in names.split(",")]
