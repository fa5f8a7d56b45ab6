"""Data-parallel training: every process is a rank with its own batches; gradients are averaged before every update.

    torchrun --nproc-per-node 2 -m caffe.cli train -solver solver.prototxt      # CPU, gloo
    caffe train -solver solver.prototxt -gpu 0,1                                # a process per GPU, NCCL

Rank 0 writes the log and the snapshots and runs the tests; the other ranks start with its weights.
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

# Number of gradients from which on a message is sent. Few large messages take less time than many small ones.
BUCKET = 8 << 20


def launched():
    """Whether this process was started as one of several ranks (by torchrun, which sets WORLD_SIZE)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(numbers):
    """Run this command line again in one process per GPU, and return torchrun's exit status.

    SIGINT and SIGTERM are forwarded to torchrun, so that the ranks stop as the flags say. SIGHUP is ignored, because
    torchrun would end the training.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={len(numbers)}"]
    # A session of its own, because Ctrl-C is sent to the whole process group and would reach torchrun twice.
    process = subprocess.Popen([*command, "-m", "caffe.cli", *sys.argv[1:]], start_new_session=True)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


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
    """A call averages the gradients of a net's learned parameters over all ranks, in place."""

    def __init__(self, net):
        self.blobs = [blob for blob, rate in zip(net.learnable, net.rates) if rate]
        self.count = distributed.get_world_size()

    def buckets(self):
        """Yield lists of gradients that are sent in one message."""
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
    """Copy the weights of rank 0 to all ranks."""
    for blob in solver.net.learnable:
        distributed.broadcast(blob.data_memory.contiguous(blob.shape), 0)
        blob.data_memory.changed()


def attach(solver):
    """Make a solver train together with the other ranks; has no effect for a single process."""
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
