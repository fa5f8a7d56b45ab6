"""The stages of training as functions: networks, task one, average region, cascade, whole face.

Used by the command line and the ablation. A stage that is done with the same inputs is not repeated. An interrupted
stage is resumed from its newest complete snapshot. A stage with other inputs is kept, and the error names what differs.
"""

import dataclasses
import functools
import os
import platform
import shutil
import signal
import subprocess
import time

from data_prep import files
from models import networks, solvers
from tools.errors import Reported, ToolError
from tools.install import engines
from tools.record import TRAINED, Stage
from tools.run import LOCK_HELD
from tools.train import estimate, plan

INTERRUPTED = 130  # exit status of a command that was interrupted
AVERAGE_WEIGHTS = "average/average.caffemodel"


@dataclasses.dataclass
class Call:
    """Values that the stages of one command share: the Engine, further flags of caffe train, the run's lock."""

    engine: engines.Engine
    flags: list = dataclasses.field(default_factory=list)
    lock: int = None


def train(run, names, call, restart=False):
    """Run the stages that are not done, in order, and record them; returns their names. Raises ToolError, OSError."""
    actions = plan.actions(run, names, restart)
    todo = [name for name, action in actions if action != "done"]
    for name, action in actions:
        if action == "done":
            print(f"{name}: already done, nothing to do ({run.folder / run.stages[name].weights})", flush=True)
    if todo:
        run.check_data()
    for name in plan.of_other_data(run):
        clear(run, name)
    run.write()
    announce(run, todo)
    for number, name in enumerate(todo):
        if dict(actions)[name] == "start":
            clear(run, name)
        if name == "average":
            average(run, call)
        else:
            train_stage(run, name, call, todo[number + 1 :])
    return todo


def announce(run, names):
    """Print the estimated time of the stages on this machine if it is long."""
    seconds = estimate.seconds(run, names) if names else None
    if seconds and seconds > estimate.LONG:
        which, where = " + ".join(names), f"{os.cpu_count()} CPU cores, {run.settings.engine}, {run.settings.precision}"
        print(f"{which}: about {estimate.duration(seconds)} on this machine ({where})", flush=True)


def clear(run, name):
    """Remove a stage from the record, and its files."""
    run.stages.pop(name, None)
    run.write()
    if run.place(name).exists():
        shutil.rmtree(run.place(name))


def write_networks(run, names=TRAINED):
    """Write prototxts and solvers of a run; the solvers name files relative to the run's folder. Raises OSError."""
    network, changes = run.network(), run.solver_changes()
    for name in names:
        place = run.place(name)
        place.mkdir(parents=True, exist_ok=True)
        note = f"# Paths are relative to the run's folder; run there: caffe train -solver {name}/solver.prototxt\n"
        texts = {
            "train_val": networks.network(name, network),
            "deploy": networks.network(name, network, deploy=True),
            "solver": note + solvers.text(name, name, changes[name], len(run.attributes)),
        }
        for kind, text in texts.items():
            files.write_bytes(place / f"{kind}.prototxt", text.encode())


def train_stage(run, name, call, later=()):
    """Train one network of a run, from its newest complete snapshot if there is one. Raises ToolError, OSError.

    later: the stages that follow, for the estimate of the time left
    """
    from tools.train import snapshots

    write_networks(run, [name])
    place, last, asked = run.place(name), int(run.solver_fields(name)["max_iter"]), False
    net = place / "train_val.prototxt"
    snapshot, damaged = snapshots.newest_whole(place, name, net)
    for sentence in damaged:
        print(f"passed over a snapshot: {sentence}", flush=True)
    stage = run.stages.setdefault(name, Stage(plan.normal(run.inputs(name))))
    if not (snapshot and snapshot.iteration >= last):
        stage.state, stage.message, stage.made_with = "running", "", made_with(run, call)
        run.write()
        ended = watch(run, name, call, snapshot, last, later)
        snapshot, _ = snapshots.newest_whole(place, name, net)
        judge(run, name, snapshot, last, ended)
        snapshots.prune(place, name, run.settings.keep_snapshots, snapshot.iteration)
        asked = ended.asked
    stage.state, stage.message = "done", ""
    stage.weights, stage.checksum = f"{name}/{snapshot.weights.name}", files.sha256(snapshot.weights)
    stage.iterations, stage.images = snapshot.iteration, run.images(name)
    run.write()
    speed = f", {stage.images_per_second:.1f} images/s" if stage.images_per_second else ""
    spent = estimate.duration(stage.seconds)
    print(f"{name}: done, {stage.iterations} iterations in {spent}{speed}: {snapshot.weights}", flush=True)
    if asked:  # too late to stop this training, but not to stop the command
        raise KeyboardInterrupt


def watch(run, name, call, snapshot, last, later):
    """Run `caffe train` for a stage, from a Snapshot or None, with its progress: a training.Ended."""
    from tools.train import initial, progress, snapshots, training

    stage = run.stages[name]
    words = [str(call.engine.caffe.absolute()), "train", f"-solver={name}/solver.prototxt", *training_flags(run, call)]
    words.append(f"-sighup_effect={'stop' if signal.SIGHUP in training.stopping() else 'none'}")
    if snapshot:
        words.append(f"-snapshot={name}/{snapshot.state.name}")
        print(f"{name}: resuming at iteration {snapshot.iteration}", flush=True)
    elif name == "cascade":
        words.append(f"-weights={os.path.relpath(run.weights('average'), run.folder)}")
    elif run.settings.start_from:
        weights = run.place(name) / "initial.caffemodel"
        initial.copy(run.settings.start_from, run.settings.start_checksum, weights)
        words.append(f"-weights={os.path.relpath(weights, run.folder)}")
    first, earlier, begun = snapshot.iteration if snapshot else 0, stage.seconds, time.monotonic()

    def rest_of_run(each):
        return sum(each * estimate.work(run, other) for other in later) / estimate.work(run, name, 1)

    def reported(iteration):  # the record of the time is kept, so that a kill costs half a minute of it at most
        spent = time.monotonic() - begun
        images = run.images_of(name, iteration - first) * len(run.attributes)
        stage.images_per_second = images / spent
        # One more than is wanted, because the newest one may be incomplete; after a broken loss all are.
        if run.settings.keep_snapshots and not shown.broken:
            snapshots.prune(run.place(name), name, run.settings.keep_snapshots + 1, iteration)
        if earlier + spent > stage.seconds + 30:
            stage.seconds = earlier + spent
            run.write()

    shown = progress.Progress(name, first, last, rest_of_run, reported)
    environment = {**call.engine.environment(run.settings.threads), "GLOG_minloglevel": "0"}
    keep = [] if call.lock is None else [call.lock]
    ended = training.run(words, run.place(name) / "train.log", shown, environment, keep, str(run.folder))
    stage.seconds = earlier + time.monotonic() - begun
    shown.close(last if ended.code == 0 and not ended.asked else shown.iteration)
    return ended


def judge(run, name, snapshot, last, ended):
    """Record how a training ended, and raise ToolError unless its last snapshot exists."""
    from tools.train import training

    stage = run.stages[name]
    stage.iterations = snapshot.iteration if snapshot else 0
    if not ended.broken and snapshot and snapshot.iteration >= last and ended.code == 0:
        return
    again = "run the same command again to resume"
    if ended.broken:
        iteration, loss = ended.broken
        kept = f"the last good snapshot is {snapshot.weights}" if snapshot else "there is no snapshot before it"
        stage.state = "failed"
        stage.message = f"the loss was {loss} at iteration {iteration}"
        remedy = "lower base_lr or clip_gradients (--solver base_lr=0.005), and give --restart or another --run"
        message = f"{name}: {stage.message}, so the training was stopped; {kept}; {remedy}"
    elif ended.code == 0 or ended.asked or ended.code < 0:
        stage.state = "interrupted"
        stage.message = f"stopped at iteration {stage.iterations} of {last}"
        if ended.code < 0 and not ended.asked:
            stage.message += f", killed by signal {-ended.code}"
        message = f"{name}: {stage.message}; {again}"
    else:
        stage.state = "failed"
        stage.message = training.last_words(run.place(name) / "train.log")
        reason = stage.message.replace("error: ", "", 1)
        message = f"{name}: caffe train failed: {reason} (log: {run.place(name) / 'train.log'})"
    run.write()
    raise ToolError(message)


def training_flags(run, call):
    """Flags of caffe train for the run's device and precision, and those that the user added."""
    words = list(call.flags)
    numbers = engines.gpus(run.settings.device)
    if numbers:
        words.append(f"-gpu={','.join(map(str, numbers))}")
    if run.settings.precision != "float32":
        words.append(f"-precision={run.settings.precision}")
    return words


def average(run, call):
    """Measure the average region of a run under its Caffe. Raises ToolError."""
    tool(run, call, ["average", "--run", str(run.folder)])
    refreshed = type(run).read(run.folder)
    run.stages.update(refreshed.stages)


def tool(run, call, words):
    """Run a subcommand of face-cascade with the Python of a Caffe, inside the lock of the run. Raises ToolError."""
    environment = call.engine.environment(run.settings.threads)
    environment[LOCK_HELD] = str(run.folder.resolve())
    environment.setdefault("GLOG_minloglevel", "2")
    done = subprocess.run([str(call.engine.python), "-m", "tools.cli", *words], env=environment)
    if done.returncode:
        if done.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        if done.returncode < 0:
            raise ToolError(
                f"face-cascade {words[0]} was killed by signal {-done.returncode} (is there enough memory?); run the "
                "same command again to resume"
            )
        raise Reported(f"face-cascade {words[0]} failed for {run.folder}")


def made_with(run, call):
    """The environment of a stage, for the record: engine, versions, machine, the project's commit."""
    settings = run.settings
    return {
        "engine": settings.engine,
        "precision": settings.precision,
        "device": settings.device,
        "threads": settings.threads or os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": commit(),
        **versions(call.engine.name),
    }


def versions(engine):
    """The versions of the software that computes: dict name -> version."""
    if engine == "bvlc":
        return {"caffe": "1.0.0 (BVLC)"}
    import importlib.metadata

    return {"torch": importlib.metadata.version("torch")}


@functools.cache
def commit():
    """The project's commit, with "+" if files differ from it; "unknown" outside of a git repository."""
    git = ["git", "-C", str(engines.REPOSITORY)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], **quiet)
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], **quiet)
    except OSError:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else "unknown"
