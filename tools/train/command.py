"""Train the stages of a run: task one (region), the average region, the cascade; whole_face is the ablation's.

  face-cascade train                                     region, average, cascade, in build/run on data/lmdb
  face-cascade train region --run build/x --batch 8      one stage
  face-cascade train --solver region.max_iter=5000,cascade.max_iter=2500,base_lr=0.005
  face-cascade train --device cuda --precision bfloat16  on a GPU

Settings are kept in the run's record: give them once. A stage that is done is not trained again, one that was
interrupted (Ctrl-C, kill, power cut) is resumed from its newest whole snapshot by the same command.
"""

import dataclasses
import difflib
import shlex

from models import options, solvers
from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.install import engines
from tools.train import stages

DEFAULT_STAGES = ("region", "average", "cascade")


def add_arguments(parser):
    """The options of `face-cascade train`."""
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help="The stages to train: region, average, cascade or whole_face. Default: region average cascade.",
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--restart", action="store_true", help="Make the named stages anew, whatever was trained before in this run."
    )


def add_run_arguments(parser):
    """Options that a run's record keeps: shared by the commands that train."""
    add = parser.add_argument
    add("--run", default="build/run", metavar="FOLDER", help="Folder of the run and its record. Default: build/run.")
    add("--lmdb", metavar="FOLDER", help="LMDB folder that `make lmdb` wrote. Default: the record's, else data/lmdb.")
    add(
        "--solver",
        default="",
        metavar="CHANGES",
        help="Changes to the solver fields of all stages or of one, separated by commas: "
        "base_lr=0.005,region.max_iter=500.",
    )
    add("--seed", type=int, help="Seed of the first weights. Default: 1. Change it to see the spread over trainings.")
    add(
        "--rectangles",
        choices=record.RECTANGLES,
        help="Rectangle of each response point: measured on faces, or theoretical, the receptive field of the paper. "
        "Default: measured.",
    )
    add_network_arguments(parser)
    add(
        "--caffe",
        choices=engines.CHOICES,
        help="The Caffe to train with: bvlc is BVLC Caffe on the CPU, torch the engine on PyTorch. Default: auto, "
        "which takes torch for a GPU or another precision than float32, else bvlc.",
    )
    add("--device", metavar="DEVICE", help="cpu, cuda, cuda:N, or cuda:0,1 for several GPUs. Default: cpu.")
    add(
        "--precision",
        choices=record.PRECISIONS,
        help="Arithmetic of convolutions and inner products. Default: float32; bfloat16 is faster on recent processors "
        "and GPUs and needs the engine.",
    )
    add("--threads", type=int, metavar="N", help="CPU threads to compute with. Default: one per core.")
    add(
        "--flags",
        default="",
        metavar="FLAGS",
        help='Further flags of `caffe train`, checked before it starts, such as --flags="-shard batches".',
    )


def add_network_arguments(parser):
    """Options of the networks, see models.options.NetworkOptions."""
    add = parser.add_argument
    add("--batch", type=int, metavar="B", help="Images per attribute in a mini-batch, an even number. Default: 4.")
    add(
        "--l1",
        choices=options.L1_FORMS,
        help="Form of eq. 1: log is the cross-entropy of the largest response, linear is as printed. Default: log.",
    )
    add("--alpha", type=float, help="Weight of task one's loss in eq. 6. Default: 1.")
    add("--beta", type=float, help="Weight of task two's loss in eq. 6. Default: 1.")
    add("--threshold", type=float, help="Response above which a point belongs to the region, 0 to 1. Default: 0.5.")
    add(
        "--average-weight",
        type=float,
        help="Share of the average response in the revised response, 0 to 1. Default: 0.5; 0 switches it off.",
    )
    add(
        "--roi-gradient",
        choices=("none", "soft"),
        help="Gradient through the thresholding: none, as the paper has it, or soft, an estimate. Default: none.",
    )
    add(
        "--early-stopping-range",
        type=float,
        help="Standard deviation of an attribute's recent losses at which its training is stopped. Default: 0.1; "
        "0 switches early stopping off.",
    )
    add("--test-batch", type=int, help="Images per batch in validation. Default: 20.")


def apply(run, arguments):
    """Enter the given options into a run's settings; returns the Call of its stages. Raises ToolError."""
    settings = run.settings
    flags = shlex.split(arguments.flags)
    _, from_flags = engines.check_flags("torch", flags)
    device = arguments.device or from_flags.get("device")
    precision = arguments.precision or from_flags.get("precision")
    for name, value in (("device", device), ("precision", precision), ("seed", arguments.seed)):
        if value is not None:
            setattr(settings, name, value)
    if settings.seed < 0:
        raise ToolError(f"--seed must be at least 0, not {settings.seed}")
    if settings.precision not in record.PRECISIONS:
        raise ToolError(f"no precision {settings.precision!r}; choose one of {', '.join(record.PRECISIONS)}")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ToolError(f"--threads must be at least 1, not {arguments.threads}")
        settings.threads = arguments.threads
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
    run.network()  # complains of values that no network can have
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
    """The run that a command is about, from its record or new. Raises ToolError."""
    if not runs.Run.exists(arguments.run):
        return runs.Run.create(arguments.run, arguments.lmdb or "data/lmdb")
    run = runs.Run.read(arguments.run)
    found = runs.read_data(arguments.lmdb or run.data.lmdb)
    if found.checksum == run.data.checksum or getattr(arguments, "restart", False):
        run.data = found
        return run
    raise ToolError(
        f"{run.folder}: was made from other data than {found.lmdb} holds now; give --restart to make it anew "
        "(make: RESTART=1), or another folder with --run (make: RUN=)"
    )


def check_stages(names):
    """The stages named, or the default ones. Raises ToolError."""
    for name in names:
        if name not in stages.ORDER:
            near = difflib.get_close_matches(name, stages.ORDER, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; stages are {', '.join(stages.ORDER)}"
            raise ToolError(f"unknown stage {name!r}{hint}")
    return names or DEFAULT_STAGES


def run(arguments):
    """`face-cascade train`. Raises ToolError, OSError."""
    names = check_stages(arguments.stages)
    made = open_run(arguments)
    with runs.locked(made.folder) as lock:
        if runs.Run.exists(made.folder):
            made.stages = runs.Run.read(made.folder).stages  # as they are now that the lock is held
        call = apply(made, arguments)
        call.lock = lock
        trained = stages.train(made, names, call, arguments.restart)
    if trained:
        print(f"next: {runs.command(made, 'evaluate')}")
    return 0
