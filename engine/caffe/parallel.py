"""Data-parallel training: every process is a rank with its own batches; gradients are averaged before every update.

    torchrun --nproc-per-node 2 -m caffe.cli train -solver solver.prototxt      # CPU, gloo
    caffe train -solver solver.prototxt -gpu 0,1                                # a process per GPU, NCCL

Rank 0 writes the log and the snapshots and runs the tests; the other ranks start with its state.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import torch
import torch.distributed as distributed

from . import context, glog
from .errors import CaffeError
from .tensors import flat, shaped

# Number of gradients from which on a message is sent. Few large messages take less time than many small ones.
BUCKET = 8 << 20
# The file through which ranks on one machine find each other.
STORE = "CAFFE_RANKS_FILE"
# A rank asks the kernel (PR_SET_PDEATHSIG) to stop it, with a snapshot, when the process that launched it ends.
RANK = (
    f"import ctypes, sys; ctypes.CDLL(None).prctl(1, {int(signal.SIGINT)}); "
    "sys.path[:] = {!r}; from caffe.cli import main; sys.exit(main())"
)


def launched():
    """Whether this process was started as one of several ranks, by `launch` or by torchrun, which set WORLD_SIZE."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(count):
    """Run this command line again in `count` processes on this machine; returns the exit status of the first to fail.

    They find each other through a file and communicate through the loopback interface, so that no other machine can
    connect to them. Signals are forwarded to all of them; when one fails, the others are ended.
    """
    # Ranks find modules where this process does, and nothing else; -P keeps the current folder out.
    command = [sys.executable, "-P", "-c", RANK.format(sys.path), *sys.argv[1:]]
    network = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo")
    with tempfile.TemporaryDirectory() as folder:
        common = {**os.environ, **network, "WORLD_SIZE": str(count), STORE: f"{folder}/store"}
        # In sessions of their own, because Ctrl-C is sent to the whole process group and would reach them twice.
        ranks = [
            subprocess.Popen(command, env={**common, "RANK": str(i), "LOCAL_RANK": str(i)}, start_new_session=True)
            for i in range(count)
        ]

        def forward(number, _=None):
            for rank in ranks:
                rank.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, forward)
        codes = [None]
        while None in codes and not any(codes):
            time.sleep(0.1)
            codes = [rank.poll() for rank in ranks]
        if any(codes):
            forward(signal.SIGKILL)
        for rank in ranks:
            rank.wait()
    return next(filter(None, codes), 0)


def own_gpu(numbers):
    """The GPU of this rank among the requested ones, as a list; without ranks, all of them. Raises CaffeError."""
    if not launched() or not numbers:
        return numbers
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= len(numbers) > 1:
        raise CaffeError(f"rank {local} of this machine has no GPU of its own among -gpu {numbers}")
    return [numbers[local] if len(numbers) > 1 else numbers[0] + local]


@contextlib.contextmanager
def process_group(numbers):
    """Context: membership in the process group of the ranks; has no effect for a single process.

    numbers: the requested GPUs; with them the ranks communicate through NCCL, otherwise through gloo
    """
    if not launched():
        yield
        return
    place = {"init_method": pathlib.Path(os.environ[STORE]).as_uri()} if STORE in os.environ else {}
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("nccl" if numbers else "gloo", rank=rank, world_size=size, **place)
    context.set_solver_count(distributed.get_world_size())
    context.set_solver_rank(distributed.get_rank())
    glog.muted = distributed.get_rank() != 0
    try:
        yield
        # After an error the group ends with the process, once its message is written: the other ranks then fail, too.
        distributed.destroy_process_group()
    finally:
        context.set_solver_count(1)
        context.set_solver_rank(0)


class Averager:
    """A call averages the gradients of a net's learned parameters over all ranks, in place."""

    def __init__(self, net):
        self.blobs = [blob for blob, rate in zip(net.learnable, net.rates) if rate]
        self.count = distributed.get_world_size()

    def buckets(self):
        """Yield lists of pairs (gradient, the same in the order of memory in which all ranks send it)."""
        bucket, size = [], 0
        for blob in reversed(self.blobs):
            gradient, last = blob.diff_memory.writable(blob.shape), len(blob.shape) == 4
            order = torch.channels_last if last else torch.contiguous_format
            bucket.append((gradient, shaped(gradient, blob.shape).contiguous(memory_format=order)))
            size += blob.count
            if size >= BUCKET:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket

    def __call__(self):
        sent = []
        for bucket in self.buckets():
            parts = [flat(ordered) for _, ordered in bucket]
            message = parts[0] if len(parts) == 1 else torch.cat(parts)
            sent.append((bucket, message, distributed.all_reduce(message, async_op=True)))
        for bucket, message, work in sent:
            work.wait()
            message /= self.count
            for (gradient, ordered), part in zip(bucket, message.split([tensor.numel() for _, tensor in bucket])):
                flat(ordered).copy_(part)
                gradient.copy_(shaped(ordered, gradient.shape))
        for blob in self.blobs:
            blob.diff_memory.changed()


def broadcast(solver):
    """Give all ranks the weights, histories, iteration and learning-rate step of rank 0."""
    net, optimizer = solver.net, solver.optimizer
    known = [history is not None for kind in optimizer.histories for history in kind]
    facts = torch.tensor([solver.iter, optimizer.step, *known], device=context.device())
    distributed.broadcast(facts, 0)
    solver.iter, optimizer.step, *known = facts.tolist()
    for blob in net.learnable:
        distributed.broadcast(blob.data_memory.contiguous(blob.shape), 0)
        blob.data_memory.changed()
    for number, known_here in enumerate(known):
        if known_here:
            kind, index = divmod(number, len(net.learnable))
            shape, history = net.learnable[index].shape, optimizer.histories[kind][index]
            history = torch.zeros(shape) if history is None else history.reshape(shape)
            optimizer.histories[kind][index] = history = history.to(context.device()).contiguous()
            distributed.broadcast(history, 0)


def attach(solver):
    """Make a solver train together with the other ranks, from the state of rank 0's; no effect for a single process."""
    if launched():
        broadcast(solver)
        averager = Averager(solver.net)
        solver.add_callback(lambda: None, averager)
        solver.test_action = lambda: None


def agreed_action(signals):
    """A function for Solver.action that returns the same on all ranks, so that they stop in the same iteration.

    signals: the function of this rank that returns "stop", "snapshot" or None. If ranks differ, "stop" has precedence.
    """
    if not launched():
        return signals
    names = [None, "snapshot", "stop"]

    def ask():
        wanted = torch.tensor([names.index(signals())], device=context.device())
        distributed.all_reduce(wanted, distributed.ReduceOp.MAX)
        return names[int(wanted)]

    return ask


def has_nccl():
    """False: scripts cannot use caffe.NCCL; torchrun or `caffe train -gpu 0,1` start the ranks instead."""
    return False


class NCCL:
    """Stands for pycaffe's class NCCL, which torchrun replaces. Raises CaffeError."""

    def __init__(self, solver, uid):
        raise CaffeError("caffe.NCCL is not supported; start ranks with torchrun, or with `caffe train -gpu 0,1`")
