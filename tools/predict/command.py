"""Predict the attributes of the faces in photos, with the region that each was found in.

    face-cascade predict --run build/run holiday/ portrait.jpg clip.mp4

PHOTO: image files, folders with their subfolders, videos, or the index of a camera. Faces are found, rotated ones
included, and aligned like CelebA's pictures. Written to the folder of --out, photo by photo: predictions.jsonl (a line
per photo), predictions.csv (a row per face and attribute), and a picture per photo that shows its faces, answers and
regions. Boxes and regions are x1 y1 x2 y2 in pixels of the photo. Predictions of an earlier call there are replaced.

    face-cascade predict --run build/run clip.mp4 --video answers.mp4

This predicts for every frame of a video, tracks the faces, averages their predictions over half a second, and writes
the frames with the predictions as a video without sound.

Probabilities are calibrated once `face-cascade evaluate` has run. Each photo without an answer (not readable, no face)
is reported in one line on standard error, and the exit status is then 1; other files in a folder are only counted.
"""

import dataclasses
import pathlib
import sys

from data_prep import settings
from data_prep.faces import face_finder
from data_prep.settings import setting
from tools import run as runs
from tools.errors import ToolError
from tools.predict.inputs import is_video, text
from tools.predict.photo import MIN_CONFIDENCE


@dataclasses.dataclass
class Options:
    """The options of `face-cascade predict` that have a range or a default of their own."""

    attributes: list[str] = setting(
        factory=list, help="The attributes to predict", metavar="A,B,...", shown="all of the network"
    )
    min_confidence: float = setting(
        MIN_CONFIDENCE,
        "The confidence, 0.5 to 1, below which an answer is uncertain; raise it to get fewer, safer answers",
        least=0.5,
        most=1,
        metavar="P",
    )
    device: str = setting(
        "", "The device: cpu, cuda or cuda:N; BVLC Caffe computes on cpu only", metavar="DEVICE", shown="the run's"
    )
    batch: int = setting(
        0,
        "Faces per forward pass; lower it to save memory",
        least=1,
        shown="16; with a camera 1, to answer every frame at once",
    )
    no_pictures: bool = setting(False, "Write only predictions.jsonl and predictions.csv, and no picture per photo")
    all_regions: bool = setting(
        False, "Also draw the regions of absent and uncertain attributes, with thin lines, not only of present ones"
    )
    aligned: bool = setting(
        False, "Take each picture as one face, framed like the training data, instead of finding the faces"
    )
    detection_size: int = setting(
        face_finder.DETECTION_SIZE,
        "The longer side, in pixels, to which larger photos are reduced before faces are searched; raise it for "
        "crowds, lower it for speed",
        least=1,
        metavar="PIXELS",
    )
    min_face_size: int = setting(
        face_finder.MIN_FACE_SIZE,
        "The side of the smallest face to find, in pixels of the reduced photo; raise it for speed and for fewer "
        "false detections",
        least=1,
        metavar="PIXELS",
    )
    every: float = setting(
        0.0,
        "Of videos and cameras, the seconds from one frame that is processed to the next; the video of --video holds "
        "only those frames",
        least=0.001,
        most=1e6,
        metavar="SECONDS",
        shown="1; with --video, every frame",
    )
    frames: int = setting(0, "The largest number of frames to process of each video or camera", least=1, shown="all")


def add_arguments(parser):
    """Add the arguments of `face-cascade predict` to an argparse parser."""
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="Image files, folders, videos, or the index of a camera.")
    runs.add_argument(parser, "of the run whose network predicts, a model that was handed on, or a .caffemodel")
    add("--out", type=pathlib.Path, metavar="FOLDER", help="The folder to write to (default: predictions/ in the run).")
    add(
        "--video",
        type=pathlib.Path,
        metavar="FILE",
        help="Instead of pictures, write the frames of one video or camera with their answers to FILE (.mp4, .avi, "
        ".webm).",
    )
    settings.add_options(parser, Options)


def run(arguments):
    """Run `face-cascade predict`: the exit status, 0 if every photo got an answer. Raises DataError, OSError."""
    from tools.predict import inputs, output
    from tools.predict.predictor import Predictor

    chosen = settings.given(arguments, Options)
    options, run = Options(**chosen), runs.Run.read(arguments.run)
    found, skipped = inputs.find(arguments.photos)
    settings.check_effect(chosen, without_effect(options))
    every = options.every or (0 if arguments.video else 1)
    if arguments.video:
        check_video(found, arguments.video)
    finder = None
    if not options.aligned:
        finder = face_finder.FaceFinder(options.min_face_size, options.detection_size)
    device = options.device or run.device()
    predictor = Predictor(run, options.attributes, options.aligned, finder, options.min_confidence, device)
    for note in predictor.notes:
        print(f"note: {note}", file=sys.stderr)
    style = predictor.style(options.all_regions)
    pictures = None if options.no_pictures or arguments.video else style
    written = output.Predictions(arguments.out or run.output / "predictions", pictures)
    batch = options.batch or (1 if any(isinstance(path, int) for path in found) else 16)
    try:
        if arguments.video:
            from tools.predict.video import AnnotatedVideo

            source = inputs.Video(found[0], every, options.frames)
            photos = predictor.stream(source, batch, draw=True)
            with AnnotatedVideo(arguments.video, source.rate, predictor.decide, style) as video, written:
                written.add_all(map(video.add, photos), source.total, "frame")
            if video.frames:
                what = f"{counted(video.frames, 'frame')}, {counted(video.tracker.count, 'face')}"
                print(f"{text(arguments.video)}: {what}; answers for each frame in {text(written.out)}")
        else:
            photos = predictor.stream(inputs.read(found, every, options.frames), batch, draw=pictures is not None)
            with written:
                written.add_all(photos, len(found), "photo")
            print(f"{text(written.out)}: {summary(written, skipped)}")
    except KeyboardInterrupt:
        print(f"error: interrupted{written.kept()}", file=sys.stderr)
        return 130
    return 1 if written.problems else 0


def without_effect(options):
    """The options that have no effect beside the others: dict name -> why."""
    idle = {}
    if options.aligned:
        idle.update(dict.fromkeys(("detection_size", "min_face_size"), "with --aligned, which searches for no face"))
    if options.no_pictures:
        idle["all_regions"] = "with --no-pictures"
    return idle


def check_video(found, path):
    """Raise ToolError unless one video or camera was given and the annotated one does not replace it."""
    source = found[0]
    if len(found) > 1 or not is_video(source):
        raise ToolError("--video annotates one video or camera; give one of them, and no photos")
    if not isinstance(source, int) and path.exists() and path.samefile(source):
        raise ToolError(f"--video {text(path)}: is the video to be annotated; give another name")


def summary(written, skipped):
    """What was answered, and what was not, in words. written: output.Predictions; skipped: other files in folders."""
    parts = [counted(written.photos, "photo")] if written.photos or not written.frames else []
    if written.frames:
        parts.append(f"{counted(sum(written.frames.values()), 'frame')} of {counted(len(written.frames), 'video')}")
    words = f"{counted(written.faces, 'face')} in {' and '.join(parts)}"
    if written.problems:
        words += f"; {counted(written.problems, 'input')} could not be processed"
    return words + (f"; {counted(skipped, 'other file')} skipped" if skipped else "")


def counted(number, noun):
    """A number and its noun: "1 face", "2 faces"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
