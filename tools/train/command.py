"""Train the stages of a run: task one (region), the average region, the cascade; whole_face is the ablation's.

  face-cascade train                                     region, average, cascade, in build/run on data/lmdb
  face-cascade train region --run build/x --batch 8      one stage
  face-cascade train --solver region.max_iter=5000,cascade.max_iter=2500,base_lr=0.005
  face-cascade train --device cuda --precision bfloat16  on a GPU

The run's record keeps the settings, so give them only once. A stage that is done is not trained again. To resume a
stage that was interrupted (Ctrl-C, kill, power cut), run the same command again.
"""

import dataclasses
import os
import pathlib
import shlex

from data_prep import files
from data_prep.spelling import suggestion
from models import options, solvers
from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.install import engines
from tools.train import plan, stages

DEFAULT_STAGES = ("region", "average", "cascade")


def add_arguments(parser):
    """Add the options of `face-cascade train` to a parser."""
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help="The stages to train: region, average, cascade or whole_face (default: region average cascade).",
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--seed", type=int, help="The seed of the initial weights; change it to see the spread of results (default: 1)."
    )
    parser.add_argument(
        "--start-from",
        metavar="FILE",
        help="The .caffemodel that region and whole_face start from: of the same attributes, such as a cascade trained "
        "on another data set (default: random weights).",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="Repeat the named stages and discard what they trained before (default: resume).",
    )


def add_run_arguments(parser, folder="build/run", holds="the run and its record"):
    """Add the options of all commands that train. folder: the default of --run; holds: what is in it."""
    add = parser.add_argument
    add(
        "--run",
        default=folder,
        metavar="FOLDER",
        help=f"The folder of {holds} (default: {folder}).",
    )
    add("--lmdb", metavar="FOLDER", help="The LMDB folder to train on (default: the record's, else data/lmdb).")
    add(
        "--solver",
        default="",
        metavar="CHANGES",
        help="Changes to solver fields, of all stages or of one, separated by commas, such as "
        "base_lr=0.005,region.max_iter=500 (default: none, the values in solver/).",
    )
    add(
        "--rectangles",
        choices=record.RECTANGLES,
        help="The rectangle of each response point: measured on training faces, or theoretical, its receptive field as "
        "in the paper (default: measured).",
    )
    add_network_arguments(parser)
    add(
        "--caffe",
        choices=engines.CHOICES,
        help="The Caffe to train with: bvlc is BVLC Caffe on the CPU, torch the engine on PyTorch, auto is torch for a "
        "GPU, a precision other than float32, or where BVLC Caffe cannot be installed, else bvlc (default: auto).",
    )
    add("--device", help="The device: cpu, cuda, cuda:N, or cuda:0,1 for two GPUs (default: cpu).")
    add(
        "--precision",
        choices=record.PRECISIONS,
        help="The arithmetic of convolutions and inner products; bfloat16 is faster on recent processors and GPUs, and "
        "needs the engine (default: float32).",
    )
    add("--threads", type=int, metavar="N", help="The number of CPU threads (default: one per core).")
    add(
        "--keep-snapshots",
        type=int,
        metavar="N",
        help="Keep only the N newest snapshots of each stage, 0 for all (default: 3; a snapshot of twenty attributes "
        "takes 0.6 GB).",
    )
    add(
        "--flags",
        default="",
        help='Further flags for `caffe train`, such as --flags="-shard batches" (default: none).',
    )


def add_network_arguments(parser):
    """Add the options of the networks to a parser, see models.options.NetworkOptions."""
    add = parser.add_argument
    add("--batch", type=int, metavar="N", help="Images per attribute in a mini-batch, an even number (default: 4).")
    add(
        "--l1",
        choices=options.L1_FORMS,
        help="The form of L1, eq. 1: log is the cross-entropy of the largest response, linear is as printed "
        "(default: log).",
    )
    add("--alpha", type=float, help="The weight of task one's loss in eq. 6 (default: 1).")
    add("--beta", type=float, help="The weight of task two's loss in eq. 6 (default: 1).")
    add(
        "--task-two-loss",
        type=float,
        metavar="WEIGHT",
        help="The weight of a further loss, on task two's own score, which the paper does not have (default: 0, none).",
    )
    add("--threshold", type=float, help="The response, 0 to 1, above which a point is in the region (default: 0.5).")
    add(
        "--average-weight",
        type=float,
        metavar="SHARE",
        help="The share of the average response in the revised response, 0 to 1; 0 switches it off (default: 0.5).",
    )
    add(
        "--roi-gradient",
        choices=("none", "soft"),
        help="The gradient through the thresholding: none, as in the paper, or soft, an estimate (default: none).",
    )
    add(
        "--early-stopping-range",
        type=float,
        metavar="RANGE",
        help="Early stopping takes effect when the standard deviation of an attribute's last 200 losses is at most "
        "this, and their mean is below half the loss of chance; 0 switches it off (default: 0.1).",
    )
    add("--test-batch", type=int, metavar="N", help="Images per mini-batch in validation (default: 20).")


def apply(run, arguments):
    """Update a run's settings with the options given; returns the Call for its stages. Raises ToolError."""
    settings = run.settings
    try:
        flags = shlex.split(arguments.flags)
    except ValueError as error:
        raise ToolError(f"--flags {arguments.flags}: {str(error).lower()}")
    _, from_flags = engines.check_flags("torch", flags)
    device = arguments.device or from_flags.get("device")
    precision = arguments.precision or from_flags.get("precision")
    for name, value in (("device", device), ("precision", precision), ("seed", getattr(arguments, "seed", None))):
        if value is not None:
            setattr(settings, name, value)
    if settings.seed < 0:
        raise ToolError(f"--seed must be at least 0, not {settings.seed}")
    if settings.precision not in record.PRECISIONS:
        raise ToolError(f"unknown precision {settings.precision!r}; choose one of {', '.join(record.PRECISIONS)}")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ToolError(f"--threads must be at least 1, not {arguments.threads}")
        settings.threads = arguments.threads
    if arguments.keep_snapshots is not None:
        if arguments.keep_snapshots < 0:
            raise ToolError(f"--keep-snapshots must be at least 0, not {arguments.keep_snapshots}")
        settings.keep_snapshots = arguments.keep_snapshots
    start_from = getattr(arguments, "start_from", None)
    if start_from:
        if not pathlib.Path(start_from).is_file():
            raise ToolError(f"--start-from {start_from}: no such file")
        settings.start_from, settings.start_checksum = os.path.abspath(start_from), files.sha256(start_from)
    if arguments.rectangles:
        settings.average.rectangles = arguments.rectangles
    try:
        for name, fields in solvers.parse_changes(arguments.solver).items():
            settings.solver.setdefault(name, {}).update(fields)
    except ValueError as error:
        raise ToolError(f"--solver: {error}")
    for field in dataclasses.fields(options.NetworkOptions):
        value = getattr(arguments, field.name, None)
        if value is not None and field.name != "lmdb":
            settings.network[field.name] = value
    run.network()  # raises ToolError for values that no network can have
    wanted = arguments.caffe or settings.engine or "auto"
    if not arguments.caffe and (device not in (None, "cpu") or precision not in (None, "float32")):
        wanted = "auto"  # what was asked for now decides
    engine = engines.choose(wanted, settings.device, settings.precision)
    kept, _ = engines.check_flags(engine.name, flags)
    if engine.reason and engine.name != settings.engine:
        print(f"caffe: {engines.NAMES[engine.name]} ({engine.reason})", flush=True)
    settings.engine = engine.name
    engines.ensure(engine)
    engines.check_device(engine, settings.device)
    return stages.Call(engine, kept)


def open_run(arguments):
    """The run that the options name, read from its record or new. Raises ToolError."""
    if not runs.Run.exists(arguments.run):
        return runs.Run.create(arguments.run, arguments.lmdb or "data/lmdb")
    run = runs.Run.read(arguments.run)
    found = runs.read_data(arguments.lmdb or run.data.lmdb)
    if found.checksum == run.data.checksum or getattr(arguments, "restart", False):
        run.data = found
        return run
    raise ToolError(
        f"{run.folder}: was made from other data than {found.lmdb} holds now; give --restart to train it again "
        "(make: RESTART=1), or another folder with --run (make: RUN=)"
    )


def check_stages(names):
    """The stages named, by default all of the cascade's. Raises ToolError for an unknown stage."""
    for name in names:
        if name not in plan.ORDER:
            raise ToolError(f"unknown stage {name!r}{suggestion(name, plan.ORDER, 'stages')}")
    return names or DEFAULT_STAGES


def run(arguments):
    """Run `face-cascade train`. Raises ToolError, OSError."""
    names = check_stages(arguments.stages)
    current = open_run(arguments)
    with runs.locked(current.folder) as lock:
        if runs.Run.exists(current.folder):
            current.stages = runs.Run.read(
                current.folder
            ).stages  # read again, because another process may have changed them before the lock was taken
        call = apply(current, arguments)
        call.lock = lock
        trained = stages.train(current, names, call, arguments.restart)
    if trained:
        print(f"next: {runs.command(current, 'evaluate')}")
    return 0
