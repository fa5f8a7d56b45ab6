"""The stages of training as functions: task one, average region, cascade, whole face.

Used by the command line and the ablation. A stage that is done with the same inputs is not repeated. An interrupted
stage is resumed from its newest complete snapshot. A stage with other inputs is kept, and the error names what differs.
"""

import functools
import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import time

from data_prep import files
from models import generate
from tools import locking, model_files
from tools.errors import Reported, ToolError
from tools.install import engines
from tools.record import TRAINED, Stage
from tools.train import estimate, plan, progress, training
from tools.train.plan import images, images_of, inputs, last_iteration

INTERRUPTED = 130  # exit status of a command that was interrupted
RESUME = "run the same command again to resume"


def train(run, names, restart=False):
    """Run the stages that are not done, in order, and record them; returns their names. Raises ToolError, OSError."""
    planned = plan.actions(run, names, restart)
    todo = [name for name, action in planned.items() if action != plan.DONE]
    for name in planned:
        if name not in todo:
            print(f"{name}: already done, nothing to do ({run.weights(name)})", flush=True)
    if todo:
        run.check_data()
    for name in plan.of_other_data(run):
        clear(run, name)
    run.write()
    for name in todo:
        # An average region that is measured again stays until then: after Ctrl-C the cascade still fits it.
        if planned[name] == plan.START and (name != "average" or planned.get("region") == plan.START):
            clear(run, name)
    for number, name in enumerate(todo):
        if name == "average":
            tool(run, ["average", "--run", str(run.folder), "--restart"])
            run.stages.update(type(run).read(run.folder).stages)
        else:
            train_stage(run, name, todo[number + 1 :])
    return todo


def clear(run, name):
    """Remove a stage from the record, and its files."""
    run.stages.pop(name, None)
    run.write()
    if run.place(name).exists():
        shutil.rmtree(run.place(name))


def write_networks(run, names=TRAINED):
    """Write prototxts and solvers of a run; the solvers name files relative to the run's folder. Raises OSError."""
    generate.write(run.folder, run.network(), run.solver_changes(), names, run.places)


def train_stage(run, name, later=()):
    """Train one network of a run, from its newest complete snapshot if there is one. Raises ToolError, OSError.

    later: the stages that follow, for the estimate of the time left
    """
    from tools.train import snapshots

    write_networks(run, [name])
    folder, net, last, asked = run.place(name), run.train_val(name), last_iteration(run, name), False
    snapshot = snapshots.newest(folder, name, net, report=True)
    stage = run.stages.setdefault(name, Stage(inputs(run, name)))
    if not (snapshot and snapshot.iteration >= last):
        stage.state, stage.message, stage.made_with = "running", "", made_with(run)
        run.write()
        ended = watch(run, name, snapshot, last, later)
        snapshot, asked = snapshots.newest(folder, name, net), ended.asked
        judge(run, name, snapshot, last, ended, snapshots.divergence(folder, name, net))
        snapshots.prune(folder, name, run.settings.keep_snapshots, snapshot.iteration)
    stage.state, stage.message = "done", ""
    stage.weights, stage.checksum = f"{name}/{snapshot.weights.name}", files.sha256(snapshot.weights)
    stage.deploy = files.sha256(run.folder / run.places(name)["deploy"])
    stage.iterations, stage.images = snapshot.iteration, images(run, name, snapshot.iteration)
    run.write()
    speed = f", {stage.images_per_second:.1f} images/s" if stage.images_per_second else ""
    spent = estimate.duration(stage.seconds)
    print(f"{name}: done, {stage.iterations} iterations in {spent}{speed}: {snapshot.weights}", flush=True)
    if asked:  # too late to stop this training, but not to stop the command
        raise KeyboardInterrupt


def watch(run, name, snapshot, last, later):
    """Run `caffe train` for a stage, from a Snapshot or None, with its progress: a training.Ended."""
    from tools.train import snapshots

    stage, settings, folder, first = run.stages[name], run.settings, run.place(name), 0
    engine = engines.Engine(settings.engine)
    words = [str(engine.caffe.absolute()), "train", f"-solver={run.places(name)['solver']}"]
    words.append(f"-sighup_effect={'stop' if signal.SIGHUP in training.stopping() else 'none'}")
    numbers = engines.gpus(settings.device)
    if numbers:
        words.append(f"-gpu={','.join(map(str, numbers))}")
    if settings.precision != "float32":
        words.append(f"-precision={settings.precision}")
    if snapshot:
        first = snapshot.iteration
        words.append(f"-snapshot={name}/{snapshot.state.name}")
        print(f"{name}: resuming at iteration {first}", flush=True)
    else:
        first_weights(run, name)
    images_each = images_of(run, name, 1) * len(run.attributes)
    rest_of_run = sum(estimate.work(run, other) for other in later) / estimate.work(run, name, 1)  # in iterations
    earlier, begun = stage.seconds, time.monotonic()

    def reported(iteration):
        spent = time.monotonic() - begun
        stage.images_per_second = images_each * (iteration - first) / spent
        # One more than is wanted, because the newest one may be incomplete; after a broken loss all are.
        if settings.keep_snapshots and not shown.broken:
            snapshots.prune(folder, name, settings.keep_snapshots + 1, iteration)
        if earlier + spent > stage.seconds + 30:  # so a kill costs half a minute of the recorded time at most
            stage.seconds = earlier + spent
            run.write()

    shown = progress.Progress(name, first, last, rest_of_run, reported)
    environment = {**engine.environment(settings.threads), "GLOG_minloglevel": "0"}
    ended = training.run(words, folder / "train.log", shown, environment, locking.DESCRIPTORS[-1:], run.folder)
    stage.seconds = earlier + time.monotonic() - begun
    shown.close(last if ended.code == 0 and not ended.asked else shown.iteration)
    return ended


def first_weights(run, name):
    """See to it that the weights that a stage's solver names are there. Raises ToolError, OSError."""
    source = run.settings.start_from
    if name == "cascade":
        run.weights("average")
    elif source:
        if not os.path.isfile(source):
            raise ToolError(f"{source}: missing; the run starts from these weights (--start-from)")
        if files.sha256(source) != run.settings.start_checksum:
            raise ToolError(f"{source}: changed since --start-from named it; give --start-from again")
        wrong = model_files.misfit(model_files.read(run.train_val(name)), source)
        if wrong:
            raise ToolError(wrong)
        weights = model_files.without_state(source)
        files.write_bytes(run.folder / run.places(name)["weights"], weights.SerializeToString())


def judge(run, name, snapshot, last, ended, divergence):
    """Record how a training ended, and raise ToolError unless its last snapshot exists.

    snapshot: the newest complete one, or None; divergence: a sentence if the newest weights are not finite, else None
    """
    stage, log = run.stages[name], run.place(name) / "train.log"
    stage.iterations = snapshot.iteration if snapshot else 0
    if not ended.broken and snapshot and snapshot.iteration >= last and ended.code == 0:
        return
    if ended.broken or divergence:
        kept = f"the last good snapshot is {snapshot.weights}" if snapshot else "there is no snapshot before it"
        loss = "the loss was {1} at iteration {0}".format(*ended.broken) if ended.broken else divergence
        stage.state, stage.message = "failed", loss
        remedy = "lower base_lr or clip_gradients (--solver base_lr=0.005), and give --restart or another --run"
        message = f"{stage.message}, so the training was stopped; {kept}; {remedy}"
    elif ended.code == 0 or ended.asked or ended.code < 0:
        stage.state, stage.message = "interrupted", f"stopped at iteration {stage.iterations} of {last}"
        if ended.code < 0 and not ended.asked:
            stage.message += f", killed by signal {-ended.code}"
        message = f"{stage.message}; {RESUME}"
    else:
        stage.state, stage.message = "failed", training.last_words(log)
        message = f"caffe train failed: {stage.message.replace('error: ', '', 1)} (log: {log})"
    run.write()
    raise ToolError(f"{name}: {message}")


def tool(run, words, engine=None):
    """Run a subcommand of face-cascade under a Caffe, the run's by default, inside its lock. Raises ToolError."""
    code = engines.face_cascade(engines.Engine(engine or run.settings.engine), words, run.settings.threads)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code < 0:
        raise ToolError(f"face-cascade {words[0]} was killed by signal {-code} (is there enough memory?); {RESUME}")
    if code:
        raise Reported(f"face-cascade {words[0]} failed for {run.folder}")


def made_with(run):
    """The environment of a stage, for the record: engine, versions, machine, the project's commit."""
    settings, bvlc = run.settings, run.settings.engine == "bvlc"
    return {
        "engine": settings.engine,
        "precision": settings.precision,
        "device": settings.device,
        "threads": settings.threads or os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": commit(),
        **({"caffe": "1.0.0 (BVLC)"} if bvlc else {"torch": importlib.metadata.version("torch")}),
    }


@functools.lru_cache(maxsize=1)
def commit():
    """The project's commit, with "+" if files differ from it; "unknown" outside of a git repository."""
    git = ["git", "-C", str(generate.REPOSITORY)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], **quiet)
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], **quiet)
    except OSError:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else "unknown"
