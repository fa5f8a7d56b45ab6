"""The program `caffe`: train, test, time and device_query with BVLC Caffe's flags, log lines and exit codes."""

import argparse
import os
import signal
import sys
import time
import traceback

from .errors import CaffeError, check

USAGE = """command line brew
usage: caffe <command> <args>

commands:
  train           train or finetune a model
  test            score a model
  device_query    show GPU diagnostic information
  time            benchmark model execution time
"""

# Flag -> (type, default, help). The first ones are Caffe's, the last ones the engine's.
FLAGS = {
    "gpu": (str, "", "run in GPU mode on given device IDs separated by ',', or on 'all'"),
    "iterations": (int, 50, "the number of iterations to run"),
    "level": (int, 0, "network level"),
    "model": (str, "", "the model definition, a prototxt"),
    "phase": (str, "", "network phase, TRAIN or TEST; only used for 'time'"),
    "sighup_effect": (str, "snapshot", "action when a SIGHUP is received: snapshot, stop or none"),
    "sigint_effect": (str, "stop", "action when a SIGINT is received: snapshot, stop or none"),
    "snapshot": (str, "", "the solver state to resume training from"),
    "solver": (str, "", "the solver definition, a prototxt"),
    "stage": (str, "", "network stages, separated by ','"),
    "weights": (str, "", "weights to initialize finetuning with, separated by ','; not with -snapshot"),
    "precision": (str, "float32", "arithmetic of convolutions and inner products: float32, tf32 (GPU) or bfloat16"),
    "shard": (str, "records", "what several ranks take in turn from a database: records, or whole batches"),
    "decoded_mb": (
        int,
        -1,
        "MiB a decoded data set may take on the device; by default a third of a GPU, no host memory",
    ),
}


class Parser(argparse.ArgumentParser):
    """Flags as gflags takes them: -name value, -name=value, --name ..."""

    def __init__(self):
        super().__init__(prog="caffe", usage="caffe <command> <args>", description=USAGE, allow_abbrev=False)
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.add_argument("command", nargs="?", help=argparse.SUPPRESS)
        for name, (kind, default, text) in FLAGS.items():
            shown = f" (default {default})" if default not in ("", -1) else ""
            self.add_argument(
                f"-{name}", f"--{name}", type=kind, default=default, metavar=name.upper(), help=text + shown
            )
        self.add_argument("-help", action="help", help="show this")
        self.add_argument("-version", action="version", version="caffe version 1.0.0 (PyTorch engine)")

    def error(self, message):
        print(f"ERROR: {message}", file=sys.stderr)
        sys.exit(1)


def stages(flags):
    return [stage for stage in flags.stage.split(",") if stage]


def gpus(flags):
    """Numbers of the GPUs asked for. Raises CaffeError."""
    import torch

    if not flags.gpu:
        return []
    if flags.gpu == "all":
        return list(range(torch.cuda.device_count()))
    try:
        return [int(number) for number in flags.gpu.split(",")]
    except ValueError:
        raise CaffeError(f"-gpu takes numbers separated by ',', or 'all', not {flags.gpu!r}")


def prepare(flags):
    """Set precision and what else is the engine's own."""
    from . import context

    context.set_precision(flags.precision)
    context.set_shard(flags.shard)
    if flags.decoded_mb >= 0:
        context.set_decoded_budget(flags.decoded_mb << 20)


def use_device(numbers):
    """Compute on the first of some GPUs, or on the CPU."""
    from . import context, glog

    if numbers:
        glog.info(f"Using GPUs {', '.join(map(str, numbers))}")
        context.set_device(numbers[0])
        context.set_mode_gpu()
    else:
        glog.info("Use CPU.")
        context.set_mode_cpu()


class Signals:
    """Turns signals into a solver's actions: stop, snapshot or none."""

    def __init__(self, sigint, sighup):
        self.pending = []
        for name, effect, number in (("sigint", sigint, signal.SIGINT), ("sighup", sighup, signal.SIGHUP)):
            check(effect in ("snapshot", "stop", "none"), f"Invalid signal effect {effect!r} was specified for {name}")
            if effect != "none":
                signal.signal(number, lambda *_, effect=effect: self.pending.append(effect))
            elif number == signal.SIGHUP:
                signal.signal(number, signal.SIG_IGN)

    def __call__(self):
        return self.pending.pop(0) if self.pending else None


def train(flags):
    from . import glog, parallel, solver, terminal
    from .proto import caffe_pb2

    check(flags.solver, "Need a solver definition to train.")
    check(
        not (flags.snapshot and flags.weights),
        "Give a snapshot to resume training or weights to finetune but not both.",
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
        return parallel.launch(numbers)
    with parallel.joined(numbers):
        use_device(parallel.own_gpu(numbers))
        if flags.weights:
            param.ClearField("weights")
            param.weights.extend(flags.weights.split(","))
        trainer = solver.get_solver_for(param)
        trainer.action = parallel.agreed(Signals(flags.sigint_effect, flags.sighup_effect))
        parallel.attach(trainer)
        if flags.snapshot:
            glog.info(f"Resuming from {flags.snapshot}")
            trainer.restore(flags.snapshot)
        bar = terminal.Bar(param.max_iter if not glog.muted else 0)
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
    from . import context, glog
    from .pycaffe import Net
    from .solver import number, score

    check(flags.model, "Need a model definition to score.")
    check(flags.weights, "Need model weights to score.")
    use_device(gpus(flags)[:1])
    net = Net(flags.model, context.TEST, level=flags.level, stages=stages(flags), weights=flags.weights)
    glog.info(f"Running for {flags.iterations} iterations.")
    names = [name for name in net.outputs for _ in range(net.blob_map[name].count)]
    sums, loss = [0.0] * len(names), 0.0
    for iteration in range(flags.iterations):
        loss += net.forward_range(0, len(net.nodes) - 1)
        values = [value for name in net.outputs for value in net.blob_map[name].value().reshape(-1).tolist()]
        for place, (name, value) in enumerate(zip(names, values)):
            sums[place] += value
            glog.info(f"Batch {iteration}, {name} = {number(value)}")
    glog.info(f"Loss: {number(loss / flags.iterations)}")
    for name, total in zip(names, sums):
        glog.info(score(name, total / flags.iterations, net.blob_loss_weights[name]))
    return 0


def measure(flags):
    """The command `time`."""
    from . import context, glog
    from .pycaffe import Net
    from .solver import number
    from .timer import Timer

    check(flags.model, "Need a model definition to time.")
    check(flags.phase in ("", "TRAIN", "TEST"), 'phase must be "TRAIN" or "TEST"')
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
    for node, there, back in zip(net.nodes, forward, backward):
        glog.info(f"{node.name:>10}\tforward: {number(there / flags.iterations)} ms.")
        glog.info(f"{node.name:>10}\tbackward: {number(back / flags.iterations)} ms.")
    glog.info(f"Average Forward pass: {number(forwards / flags.iterations)} ms.")
    glog.info(f"Average Backward pass: {number(backwards / flags.iterations)} ms.")
    glog.info(f"Average Forward-Backward: {number(whole.ms / flags.iterations)} ms.")
    glog.info(f"Total Time: {number(whole.ms)} ms.")
    glog.info("*** Benchmark ends ***")
    return 0


def device_query(flags):
    import torch

    from . import glog

    glog.info(f"Querying GPUs {flags.gpu}")
    for index in gpus(flags):
        check(
            index < torch.cuda.device_count(), f"Cannot use GPU {index}: PyTorch finds {torch.cuda.device_count()} here"
        )
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
    """Run one command; the process's exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    flags = Parser().parse_args(words)
    if flags.command is None:
        print(f"caffe: {USAGE}")
        Parser().print_help()
        return 0
    if flags.command not in COMMANDS:
        print(f"error: unknown action {flags.command!r}; available are {', '.join(COMMANDS)}", file=sys.stderr)
        return 1
    # Python layers beside the prototxts are found, as with BVLC Caffe, through PYTHONPATH; and in the current folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        prepare(flags)
        return COMMANDS[flags.command](flags)
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
    except Exception as error:
        if os.environ.get("CAFFE_TRACEBACK"):
            traceback.print_exc()
        notes = " ".join(getattr(error, "__notes__", []))
        words = f"{error} {notes}".strip()
        kind = "" if isinstance(error, (ValueError, OSError, RuntimeError)) else f"{type(error).__name__}: "
        print(f"error: {kind}{words}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
