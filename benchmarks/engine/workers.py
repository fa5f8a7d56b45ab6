"""The contestants: each a process that does one forward and backward pass of the region net per line it reads.

    python -m benchmarks.engine.workers KIND PRECISION ATTRIBUTES BATCH PROTOTXT

It answers with the seconds of wall clock and of processor time that the pass took, and the loss. Runs in both
environments (KIND bvlc: .caffe/bin/python).
"""

import os
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


def caffe_pass(precision, attributes, batch, prototxt):
    """A pass of either Caffe."""
    import caffe

    if hasattr(caffe, "set_precision"):
        caffe.set_precision(precision)
    net = caffe.Net(prototxt, caffe.TRAIN)
    net.blobs["data"].data[...], net.blobs["label_flat"].data[...] = inputs(attributes, batch)

    def step():
        net.clear_param_diffs()
        net._forward(0, len(net.layers) - 1)
        net._backward(len(net.layers) - 1, 0)
        return float(net.blobs["loss_region"].data)

    return step


def pytorch_pass(precision, attributes, batch, channels_last=True):
    import torch

    # What the engine does for itself.
    from caffe import context  # noqa: F401

    from benchmarks.engine.reference import Loop

    torch.manual_seed(0)
    loop = Loop(attributes, batch, precision, torch.from_numpy(inputs(attributes, batch)[0]), channels_last)
    return lambda: loop.step().item()


def rate_pass(precision):
    """Products of matrices, for the machine's rate: GFLOP per second in place of a loss."""
    import torch

    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    shapes = [(2048, 2048, 2048), (676, 3456, 384), (4096, 1024, 1024)]
    pairs = [(torch.randn(m, k).to(kind), torch.randn(k, n).to(kind)) for m, k, n in shapes]

    def step():
        best = 0.0
        for a, b in pairs:
            for _ in range(5):
                begin = time.perf_counter()
                torch.matmul(a, b)
                seconds = time.perf_counter() - begin
                best = max(best, 2e-9 * a.shape[0] * a.shape[1] * b.shape[1] / seconds)
        return best

    return step


def main():
    kind, precision, attributes, batch, prototxt = sys.argv[1:6]
    attributes, batch = int(attributes), int(batch)
    if kind in ("bvlc", "engine"):
        step = caffe_pass(precision, attributes, batch, prototxt)
    elif kind == "rate":
        step = rate_pass(precision)
    else:
        step = pytorch_pass(precision, attributes, batch, kind == "pytorch")
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        answer = step()
        print(time.perf_counter() - wall, time.process_time() - processor, answer, flush=True)


if __name__ == "__main__":
    main()
