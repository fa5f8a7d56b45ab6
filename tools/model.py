"""From a data set to a trained model in one command: data, training, evaluation, report, ONNX, and a folder to hand on.

  face-cascade model /path/to/CelebA --attributes Eyeglasses,Smiling,Male
  face-cascade model photos.csv                                            your own faces and attributes

The network has a quarter of table 1's channels and a schedule of 3,200 mini-batches; on six attributes of CelebA at
64 x 64 pixels its accuracy was 0.90 (docs/results.md). The options of `face-cascade train` change that. Other defaults
than below: --width 1/4, --batch 16, --solver for that schedule at twice the usual learning rates, --precision bfloat16
where the processor computes in it. All is written to RUN. To resume an interrupted command, run it again.
"""

import pathlib
import tempfile
import time

from data_prep.build.builder import build
from data_prep.settings import add_options
from data_prep.sources.opening import open_source
from data_prep.store import manifest
from models import generate
from models.options import NetworkOptions
from tools import run as runs
from tools.errors import ToolError
from tools.install import doctor
from tools.locking import locked
from tools.record import Settings
from tools.train import command, estimate, stages, training
from tools.train.inputs import last_iteration

FOLDER = "build/model"
NETWORK = {"width": 0.25, "batch": 16}
SOLVER = {
    "region": {"max_iter": "2000", "stepsize": "1500", "base_lr": "0.02"},
    "cascade": {"max_iter": "1200", "stepsize": "900", "base_lr": "0.01"},
}
SHARED = {"snapshot": "500", "test_interval": "500", "test_iter": "20"}
TRIAL = 6  # iterations that are timed for the forecast, after as many to warm up
ZOO = "zoo"


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
    with locked(folder) as lock:
        lmdb = pathlib.Path(arguments.lmdb) if arguments.lmdb else folder / "lmdb"
        build_data(arguments.data, lmdb, arguments.attributes, arguments.expect)
        current = new_run(folder, lmdb, recommended())
        call = command.apply(current, arguments)
        call.lock = lock
        make(current, call)
    print(f"model:   {folder / ZOO}, to hand on: fill in its licence and data terms (readme.md)")
    print(f"look at: {folder}/report.html; answers for photos: face-cascade predict --run {folder} photo.jpg")
    return 0


def recommended():
    """The Settings of a laptop's network: bfloat16 where the processor computes in it."""
    fast = {"amx_bf16", "avx512_bf16"} & doctor.flags()
    settings = Settings(network=dict(NETWORK), precision="bfloat16" if fast else "float32")
    settings.solver = {name: {**SHARED, **SOLVER.get(name, {})} for name in ("region", "cascade", "whole_face")}
    return settings


def build_data(place, lmdb, attributes=None, expect=None):
    """Build LMDBs from a data set, unless they are there already. Raises ToolError."""
    try:
        if manifest.exists(lmdb):
            built = manifest.read(lmdb)
            if attributes and list(attributes) != built.attributes:
                raise ToolError(f"{lmdb}: holds {', '.join(built.attributes)}; give another folder with --run")
            return
        print("step 1: data", flush=True)
        source = open_source(place, expect=expect)
        build(source, lmdb, list(attributes or source.default_attributes))
    except (ValueError, RuntimeError) as error:
        raise ToolError(str(error))


def new_run(folder, lmdb, settings):
    """The run in a folder with these settings, and the stages that its record knows. Raises ToolError."""
    current = runs.Run.create(folder, lmdb, settings)
    if runs.Run.exists(folder):
        recorded = runs.Run.read(folder)
        current.stages, current.settings.engine = recorded.stages, recorded.settings.engine
    return current


def make(current, call, restart=False):
    """Train, evaluate, report and export a run. Raises ToolError, OSError."""
    seconds = forecast(current, call)
    if seconds:
        print(f"step 2: training, about {estimate.duration(seconds)} on this machine", flush=True)
    stages.train(current, command.DEFAULT_STAGES, call, restart)
    folder = str(current.folder)
    for number, title, words in (
        (3, "evaluation", ["evaluate"]),
        (4, "report", ["report"]),
        (5, "ONNX", ["export"]),
        (6, "folder to hand on", ["export", f"--{ZOO}", str(current.folder / ZOO)]),
    ):
        print(f"step {number}: {title}", flush=True)
        stages.tool(current, call, [*words, "--run", folder])


def forecast(current, call):
    """The seconds that the stages of a run which are still to be trained take, measured by a few iterations.

    None where none is left, or the trial fails: the training itself then says why. Raises OSError.
    """
    left = [name for name in command.DEFAULT_STAGES if not current.done(name)]
    trained = [name for name in left if name != "average"]
    if not trained:
        return None
    name = "region"
    with tempfile.TemporaryDirectory(dir=current.folder, prefix=".trial-") as scratch:
        changes = current.solver_changes()
        trial = {"max_iter": str(2 * TRIAL), "display": str(TRIAL), "snapshot": "0", "test_interval": "1000000"}
        changes[name] = {**changes[name], **trial}
        options = runs.Run.create(scratch, current.lmdb, current.settings).network()
        generate.write(scratch, options, changes, [name])
        watch = Stopwatch()
        words = [str(call.engine.caffe.absolute()), "train", f"-solver={generate.in_run(name)['solver']}"]
        environment = {**call.engine.environment(current.settings.threads), "GLOG_minloglevel": "0"}
        log = pathlib.Path(scratch) / "train.log"
        training.run([*words, *stages.training_flags(current)], log, watch, environment, folder=scratch)
    if len(watch.times) < 3:
        return None
    each = (watch.times[2] - watch.times[1]) / TRIAL
    total = sum(estimate.work(current, stage) for stage in left)
    if name in left and current.stages.get(name):
        done = min(current.stages[name].iterations, last_iteration(current, name))
        total -= estimate.work(current, name, done)
    return each * total / estimate.work(current, name, 1)


class Stopwatch:
    """Notes when a training reports its loss; takes the place of progress.Progress."""

    broken = None

    def __init__(self):
        self.times = []

    def line(self, line):
        """Process a line of the log."""
        if ", loss = " in line:
            self.times.append(time.monotonic())
