"""The contestants: each a process that trains for one round per line it reads.

    python -m benchmarks.engine.workers KIND PRECISION NET ATTRIBUTES BATCH SOLVER DEVICE STEPS

It answers with the seconds of forward and backward, and of the update, the means of STEPS iterations, with the peak
memory in MiB (of the device, if it is a GPU), and with the loss. Runs in both environments (KIND bvlc:
.caffe/bin/python). KIND rate answers with GFLOP/s of matrix products in place of the loss.
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


def caffe_training(precision, attributes, batch, path, device="cpu"):
    """(passes, update) of either Caffe, functions; the first returns the loss."""
    import caffe

    if hasattr(caffe, "set_precision"):
        caffe.set_precision(precision)
    if device == "cuda":
        caffe.set_device(0)
        caffe.set_mode_gpu()
    else:
        caffe.set_mode_cpu()
    solver = caffe.SGDSolver(path)
    net = solver.net
    net.blobs["data"].data[...], net.blobs["label_flat"].data[...] = inputs(attributes, batch)
    losses = [name for name in net.outputs if name.startswith("loss")]

    def passes():
        net.clear_param_diffs()
        if hasattr(solver, "passes"):  # the engine's, on a GPU recorded as a CUDA graph
            return solver.passes.run()
        net._forward(0, len(net.layers) - 1)
        net._backward(len(net.layers) - 1, 0)
        return sum(float(net.blobs[name].data) for name in losses)

    return passes, solver.apply_update


def pytorch_training(kind, precision, net, attributes, batch, device):
    """(passes, update) of plain PyTorch; as a CUDA graph or compiled, passes include the update."""
    import torch

    # What the engine sets for its process: memory that is kept, threads that wait, arithmetic.
    from caffe import context

    from benchmarks.engine.reference import Training
    from models import solvers

    torch.manual_seed(0)
    context.set_precision(precision)
    forms = kind.split("-")[1:]
    grouped, channels_last, clip = "grouped" in forms, "first" not in forms, float(solvers.clipping(attributes))
    training = Training(net, attributes, batch, precision, device, grouped, channels_last, clip)
    images, labels = inputs(attributes, batch)
    training.images.copy_(torch.from_numpy(images))
    training.labels.copy_(torch.from_numpy(labels).view(batch, attributes))
    if "compiled" in forms:
        training.net.compile()
    elif device == "cuda":
        return training.recorded(), lambda: None
    return lambda: training.passes().item(), training.update


def matrix_rate(precision, device):
    """A function that returns the GFLOP/s of products of matrices, the best of several shapes."""
    import torch
    from caffe import context

    context.set_precision(precision)
    shapes = [(2048, 2048, 2048), (676, 3456, 384), (4096, 1024, 1024)]
    if device == "cuda":
        shapes = [(4096, 4096, 4096), (8192, 8192, 8192)]
    options = {"device": device, "dtype": context.compute_type()}
    pairs = [(torch.randn(m, k, **options), torch.randn(k, n, **options)) for m, k, n in shapes]

    def step():
        best = 0.0
        for a, b in pairs:
            for _ in range(3):
                begin = time.perf_counter()
                torch.matmul(a, b)[0, 0].item()  # waits for the device
                seconds = time.perf_counter() - begin
                best = max(best, 2e-9 * a.shape[0] * a.shape[1] * b.shape[1] / seconds)
                if seconds > 1:  # no matrix unit for this type: one product is enough
                    break
        return best

    return step


def peak(device):
    """Peak memory in MiB."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    kind, precision, net, attributes, batch, path, device, steps = sys.argv[1:9]
    attributes, batch, steps = int(attributes), int(batch), int(steps)
    if kind == "rate":
        passes, update = matrix_rate(precision, device), lambda: None
    elif kind in ("bvlc", "engine"):
        passes, update = caffe_training(precision, attributes, batch, path, device)
    else:
        passes, update = pytorch_training(kind, precision, net, attributes, batch, device)
    for _ in sys.stdin:
        times = np.zeros(2)
        for _ in range(steps):
            begin = time.perf_counter()
            answer = passes()
            middle = time.perf_counter()
            update()
            times += middle - begin, time.perf_counter() - middle
        print(*(times / steps), peak(device), answer, flush=True)


if __name__ == "__main__":
    main()
