"""Data-parallel training: every process a rank with batches of its own, gradients averaged before every update.

    torchrun --nproc-per-node 2 -m caffe.cli train -solver solver.prototxt      # CPU, gloo
    caffe train -solver solver.prototxt -gpu 0,1                                # a process per GPU, NCCL

Rank 0 writes logs and snapshots, tests, and hands its first weights to the others.
"""

import contextlib
import os
import signal
import subprocess
import sys

import torch
import torch.distributed as distributed

from . import context, glog
from .errors import CaffeError

# Gradients travel in pieces of about this many numbers.
BUCKET = 8 << 20


def launched():
    """Whether this process was started as one of several ranks."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(numbers):
    """Start a process per GPU that runs this command line again; their exit code.

    SIGINT and SIGTERM are passed on once, so that the ranks write their snapshot. SIGHUP is ignored: torchrun would
    take it for an order to end.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={len(numbers)}"]
    # In a session of its own: signals for this process group would otherwise reach torchrun twice.
    process = subprocess.Popen([*command, "-m", "caffe.cli", *sys.argv[1:]], start_new_session=True)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


def own_gpu(numbers):
    """Of the GPUs asked for, the one of this rank, as a list of one; all of them without ranks."""
    if not launched() or not numbers:
        return numbers
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= len(numbers) > 1:
        raise CaffeError(f"rank {local} of this machine has no GPU of its own among -gpu {numbers}")
    return [numbers[local] if len(numbers) > 1 else numbers[0] + local]


@contextlib.contextmanager
def process_group(numbers):
    """Be a member of the ranks inside; nothing to do for a single process."""
    if not launched():
        yield
        return
    distributed.init_process_group("nccl" if numbers else "gloo")
    context.set_solver_count(distributed.get_world_size())
    context.set_solver_rank(distributed.get_rank())
    context.set_multiprocess(True)
    glog.muted = distributed.get_rank() != 0
    try:
        yield
    finally:
        distributed.destroy_process_group()
        context.set_solver_count(1)
        context.set_solver_rank(0)


class Averager:
    """Averages the gradients of a solver's parameters over the ranks, in a few large messages."""

    def __init__(self, net):
        self.blobs = [blob for blob, rate in zip(net.learnable, net.rates) if rate]
        self.count = distributed.get_world_size()

    def buckets(self):
        """Lists of gradients that travel together."""
        bucket, size = [], 0
        for blob in reversed(self.blobs):
            gradient = blob.diff_memory.contiguous(blob.shape)
            bucket.append(gradient)
            size += gradient.numel()
            if size >= BUCKET:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket

    def __call__(self):
        sent = []
        for bucket in self.buckets():
            flat = bucket[0].view(-1) if len(bucket) == 1 else torch.cat([gradient.view(-1) for gradient in bucket])
            sent.append((bucket, flat, distributed.all_reduce(flat, async_op=True)))
        for bucket, flat, work in sent:
            work.wait()
            flat /= self.count
            if len(bucket) > 1:
                for gradient, part in zip(bucket, flat.split([gradient.numel() for gradient in bucket])):
                    gradient.view(-1).copy_(part)
        for blob in self.blobs:
            blob.diff_memory.changed()


def broadcast(solver):
    """Give every rank the weights of rank 0."""
    for blob in solver.net.learnable:
        distributed.broadcast(blob.data_memory.contiguous(blob.shape), 0)
        blob.data_memory.changed()


def attach(solver):
    """Let a solver train with the other ranks; nothing to do for a single process."""
    if launched():
        broadcast(solver)
        averager = Averager(solver.net)
        solver.add_callback(lambda: None, averager)
        solver.test_action = lambda: None


def agreed_action(signals):
    """A solver's action on which all ranks agree: the first one any of them was asked for."""
    if not launched():
        return signals
    names = [None, "snapshot", "stop"]

    def ask():
        wanted = torch.tensor([names.index(signals())], device=context.device())
        distributed.all_reduce(wanted, distributed.ReduceOp.MAX)
        return names[int(wanted)]

    return ask


def has_nccl():
    """Whether scripts may use caffe.NCCL: no, ranks are started by torchrun or by `caffe train -gpu 0,1`."""
    return False


class NCCL:
    """pycaffe's class of that name, which this engine needs no more. Raises CaffeError."""

    def __init__(self, solver, uid):
        raise CaffeError("caffe.NCCL is not used here; start ranks with torchrun, or with `caffe train -gpu 0,1`")
