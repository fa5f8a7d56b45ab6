"""The program `caffe`: train, test, time and device_query with BVLC Caffe's flags, log lines and exit codes."""

import argparse
import difflib
import os
import re
import signal
import sys
import time
import traceback

from . import terminal
from .errors import CaffeError, check

USAGE = """Caffe's command line on PyTorch: the same prototxts, weights, snapshots, flags and log lines.

commands:
  train           train a net as a solver file says, from new weights, given weights or a snapshot
  test            run a net in phase TEST over batches of its data and log the mean of each output
  time            measure the forward and backward time of each layer of a net, in milliseconds
  device_query    list the GPUs of this machine

examples:
  caffe train -solver solver/region.prototxt
  caffe train -solver solver/cascade.prototxt -weights region.caffemodel -gpu 0 -precision bfloat16
  caffe train -solver solver/cascade.prototxt -snapshot build/cascade_iter_1000.solverstate
  caffe train -solver solver/region.prototxt -gpu 0,1           # a process per GPU, gradients averaged
  torchrun --nproc-per-node 2 -m caffe.cli train -solver solver/region.prototxt     # the same on CPUs
  caffe test -model models/region/train_val.prototxt -weights region.caffemodel -iterations 100
  caffe time -model models/region/deploy.prototxt -iterations 10

Ctrl-C and SIGTERM write a snapshot after the current iteration and stop; SIGHUP writes one and training continues.
The exit status is 0 if the command is done or was stopped by a signal ("Optimization stopped early." in the log), and 1
after an error, which is reported in one line. CAFFE_TRACEBACK=1 adds the traceback of an exception in a Python layer.
GLOG_minloglevel=1 suppresses the log. Python layers are found in the current folder and through PYTHONPATH.
"""

# Flag -> (type, default, help). BVLC Caffe does not have the last three.
FLAGS = {
    "gpu": (str, "", "The GPUs to use: numbers separated by ',', or all (default: as the solver says, or CPU)."),
    "iterations": (int, 50, "For test and time: the number of batches."),
    "level": (int, 0, "For the include and exclude rules of the net: the level."),
    "model": (str, "", "For test and time: the net, a prototxt."),
    "phase": (str, "", "For time: TRAIN or TEST (default: TRAIN)."),
    "sighup_effect": (str, "snapshot", "For train: the effect of SIGHUP, which is snapshot, stop or none."),
    "sigterm_effect": (str, "stop", "For train: the effect of SIGTERM, which is snapshot, stop or none."),
    "sigint_effect": (str, "stop", "For train: the effect of SIGINT (Ctrl-C), which is snapshot, stop or none."),
    "snapshot": (str, "", "For train: the .solverstate to resume from."),
    "solver": (str, "", "For train: the solver, a prototxt."),
    "stage": (str, "", "For the include and exclude rules of the net: the stages, separated by ','."),
    "weights": (str, "", "For train and test: the .caffemodel files to read, separated by ','. Not with -snapshot."),
    "precision": (str, "float32", "Arithmetic of convolutions and inner products: float32, tf32 (GPU) or bfloat16."),
    "shard": (str, "records", "What several ranks read alternately from a database: records or batches."),
    "decoded_mb": (
        int,
        -1,
        "A data set whose decoded images fit into this many MiB is kept on the device; 0 keeps none "
        "(default: a third of the free memory of a GPU, 0 on the CPU).",
    ),
}


class Parser(argparse.ArgumentParser):
    """A parser of flags in the forms of gflags: -name value, -name=value, --name value, --name=value."""

    def __init__(self):
        super().__init__(prog="caffe", usage="caffe COMMAND FLAGS", description=USAGE, allow_abbrev=False)
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.add_argument("command", nargs="?", help=argparse.SUPPRESS)
        for name, (kind, default, text) in FLAGS.items():
            if default not in ("", -1):
                text = f"{text.rstrip('.')} (default: {default})."
            self.add_argument(f"-{name}", f"--{name}", type=kind, default=default, metavar=name.upper(), help=text)
        self.add_argument("-help", action="help", help="Show this help.")
        self.add_argument("-version", action="version", version="caffe version 1.0.0 (PyTorch engine)")

    def parse_args(self, words):
        """The flags of a command line. An unknown flag ends the program with an error that suggests the nearest one."""
        for word in words:  # checked here, because argparse would take -solve for -solver
            name = word.lstrip("-").partition("=")[0]
            if word.startswith("-") and not is_number(word) and name not in (*FLAGS, "h", "help", "version"):
                self.error(f"unknown flag -{name}{nearest(name, FLAGS, '-')}; caffe --help lists the flags")
        flags, rest = self.parse_known_args(words)
        if rest:
            self.error(f"{rest[0]!r} does not belong to a flag; usage: caffe COMMAND -flag value -flag value ...")
        return flags

    def error(self, message):
        """Write an error in one line and exit with status 1, as BVLC Caffe does; argparse would exit with 2."""
        terminal.write(f"ERROR: {message}\n")
        sys.exit(1)


def is_number(word):
    """Whether a word of the command line is a number, such as a negative value, and not a flag."""
    return re.fullmatch(r"-?[\d.]+", word) is not None


def nearest(word, names, head=""):
    """The end of an error message that suggests the most similar of some names, with `head` in front; "" if none is."""
    matches = difflib.get_close_matches(word, names, 1)
    return f", did you mean {head}{matches[0]}?" if matches else ""


def stages(flags):
    return [stage for stage in flags.stage.split(",") if stage]


def gpus(flags):
    """The numbers of the GPUs in -gpu, an empty list for none. Raises CaffeError."""
    import torch

    if not flags.gpu:
        return []
    if flags.gpu == "all":
        count = torch.cuda.device_count()
        check(count, "Cannot use GPU: PyTorch finds none on this machine")
        return list(range(count))
    try:
        return [int(number) for number in flags.gpu.split(",")]
    except ValueError:
        raise CaffeError(f"-gpu takes numbers separated by ',', or 'all', not {flags.gpu!r}")


def prepare(flags):
    """Apply the flags that BVLC Caffe does not have. Raises CaffeError."""
    from . import context

    context.set_precision(flags.precision)
    context.set_shard(flags.shard)
    if flags.decoded_mb >= 0:
        context.set_decoded_budget(flags.decoded_mb << 20)


def use_device(numbers):
    """Compute on the first of these GPUs, or on the CPU if there are none. Raises CaffeError."""
    from . import context, glog

    if numbers:
        glog.info(f"Using GPUs {', '.join(map(str, numbers))}")
        context.set_device(numbers[0])
        context.set_mode_gpu()
    else:
        glog.info("Use CPU.")
        context.set_mode_cpu()


class Signals:
    """Catches signals; a call returns the effect of the next one, or None. Raises CaffeError for an unknown effect."""

    def __init__(self, sigint, sighup, sigterm):
        self.pending = []
        for name, effect, number in (
            ("sigint", sigint, signal.SIGINT),
            ("sighup", sighup, signal.SIGHUP),
            ("sigterm", sigterm, signal.SIGTERM),
        ):
            check(
                effect in ("snapshot", "stop", "none"), f"-{name}_effect takes snapshot, stop or none, not {effect!r}"
            )
            if effect != "none":
                signal.signal(number, lambda *_, effect=effect: self.pending.append(effect))
            elif number != signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)

    def __call__(self):
        return self.pending.pop(0) if self.pending else None


def train(flags):
    """The command `train`. Returns the exit status; raises CaffeError."""
    from . import context, glog, parallel, solver, solver_param
    from .proto import caffe_pb2

    check(flags.solver, "train needs a solver: caffe train -solver solver.prototxt")
    check(
        not (flags.snapshot and flags.weights),
        "-snapshot resumes a training, and -weights starts a new one; give one of them",
    )
    param = solver.read_solver(flags.solver)
    if flags.level:
        param.train_state.level = flags.level
    param.train_state.stage.extend(stages(flags))
    numbers = gpus(flags)
    asks_gpu = param.HasField("solver_mode") and param.solver_mode == caffe_pb2.SolverParameter.GPU
    if not flags.gpu and asks_gpu:
        numbers = [param.device_id]
    if len(numbers) > 1 and not parallel.launched():
        return parallel.launch(len(numbers))
    if flags.weights or flags.snapshot:
        param.ClearField("weights")
        param.weights.extend(filter(None, flags.weights.split(",")))
    solver_param.check_weights(param, flags.solver)
    with parallel.process_group(numbers):
        use_device(parallel.own_gpu(numbers))
        trainer = solver.get_solver_for(param)
        trainer.action = parallel.agreed_action(Signals(flags.sigint_effect, flags.sighup_effect, flags.sigterm_effect))
        if flags.snapshot and context.solver_rank() == 0:
            glog.info(f"Resuming from {flags.snapshot}")
            trainer.restore(flags.snapshot)
        parallel.attach(trainer)
        bar = terminal.ProgressBar(param.max_iter if not glog.muted else 0)
        trainer.progress = bar.update
        glog.bar = bar
        try:
            glog.info("Starting Optimization")
            trainer.solve()
        finally:
            glog.bar = None
            bar.close()
        glog.info("Optimization Done.")
    return 0


def test(flags):
    """The command `test`. Returns the exit status; raises CaffeError."""
    from . import context, glog
    from .glog import number
    from .pycaffe import Net
    from .testing import output_names, score, values

    check(flags.model, "test needs a model: caffe test -model net.prototxt -weights net.caffemodel")
    check(flags.weights, "test needs weights: caffe test -model net.prototxt -weights net.caffemodel")
    check(flags.iterations >= 1, f"-iterations must be at least 1, not {flags.iterations}")
    use_device(gpus(flags)[:1])
    net = Net(flags.model, context.TEST, level=flags.level, stages=stages(flags), weights=flags.weights)
    glog.info(f"Running for {flags.iterations} iterations.")
    names = output_names(net)
    sums, loss = [0.0] * len(names), 0.0
    for iteration in range(flags.iterations):
        loss += net.forward_range(0, len(net.nodes) - 1)
        for index, (name, value) in enumerate(zip(names, values(net))):
            sums[index] += value
            glog.info(f"Batch {iteration}, {name} = {number(value)}")
    glog.info(f"Loss: {number(loss / flags.iterations)}")
    for name, total in zip(names, sums):
        glog.info(score(name, total / flags.iterations, net.blob_loss_weights[name]))
    return 0


def measure(flags):
    """The command `time`. Returns the exit status; raises CaffeError."""
    from . import context, glog
    from .glog import number
    from .pycaffe import Net
    from .timer import Timer

    check(flags.model, "time needs a model: caffe time -model net.prototxt")
    check(flags.phase in ("", "TRAIN", "TEST"), f"-phase takes TRAIN or TEST, not {flags.phase!r}")
    check(flags.iterations >= 1, f"-iterations must be at least 1, not {flags.iterations}")
    use_device(gpus(flags)[:1])
    phase = context.TEST if flags.phase == "TEST" else context.TRAIN
    net = Net(flags.model, phase, level=flags.level, stages=stages(flags))
    last = len(net.nodes) - 1
    glog.info("Performing Forward")
    glog.info(f"Initial loss: {number(net.forward_range(0, last))}")
    glog.info("Performing Backward")
    net.backward_range(last, 0)
    glog.info("*** Benchmark begins ***")
    glog.info(f"Testing for {flags.iterations} iterations.")
    forward, backward = [0.0] * (last + 1), [0.0] * (last + 1)
    whole, forwards, backwards, part = Timer(), 0.0, 0.0, Timer()
    whole.start()
    for iteration in range(flags.iterations):
        begin = time.perf_counter()
        for index in range(last + 1):
            part.start()
            net.forward_range(index, index)
            part.stop()
            forward[index] += part.ms
        forwards = sum(forward)
        for index in range(last, -1, -1):
            part.start()
            net.backward_range(index, index)
            part.stop()
            backward[index] += part.ms
        backwards = sum(backward)
        spent = 1000 * (time.perf_counter() - begin)
        glog.info(f"Iteration: {iteration + 1} forward-backward time: {number(spent)} ms.")
    whole.stop()
    glog.info("Average time per layer: ")
    for node, forward_ms, backward_ms in zip(net.nodes, forward, backward):
        glog.info(f"{node.name:>10}\tforward: {number(forward_ms / flags.iterations)} ms.")
        glog.info(f"{node.name:>10}\tbackward: {number(backward_ms / flags.iterations)} ms.")
    glog.info(f"Average Forward pass: {number(forwards / flags.iterations)} ms.")
    glog.info(f"Average Backward pass: {number(backwards / flags.iterations)} ms.")
    glog.info(f"Average Forward-Backward: {number(whole.ms / flags.iterations)} ms.")
    glog.info(f"Total Time: {number(whole.ms)} ms.")
    glog.info("*** Benchmark ends ***")
    return 0


def device_query(flags):
    """The command `device_query`. Returns the exit status; raises CaffeError."""
    import torch

    from . import glog

    glog.info(f"Querying GPUs {flags.gpu}")
    count = torch.cuda.device_count()
    for index in gpus(flags):
        check(index < count, f"Cannot use GPU {index}: PyTorch finds {count} on this machine")
        device = torch.cuda.get_device_properties(index)
        glog.info(f"Device id:                     {index}")
        glog.info(f"Major revision number:         {device.major}")
        glog.info(f"Minor revision number:         {device.minor}")
        glog.info(f"Name:                          {device.name}")
        glog.info(f"Total global memory:           {device.total_memory}")
        glog.info(f"Number of multiprocessors:     {device.multi_processor_count}")
    return 0


COMMANDS = {"train": train, "test": test, "time": measure, "device_query": device_query}


def main(arguments=None):
    """Run one command, by default that of sys.argv. Returns the exit status, or exits after --help and wrong flags."""
    words = sys.argv[1:] if arguments is None else arguments
    flags = Parser().parse_args(words)
    if flags.command is None:
        Parser().print_help()
        return 0
    if flags.command not in COMMANDS:
        hint = nearest(flags.command, COMMANDS)
        terminal.write(f"error: unknown action {flags.command!r}{hint}; the commands are {', '.join(COMMANDS)}\n")
        return 1
    # BVLC Caffe finds the modules of Python layers through PYTHONPATH only; here the current folder comes first.
    if os.getcwd() not in sys.path and not sys.flags.safe_path:  # PYTHONSAFEPATH=1 keeps to the installed modules
        sys.path.insert(0, os.getcwd())
    try:
        prepare(flags)
        return COMMANDS[flags.command](flags)
    except CaffeError as error:
        terminal.write(f"error: {' '.join(str(error).splitlines())}\n")
    except KeyboardInterrupt:
        terminal.write("error: interrupted\n")
    except Exception as error:
        if os.environ.get("CAFFE_TRACEBACK"):
            traceback.print_exc()
        notes = " ".join(getattr(error, "__notes__", []))
        words = " ".join(f"{error} {notes}".split())
        kind = "" if isinstance(error, (ValueError, OSError, RuntimeError)) else f"{type(error).__name__}: "
        terminal.write(f"error: {kind}{words}\n")
    finally:
        terminal.finish()
    return 1


if __name__ == "__main__":
    sys.exit(main())
