"""From a data set to a trained model in one command: data, training, evaluation, report, ONNX, and a folder to hand on.

  face-cascade model /path/to/CelebA --attributes Eyeglasses,Smiling,Male
  face-cascade model photos.csv                                            your own faces and attributes

The network has a quarter of table 1's channels and a schedule of 3,200 mini-batches; on six attributes of CelebA at
64 x 64 pixels its accuracy was 0.90 (docs/results.md). The options of `face-cascade train` change that. Other defaults
than below: --attributes, of a CSV file all its columns; --width 1/4, --batch 16, --solver for that schedule at twice
the usual learning rates, --precision bfloat16 where the processor computes in it. All is written to RUN. To resume an
interrupted command, run it again.
"""

import pathlib

from data_prep.build.builder import build
from data_prep.settings import add_options
from data_prep.sources.opening import open_source
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
    add_options(parser, NetworkOptions, ["attributes", "seed"])
    command.add_run_arguments(parser, FOLDER, "all that is made", "lmdb in the run, built from DATA")


def run(arguments):
    """Run `face-cascade model`. Raises ToolError, OSError."""
    folder = pathlib.Path(arguments.run)
    with locked(folder):
        lmdb = pathlib.Path(arguments.lmdb) if arguments.lmdb else folder / "lmdb"
        build_data(arguments.data, lmdb, arguments.attributes, arguments.expect)
        precision = "bfloat16" if engines.bfloat16_units() else "float32"
        current = new_run(folder, lmdb, NETWORK, SOLVER, precision=precision)
        command.apply(current, arguments)
        print("step 2: training", flush=True)
        stages.train(current, command.DEFAULT_STAGES)
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


def build_data(place, lmdb, attributes=None, expect=None):
    """Build LMDBs from a data set, unless they are there already. Raises DataError, OSError."""
    if manifest.exists(lmdb):
        built = manifest.read(lmdb)
        if attributes and list(attributes) != built.attributes:
            raise ToolError(f"{lmdb}: holds {', '.join(built.attributes)}; give another folder with --run")
        return
    print("step 1: data", flush=True)
    source = open_source(place, expect=expect)
    build(source, lmdb, list(attributes or source.default_attributes))


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
