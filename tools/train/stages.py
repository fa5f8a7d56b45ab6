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
import sys
import time

from tqdm import tqdm

from data_prep import files, start
from models import generate
from models.networks import POSITION, STATE_LAYERS
from tools import locking, model_files
from tools.errors import ToolError
from tools.install import engines
from tools.record import TRAINED, Stage
from tools.train import plan, training
from tools.train.plan import images, images_of, inputs, last_iteration

INTERRUPTED = 130  # exit status of a command that was interrupted
RESUME = "to resume, run the same command again (without --restart)"


def train(run, names, restart=False):
    """Run the stages that are not done, in order, and record them; returns their names. Raises ToolError, OSError."""
    planned = plan.actions(run, names, restart)
    todo = [name for name, action in planned.items() if action != plan.DONE]
    for name in planned:
        if name not in todo:
            print(f"{name}: already done, nothing to do ({run.weights(name)})", flush=True)
    if todo:
        run.check_data()
    else:
        without_effect(run)
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


def without_effect(run):
    """Raise ToolError for options with which nothing is to be trained, and another stage was made without them."""
    before = type(run).read(run.folder)
    for name in before.stages:
        changed = plan.differences(run, name)
        if changed and not plan.differences(before, name):
            what = f"these options change nothing in what is done, and {name} was made with others"
            raise ToolError(f"{run.folder}: {what}: {'; '.join(changed[:4])}. Leave them out, {plan.ELSEWHERE}")


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
    iteration, faults = snapshots.newest(folder, name, net)
    for fault in faults:
        print(f"passed over a snapshot: {fault}", flush=True)
    stage = run.stages.setdefault(name, Stage(inputs(run, name)))
    if iteration is None and stage.iterations:
        raise ToolError(
            f"{folder}: no snapshot is left from which {name} could go on after iteration {stage.iterations}; bring "
            "one back, or give --restart to train it again"
        )
    if iteration is None or iteration < last:
        stage.state, stage.message, stage.made_with = "running", "", made_with(run)
        run.write()
        shown, code, asked = watch(run, name, iteration, last, later)
        iteration = judge(run, name, last, shown.broken, code, asked)
        snapshots.prune(folder, name, run.settings.keep_snapshots, iteration)
    _, weights = snapshots.files(folder, name, iteration)
    stage.state, stage.message = "done", ""
    stage.weights, stage.checksum = f"{name}/{weights.name}", files.sha256(weights)
    stage.deploy = files.sha256(run.folder / run.places(name)["deploy"])
    stage.iterations, stage.images = iteration, images(run, name, iteration)
    run.write()
    speed = f", {stage.images_per_second:.1f} images/s" if stage.images_per_second else ""
    spent = tqdm.format_interval(stage.seconds)
    print(f"{name}: done, {iteration} iterations in {spent}{speed}: {weights}", flush=True)
    if asked:  # too late to stop this training, but not to stop the command
        raise KeyboardInterrupt


def watch(run, name, snapshot, last, later):
    """Run `caffe train` for a stage, from a snapshot or None: its Progress, and what training.run returns.

    snapshot, last: iterations
    """
    from tools.train import snapshots

    stage, settings, folder, first = run.stages[name], run.settings, run.place(name), snapshot or 0
    caffe = engines.program(settings.engine, "caffe").absolute()
    words = [str(caffe), "train", f"-solver={run.places(name)['solver']}"]
    words.append(f"-sighup_effect={'stop' if signal.SIGHUP in training.stopping() else 'none'}")
    numbers = engines.gpus(settings.device)
    if numbers:
        words.append(f"-gpu={','.join(map(str, numbers))}")
    if settings.precision != "float32":
        words.append(f"-precision={settings.precision}")
    if snapshot is None:
        first_weights(run, name)
    else:
        words.append(f"-snapshot={name}/{name}_iter_{snapshot}.solverstate")
        print(f"{name}: resuming at iteration {snapshot}", flush=True)
    images_each = images_of(run, name, 1) * len(run.attributes)
    # An iteration of the cascade takes hardly longer than one of task one; the average region, no time to speak of.
    rest_of_run = sum(last_iteration(run, other) for other in later if other != "average")
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

    shown = training.Progress(name, first, last, rest_of_run, reported)
    environment = {**engines.environment(settings.threads), "GLOG_minloglevel": "0"}
    code, asked = training.run(words, folder / "train.log", shown, environment, locking.DESCRIPTORS[-1:], run.folder)
    stage.seconds = earlier + time.monotonic() - begun
    shown.close(last if code == 0 and not asked else shown.iteration)
    return shown, code, asked


def first_weights(run, name):
    """See to it that the weights that a stage's solver names are there. Raises ToolError, OSError."""
    source = run.settings.start_from
    if name == "cascade":
        run.weights("average")
    elif source:
        if files.sha256(source) != run.settings.start_checksum:
            raise ToolError(f"{source}: changed since --start-from named it; give --start-from again")
        model_files.check_fit(model_files.read(run.train_val(name)), source)
        weights = model_files.bare(source, (*STATE_LAYERS, POSITION))
        files.write_bytes(run.folder / run.places(name)["weights"], weights.SerializeToString())


def judge(run, name, last, broken, code, asked):
    """The iteration of the newest complete snapshot; raises ToolError, and records why, unless the training is done.

    broken: (iteration, loss) of the first loss that was not finite, or None; code, asked: see training.run
    """
    from caffe.snapshot import NotFinite

    from tools.train import snapshots

    stage, folder = run.stages[name], run.place(name)
    snapshot, faults = snapshots.newest(folder, name, run.train_val(name))
    stage.iterations = snapshot or 0
    if not broken and code == 0 and stage.iterations >= last:
        return snapshot
    diverged = next((str(fault) for fault in faults if isinstance(fault, NotFinite)), None)
    if broken or diverged:
        kept = "there is no snapshot before it"
        if snapshot is not None:
            kept = f"the last good snapshot is {snapshots.files(folder, name, snapshot)[1]}"
        stage.state = "failed"
        stage.message = "the loss was {1} at iteration {0}".format(*broken) if broken else diverged
        remedy = "lower base_lr or clip_gradients (--solver base_lr=0.005), and give --restart or another --run"
        message = f"{stage.message}, so the training was stopped; {kept}; {remedy}"
    elif asked or code <= 0 and code != -signal.SIGABRT:  # with which BVLC Caffe ends after an error
        stage.state, stage.message = "interrupted", f"stopped at iteration {stage.iterations} of {last}"
        if code < 0 and not asked:
            stage.message += f", killed by signal {-code}"
        message = f"{stage.message}; {RESUME}"
    else:
        stage.state, stage.message = "failed", training.last_words(folder / "train.log")
        message = f"caffe train failed: {stage.message.replace('error: ', '', 1)} (log: {folder / 'train.log'})"
    run.write()
    raise ToolError(f"{name}: {message}")


def tool(run, words, engine=None):
    """Run a subcommand of face-cascade under a Caffe, the run's by default, inside its lock. Raises ToolError."""
    python = engines.program(engine or run.settings.engine, "python")
    environment = engines.environment(run.settings.threads)
    # It inherits the lock, which so lasts as long as it works, however this process ends.
    command, kept = start.command(python, "tools.cli", *words), locking.DESCRIPTORS[-1:]
    code = subprocess.run(command, env=environment, pass_fds=kept).returncode
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code < 0:
        raise ToolError(f"face-cascade {words[0]} was killed by signal {-code} (is there enough memory?); {RESUME}")
    if code:
        sys.exit(1)  # it has printed its own error message


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
    words = ["git", "-C", str(generate.REPOSITORY), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
