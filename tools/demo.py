"""Run every step on synthetic faces, in minutes: data, both stages of training, evaluation, prediction, report.

  face-cascade demo            in build/demo; the same as `make demo`

No photo is used: 2,000 faces with three attributes are rendered by data_prep.synthetic. The engine on PyTorch trains a
network of a quarter of table 1's channels, because it is faster than BVLC Caffe; then BVLC Caffe, which is installed
meanwhile, answers for some of the faces with the same weights, and the largest difference of a probability is printed.
--caffe bvlc trains on BVLC Caffe as well. To resume an interrupted demo, run the same command again; after a complete
one it prints the results again. See report.html.
"""

import csv
import pathlib
import subprocess
import sys

from data_prep.settings import add_options
from data_prep.sources import celeba
from data_prep.sources.opening import open_source
from data_prep.synthetic import synthetic_faces
from tools import model, record
from tools.errors import ToolError
from tools.evaluate import results
from tools.install import engines, install_caffe
from tools.locking import locked
from tools.predict import output
from tools.train import command, stages

FACES, SEED = 2000, 1
PREVALENCE = {"Eyeglasses": 0.3, "Wearing_Hat": 0.3, "Mustache": 0.3}
SHOWN = 8  # faces in the prediction step
# A schedule for laptops: enough for these synthetic faces, far too short for photos.
NETWORK = {"width": 0.25, "batch": 4}
SOLVER = (
    "region.max_iter=420,region.stepsize=340,cascade.max_iter=130,cascade.stepsize=105,display=10,snapshot=100,"
    "test_interval=1000"
)


def add_arguments(parser):
    """Add the options of `face-cascade demo` to a parser."""
    add = parser.add_argument
    add("--run", default="build/demo", metavar="FOLDER", help="The folder for all that is made (default: build/demo).")
    add(
        "--caffe",
        choices=engines.CHOICES,
        default="torch",
        help="The Caffe to train with: torch is the engine, which is faster, bvlc is BVLC Caffe (default: torch).",
    )
    add_options(parser, record.Settings, ["device"])
    add("--restart", action="store_true", help="Train again, even if an earlier demo has trained (default: resume).")


def run(arguments):
    """Run `face-cascade demo`. Raises ToolError, OSError."""
    folder, device = pathlib.Path(arguments.run), arguments.device or "cpu"
    engine, _ = engines.choose(arguments.caffe, device)
    engines.ensure(engine)
    with locked(folder):
        installation = install_beside(folder)
        faces = render(folder)
        model.build_data(open_source(faces), folder / "lmdb", list(PREVALENCE))
        current = model.new_run(folder, folder / "lmdb", NETWORK, SOLVER, device=device)
        current.settings.engine = engine
        print(f"step 2: training on {engines.NAMES[engine]}", flush=True)
        stages.train(current, command.DEFAULT_STAGES, arguments.restart)
        pictures = [str(path) for path in sorted((faces / "img_align_celeba").glob("*.jpg"))[-SHOWN:]]
        predictions = ("predictions", "predict", "--aligned", *pictures)
        model.follow(current, ("evaluation", "evaluate"), predictions, ("report", "report"))
        if installation:
            installation.wait()
        compared = compare(current, pictures)
    summary(folder)
    if compared:
        print(compared)
    return 0


def install_beside(folder):
    """Start the installation of BVLC Caffe, if it is missing and can be installed: a process, or None."""
    if engines.program("bvlc", "caffe").exists() or engines.obstacle():
        return None
    print("installing BVLC Caffe meanwhile, for the comparison at the end", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "install.log", "wb") as log:
        return subprocess.Popen([sys.executable, install_caffe.__file__], stdout=log, stderr=subprocess.STDOUT)


def render(folder):
    """Render the faces, unless they are there; returns their folder. Raises OSError."""
    faces = folder / "faces"
    if not (faces / celeba.PARTITION[0]).exists():
        print("rendering synthetic faces", flush=True)
        synthetic_faces.generate(faces, FACES, SEED, PREVALENCE)
    return faces


def compare(run, pictures):
    """Answer for pictures with BVLC Caffe and a run's weights too: a line about the largest difference.

    None where BVLC Caffe has answered already, or cannot be installed.
    """
    if run.settings.engine == "bvlc":
        return None
    out = run.folder / "predictions-bvlc"
    try:
        engines.ensure("bvlc")
    except ToolError as error:
        print(f"not compared with BVLC Caffe: {error}", flush=True)
        return None
    words = ["predict", "--run", str(run.folder), "--out", str(out), "--no-pictures", "--aligned", *pictures]
    # The record names the engine that trained, and predict would use that one.
    stages.tool(run, [*words, "--caffe=bvlc", "--device=cpu"], "bvlc")
    ours, theirs = (probabilities(run.folder / name) for name in ("predictions", out.name))
    largest = max(abs(a - b) for a, b in zip(ours, theirs))
    return (
        f"BVLC Caffe:     same weights, same faces; largest difference among {len(ours)} probabilities: {largest:.4f}"
    )


def probabilities(folder):
    """All probabilities in a folder of predictions, in order."""
    with open(folder / output.TABLE, newline="") as file:
        return [float(row["probability"]) for row in csv.DictReader(file)]


def summary(folder):
    """Print the results of the demo and the next commands."""
    networks = results.read(folder / "evaluation").networks
    cascade, alone = (results.rows(networks[name])[-1] for name in ("cascade", "region"))
    print(
        f"\ncascade:        accuracy {cascade.accuracy.value:.3f} (95 % interval {cascade.accuracy.low:.3f} to "
        f"{cascade.accuracy.high:.3f}), balanced accuracy {cascade.balanced_accuracy.value:.3f}"
    )
    print(
        f"task one alone: accuracy {alone.accuracy.value:.3f}, balanced accuracy {alone.balanced_accuracy.value:.3f}; "
        f"always the more frequent answer: accuracy {cascade.majority:.3f}"
    )
    regions = [row for row in networks["cascade"].regions if row.attribute == results.MEAN][-1]
    print(
        f"regions:        IoU {regions.iou:.3f} with the true boxes, pointing-game accuracy {regions.pointing_game:.3f}"
    )
    print(f"look at:        {folder}/report.html, {folder}/evaluation/regions.png, {folder}/predictions/")
    print("on real faces:  make model CELEBA=/path/to/CelebA ATTRIBUTES=Eyeglasses,Smiling,Male")
