"""From a data set to a trained model in one command: data, training, evaluation, report, ONNX, and a folder to hand on.

  face-cascade model /path/to/CelebA --attributes Eyeglasses,Smiling,Male
  face-cascade model photos.csv --detect                                   photos and attributes of your own

The network has a quarter of table 1's channels and a schedule of 3,200 mini-batches; on six attributes of CelebA at
64 x 64 pixels its accuracy was 0.90 (docs/results.md). The options of `face-cascade train` change that. All is
written to the folder of --run. To resume an interrupted command, run it again.
"""

import pathlib

from data_prep.build.build_lmdb import opened
from data_prep.build.builder import build, label_files
from data_prep.settings import add_options, given
from data_prep.store import manifest
from models import solvers
from models.options import NetworkOptions
from tools import run as runs
from tools.errors import ToolError
from tools.install import engines
from tools.locking import locked
from tools.record import Settings
from tools.train import command, stages

FOLDER, ZOO = "build/model", "zoo"
# Settings of the data that faces of one's own may need.
DATA = ("images", "eyes", "frame", "detect", "convert")
NETWORK = {"width": 0.25, "batch": 16}
SOLVER = (
    "region.max_iter=2000,region.stepsize=1500,region.base_lr=0.02,cascade.max_iter=1200,cascade.stepsize=900,"
    "cascade.base_lr=0.01,snapshot=500,test_interval=500,test_iter=20"
)


def add_arguments(parser):
    """Add the options of `face-cascade model` to a parser."""
    parser.add_argument(
        "data", metavar="DATA", help="The data set: a folder as CelebA or LFWA is downloaded, or a CSV."
    )
    parser.add_argument("--expect", choices=manifest.KINDS, help="Stop unless the data set has this layout.")
    add_options(parser, manifest.Settings, DATA)
    shown = {
        "attributes": "the paper's twenty, or all columns of a CSV",
        "width": "1/4",
        "batch": NETWORK["batch"],
        "solver": "3,200 mini-batches at twice the usual rates",
        "precision": "bfloat16 where the processor computes in it, else float32",
    }
    add_options(parser, NetworkOptions, ["attributes", "seed"], shown)
    command.add_run_arguments(parser, FOLDER, "all that is made", "lmdb in the run, built from DATA", shown)
    parser.add_argument("--restart", action="store_true", help="Train again what is trained (default: resume).")


def run(arguments):
    """Run `face-cascade model`. Raises ToolError, OSError."""
    folder = pathlib.Path(arguments.run)
    chosen = given(arguments, manifest.Settings, DATA)
    source = opened(arguments.data, chosen, arguments.expect)  # before the lock, so that a mistake leaves no folder
    with locked(folder):
        lmdb = pathlib.Path(arguments.lmdb) if arguments.lmdb else folder / "lmdb"
        build_data(source, lmdb, arguments.attributes, chosen)
        precision = "bfloat16" if engines.bfloat16_units() else "float32"
        current = new_run(folder, lmdb, NETWORK, SOLVER, precision=precision)
        command.apply(current, arguments)
        print("step 2: training", flush=True)
        stages.train(current, command.DEFAULT_STAGES, arguments.restart)
        follow(
            current,
            ("evaluation", "evaluate"),
            ("report", "report"),
            ("ONNX", "export"),
            ("folder to hand on", "export", f"--{ZOO}", str(folder / ZOO)),
        )
    print(f"model:   {folder / ZOO}, to hand on: fill in its licence and data terms (readme.md)")
    print(f"look at: {folder}/report.html; answers for photos: face-cascade predict --run {folder} photo.jpg")
    return 0


def build_data(source, lmdb, attributes=None, chosen=()):
    """Build LMDBs from a Source, unless they are there already. Raises DataError for others, OSError.

    chosen: the names of the settings that must be those of the Source
    """
    if not manifest.exists(lmdb):
        print("step 1: data", flush=True)
        build(source, lmdb, list(attributes or source.default_attributes))
        return
    built, other = manifest.read(lmdb), "give another folder with --run"
    if attributes and list(attributes) != built.attributes:
        raise ToolError(f"{lmdb}: holds {', '.join(built.attributes)}; {other}")
    if built.source is None or built.source.files != label_files(source):
        place = built.source.path if built.source else "another data set"
        raise ToolError(f"{lmdb}: was built from {place}, and the labels of {source.path} are others; {other}")
    for name in chosen:
        if getattr(built.settings, name) != getattr(source.settings, name):
            raise ToolError(f"{lmdb}: was built with another --{name}; {other}")


def new_run(folder, lmdb, network, solver, **settings):
    """The run in a folder with these settings, and the stages that its record knows. Raises ToolError.

    network: options of the network; solver: changes to the solvers, as the option --solver takes them
    """
    changes = solvers.parse_changes(solver)
    current = runs.Run.create(folder, lmdb, Settings(network=dict(network), solver=changes, **settings))
    if runs.Run.exists(folder):
        recorded = runs.Run.read(folder)
        current.stages, current.settings.engine = recorded.stages, recorded.settings.engine
    return current


def follow(current, *steps):
    """Run commands on a trained run, each announced as a step; what needs templates or ONNX always runs in .venv.

    steps: (title, command, further words). Raises ToolError.
    """
    for number, (title, name, *words) in enumerate(steps, 3):
        print(f"step {number}: {title}", flush=True)
        engine = None if name in ("evaluate", "predict") else "torch"
        stages.tool(current, [name, "--run", str(current.folder), *words], engine)
