"""Train the stages of a run: task one (region), the average region, the cascade; whole_face is the ablation's.

  face-cascade train                                     region, average, cascade, in build/run on data/lmdb
  face-cascade train region --run build/x --batch 8      one stage
  face-cascade train --solver region.max_iter=5000,cascade.max_iter=2500,base_lr=0.005
  face-cascade train --device cuda --precision bfloat16  on a GPU

The run's record keeps the settings, so give them only once. A stage that is done is not trained again; with a larger
max_iter it goes on, and with a smaller one it ends at its newest snapshot. To resume a stage that was interrupted
(Ctrl-C, kill, power cut), run the same command again.
"""

import os

from data_prep import files
from data_prep.settings import add_options, given
from data_prep.spelling import suggestion
from models import options, solvers
from tools import by_hand, record
from tools import run as runs
from tools.errors import ToolError
from tools.install import engines
from tools.locking import locked
from tools.train import stages

DEFAULT_STAGES = ("region", "average", "cascade")
# Settings of a run that are options of every command that trains, in the order of --help.
RUN_SETTINGS = ("device", "precision", "threads", "keep_snapshots")


def add_arguments(parser):
    """Add the options of `face-cascade train` to a parser."""
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help="The stages to train: region, average, cascade or whole_face (default: region average cascade).",
    )
    add_run_arguments(parser)
    add_options(parser, record.Settings, ["seed", "start_from"])
    parser.add_argument(
        "--restart",
        action="store_true",
        help="Repeat the named stages and discard what they trained before (default: resume).",
    )


def add_run_arguments(
    parser, folder=runs.DEFAULT, holds="the run and its record", lmdb="the record's, else data/lmdb", shown=()
):
    """Add the options of all commands that train.

    folder, lmdb: the defaults of --run and --lmdb; holds: what is in the former; shown: dict of other options' defaults
    """
    add, shown = parser.add_argument, dict(shown)
    add("--run", default=folder, metavar="FOLDER", help=f"The folder of {holds} (default: {folder}).")
    add("--lmdb", metavar="FOLDER", help=f"The LMDB folder to train on (default: {lmdb}).")
    add(
        "--solver",
        default="",
        metavar="CHANGES",
        help="Changes to solver fields, of all stages or of one, separated by commas, such as "
        f"base_lr=0.005,region.max_iter=500 (default: {shown.get('solver', 'none, the values in solver/')}).",
    )
    add_options(parser, record.Average, ["rectangles"])
    add_options(parser, options.NetworkOptions, options.USERS, shown)
    add(
        "--caffe",
        choices=engines.CHOICES,
        help="The Caffe to train with: bvlc is BVLC Caffe on the CPU, torch the engine on PyTorch, auto is torch for a "
        "GPU, a precision other than float32, or where BVLC Caffe cannot be installed, else bvlc (default: auto).",
    )
    add_options(parser, record.Settings, RUN_SETTINGS, shown)


def run(arguments):
    """Run `face-cascade train`. Raises ToolError, OSError."""
    for name in arguments.stages:
        if name not in record.STAGES:
            raise ToolError(f"unknown stage {name!r}{suggestion(name, record.STAGES, 'stages')}")
    if by_hand.is_repository(arguments.run):
        raise ToolError(f"{arguments.run}: holds solvers for Caffe's own commands: caffe train -solver solver/...")
    open_run(arguments)  # before the lock, so that a mistake leaves no folder
    with locked(arguments.run):
        current = open_run(arguments)
        apply(current, arguments)
        trained = stages.train(current, arguments.stages or DEFAULT_STAGES, arguments.restart)
    if trained:
        print(f"next: {current.command('evaluate')}")
    return 0


def open_run(arguments):
    """The run that the options name, read from its record or new. Raises ToolError."""
    if not runs.Run.exists(arguments.run):
        return runs.Run.create(arguments.run, arguments.lmdb or "data/lmdb")
    current = runs.Run.read(arguments.run)
    if current.handed_on():
        raise ToolError(f"{arguments.run}: holds a model that was handed on; train in another run, see --start-from")
    current.use_data(arguments.lmdb or current.lmdb)
    return current


def apply(current, arguments):
    """Update a run's settings with the options given, and see to it that its Caffe is installed. Raises ToolError."""
    settings, asked = current.settings, given(arguments, record.Settings)
    vars(settings).update(asked)
    if "start_from" in asked:
        if not os.path.isfile(settings.start_from):
            raise ToolError(f"--start-from {settings.start_from}: no such file")
        settings.start_from = os.path.abspath(settings.start_from)
        settings.start_checksum = files.sha256(settings.start_from)
    vars(settings.average).update(given(arguments, record.Average))
    settings.network.update(given(arguments, options.NetworkOptions, options.USERS))
    try:
        for name, fields in solvers.parse_changes(arguments.solver).items():
            settings.solver.setdefault(name, {}).update(fields)
    except ValueError as error:
        raise ToolError(f"--solver: {error}")
    current.network()  # raises ToolError for values that no network can have
    # The Caffe asked for, else that of the record unless the device or precision that is asked for rules it out.
    wanted = arguments.caffe or (settings.engine if runs.Run.exists(current.folder) else "auto")
    if not arguments.caffe and (asked.get("device", "cpu"), asked.get("precision", "float32")) != ("cpu", "float32"):
        wanted = "auto"
    engine, reason = engines.choose(wanted, settings.device, settings.precision)
    if reason and engine != settings.engine:
        print(f"caffe: {engines.NAMES[engine]} ({reason})", flush=True)
    if (asked.get("precision"), settings.device) == ("bfloat16", "cpu") and not engines.bfloat16_units():
        print("note: this processor has no units for bfloat16; float32 is faster here", flush=True)
    settings.engine = engine
    engines.ensure(engine)
