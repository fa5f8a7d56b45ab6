"""The commands of the program `caffe`. Each takes the flags of cli.py and raises CaffeError."""

import signal

import torch

from . import TEST, TRAIN, context, glog, parallel, solver, solver_param, testing
from .errors import CaffeError, check
from .glog import number
from .proto import caffe_pb2
from .pycaffe import Net, Timer


def gpus(flags):
    """The numbers of the GPUs in -gpu, an empty list for none. Raises CaffeError."""
    if flags.gpu == "all":
        count = torch.cuda.device_count()
        check(count, "Cannot use GPU: PyTorch finds none on this machine")
        return list(range(count))
    try:
        return [int(word) for word in flags.gpu.split(",") if flags.gpu]
    except ValueError:
        raise CaffeError(f"-gpu takes numbers separated by ',', or 'all', not {flags.gpu!r}")


def apply(flags):
    """Apply the flags that BVLC Caffe does not have. Raises CaffeError."""
    context.set_precision(flags.precision)
    context.set_shard(flags.shard)
    if flags.decoded_mb >= 0:
        context.set_decoded_budget(flags.decoded_mb << 20)


def use_device(numbers):
    """Compute on the first of these GPUs, or on the CPU if there are none. Raises CaffeError."""
    if numbers:
        glog.info(f"Using GPUs {', '.join(map(str, numbers))}")
        context.set_device(numbers[0])
        context.set_mode_gpu()
    else:
        glog.info("Use CPU.")
        context.set_mode_cpu()


class Signals:
    """Catches signals; a call returns the effect of the next one, or None. Raises CaffeError for an unknown effect."""

    EFFECTS = ("snapshot", "stop", "none")

    def __init__(self, flags):
        self.pending = []
        for name in ("sigint", "sighup", "sigterm"):
            effect, sign = getattr(flags, f"{name}_effect"), getattr(signal, name.upper())
            check(effect in self.EFFECTS, f"-{name}_effect takes {', '.join(self.EFFECTS)}, not {effect!r}")
            if effect != "none":
                signal.signal(sign, lambda *_, effect=effect: self.pending.append(effect))
            elif name != "sigint":
                signal.signal(sign, signal.SIG_IGN)

    def __call__(self):
        return self.pending.pop(0) if self.pending else None


def train(flags):
    """The command `train`; returns the exit status."""
    check(flags.solver, "train needs a solver: caffe train -solver solver.prototxt")
    check(
        not (flags.snapshot and flags.weights),
        "-snapshot resumes a training, and -weights starts a new one; give one of them",
    )
    param = solver.read_solver(flags.solver)
    if flags.level:
        param.train_state.level = flags.level
    param.train_state.stage.extend(filter(None, flags.stage.split(",")))
    numbers = gpus(flags)
    if not flags.gpu and param.HasField("solver_mode") and param.solver_mode == caffe_pb2.SolverParameter.GPU:
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
        trainer.action = parallel.agreed_action(Signals(flags))
        if flags.snapshot and context.solver_rank() == 0:
            glog.info(f"Resuming from {flags.snapshot}")
            trainer.restore(flags.snapshot)
        parallel.attach(trainer)
        glog.info("Starting Optimization")
        trainer.solve()
        glog.info("Optimization Done.")
    return 0


def read_net(flags, phase, weights=None):
    """The net that -model, -level and -stage name, on the device that -gpu names."""
    check(flags.iterations >= 1, f"-iterations must be at least 1, not {flags.iterations}")
    use_device(gpus(flags)[:1])
    stages = [stage for stage in flags.stage.split(",") if stage]
    return Net(flags.model, phase, level=flags.level, stages=stages, weights=weights)


def test(flags):
    """The command `test`."""
    check(flags.model, "test needs a model: caffe test -model net.prototxt -weights net.caffemodel")
    check(flags.weights, "test needs weights: caffe test -model net.prototxt -weights net.caffemodel")
    net = read_net(flags, TEST, flags.weights)
    glog.info(f"Running for {flags.iterations} iterations.")
    loss, batches = 0.0, []
    for iteration in range(flags.iterations):
        loss += net.forward_range(0, len(net.nodes) - 1)
        batches.append(testing.outputs(net))
        for name, value in batches[-1]:
            glog.info(f"Batch {iteration}, {name} = {number(value)}")
    glog.info(f"Loss: {number(loss / flags.iterations)}")
    testing.show(net, testing.means(batches))


def measure(flags):
    """The command `time`."""
    check(flags.model, "time needs a model: caffe time -model net.prototxt")
    check(flags.phase in ("", "TRAIN", "TEST"), f"-phase takes TRAIN or TEST, not {flags.phase!r}")
    net = read_net(flags, TEST if flags.phase == "TEST" else TRAIN)
    last = len(net.nodes) - 1
    glog.info("Performing Forward")
    glog.info(f"Initial loss: {number(net.forward_range(0, last))}")
    glog.info("Performing Backward")
    net.backward_range(last, 0)
    glog.info("*** Benchmark begins ***")
    glog.info(f"Testing for {flags.iterations} iterations.")
    forward, backward = [0.0] * (last + 1), [0.0] * (last + 1)
    whole, iteration, part = Timer(), Timer(), Timer()
    whole.start()
    for index in range(flags.iterations):
        iteration.start()
        for run, layers, spent in (
            (net.forward_range, range(last + 1), forward),
            (net.backward_range, range(last, -1, -1), backward),
        ):
            for layer in layers:
                part.start()
                run(layer, layer)
                part.stop()
                spent[layer] += part.ms
        iteration.stop()
        glog.info(f"Iteration: {index + 1} forward-backward time: {number(iteration.ms)} ms.")
    whole.stop()

    def mean(spent):
        return f"{number(spent / flags.iterations)} ms."

    glog.info("Average time per layer: ")
    for node, forward_ms, backward_ms in zip(net.nodes, forward, backward):
        glog.info(f"{node.name:>10}\tforward: {mean(forward_ms)}")
        glog.info(f"{node.name:>10}\tbackward: {mean(backward_ms)}")
    glog.info(f"Average Forward pass: {mean(sum(forward))}")
    glog.info(f"Average Backward pass: {mean(sum(backward))}")
    glog.info(f"Average Forward-Backward: {mean(whole.ms)}")
    glog.info(f"Total Time: {number(whole.ms)} ms.")
    glog.info("*** Benchmark ends ***")


def device_query(flags):
    """The command `device_query`."""
    glog.info(f"Querying GPUs {flags.gpu}")
    count = torch.cuda.device_count()
    for index in gpus(flags):
        check(index < count, f"Cannot use GPU {index}: PyTorch finds {count} on this machine")
        device = torch.cuda.get_device_properties(index)
        for what, value in (
            ("Device id", index),
            ("Major revision number", device.major),
            ("Minor revision number", device.minor),
            ("Name", device.name),
            ("Total global memory", device.total_memory),
            ("Number of multiprocessors", device.multi_processor_count),
        ):
            glog.info(f"{what + ':':<30} {value}")
