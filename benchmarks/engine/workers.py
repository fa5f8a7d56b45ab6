"""The contestants: each a process that does one training iteration per line it reads.

    python -m benchmarks.engine.workers KIND PRECISION NET ATTRIBUTES BATCH SOLVER

It answers with the seconds of forward and backward, of the update, and of processor time, with the peak memory of the
process in MiB, and with the loss. Runs in both environments (KIND bvlc: .caffe/bin/python). KIND rate and KIND copy
answer with GFLOP/s of matrix products and GB/s of a copy in place of the loss.
"""

import os
import resource
import sys
import time

os.environ["GLOG_minloglevel"] = "2"

import numpy as np  # noqa: E402

SIZE = 224


def inputs(attributes, batch):
    """Images of noise, and labels, in the batch layout of the nets."""
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (attributes * batch, 3, SIZE, SIZE)).astype(np.float32)
    labels = np.arange(attributes * batch) // attributes % 2
    return images, labels


def caffe_training(precision, attributes, batch, path):
    """(passes, update) of either Caffe, functions; the first returns the loss."""
    import caffe

    if hasattr(caffe, "set_precision"):
        caffe.set_precision(precision)
    caffe.set_mode_cpu()
    solver = caffe.SGDSolver(path)
    net = solver.net
    net.blobs["data"].data[...], net.blobs["label_flat"].data[...] = inputs(attributes, batch)
    losses = [name for name in net.outputs if name.startswith("loss")]

    def passes():
        net.clear_param_diffs()
        net._forward(0, len(net.layers) - 1)
        net._backward(len(net.layers) - 1, 0)
        return sum(float(net.blobs[name].data) for name in losses)

    return passes, solver.apply_update


def pytorch_training(precision, net, attributes, batch, channels_last):
    """(passes, update) of plain PyTorch."""
    import torch

    # What the engine sets for its process: memory that is kept, threads that wait.
    from caffe import context  # noqa: F401

    from benchmarks.engine.reference import Training
    from models import solvers

    torch.manual_seed(0)
    clip = float(solvers.clipping(attributes))
    training = Training(net, attributes, batch, precision, channels_last=channels_last, clip=clip)
    images, labels = inputs(attributes, batch)
    training.images.copy_(torch.from_numpy(images))
    training.labels.copy_(torch.from_numpy(labels).view(batch, attributes))
    return lambda: training.passes().item(), training.update


def matrix_rate(precision):
    """GFLOP/s of products of matrices, the best of several shapes."""
    import torch

    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    shapes = [(2048, 2048, 2048), (676, 3456, 384), (4096, 1024, 1024)]
    pairs = [(torch.randn(m, k).to(kind), torch.randn(k, n).to(kind)) for m, k, n in shapes]

    def step():
        best = 0.0
        for a, b in pairs:
            for _ in range(3):
                begin = time.perf_counter()
                torch.matmul(a, b)
                seconds = time.perf_counter() - begin
                best = max(best, 2e-9 * a.shape[0] * a.shape[1] * b.shape[1] / seconds)
                if seconds > 1:  # no matrix unit for this type: one product is enough
                    break
        return best

    return step


def copy_rate():
    """GB/s read and written by a copy of 256 MB, the best of five."""
    import torch

    source, target = torch.ones(1 << 26), torch.zeros(1 << 26)

    def step():
        best = 0.0
        for _ in range(5):
            begin = time.perf_counter()
            target.copy_(source)
            best = max(best, 2e-9 * 4 * source.numel() / (time.perf_counter() - begin))
        return best

    return step


def nothing():
    """The update of workers that measure the machine."""


def main():
    kind, precision, net, attributes, batch, path = sys.argv[1:7]
    attributes, batch = int(attributes), int(batch)
    if kind in ("bvlc", "engine"):
        passes, update = caffe_training(precision, attributes, batch, path)
    elif kind == "rate":
        passes, update = matrix_rate(precision), nothing
    elif kind == "copy":
        passes, update = copy_rate(), nothing
    else:
        passes, update = pytorch_training(precision, net, attributes, batch, kind == "pytorch")
    for _ in sys.stdin:
        begin, processor = time.perf_counter(), time.process_time()
        answer = passes()
        middle = time.perf_counter()
        update()
        end = time.perf_counter()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(middle - begin, end - middle, time.process_time() - processor, memory, answer, flush=True)


if __name__ == "__main__":
    main()
