"""Training speed on a GPU: the engine against plain PyTorch, from tensors on the device and from an LMDB.

    make bench-gpu                                        # both networks, 20 attributes, b = 4
    make bench-gpu BENCH="--lmdb data/lmdb"               # LMDBs of real faces, of either form, in place of noise
    make bench-gpu BENCH="--source tensors --no-compile"  # the networks alone, without minutes of torch.compile
    make bench-gpu BENCH="--precision tf32"               # the arithmetic: bfloat16, tf32 or float32
    make bench-gpu BENCH="--device cpu --attributes 2 --batch 2 --steps 1 --rounds 1"    # a test of the script

Every contestant trains (forward, backward, update); their steps are interleaved in one process. A table shows images
per second, the share of the card's measured rate of matrix products in the same arithmetic, the ratio to the best loop
of plain PyTorch for the same source, and the share of time that the step waited for data.
"""

import argparse
import functools
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from caffe import context, loader, solver  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402

from benchmarks.engine import nets  # noqa: E402
from benchmarks.engine.reference import Training  # noqa: E402
from benchmarks.measure import interleaved, load  # noqa: E402
from data_prep.attributes import PAPER_ATTRIBUTES  # noqa: E402
from data_prep.store import databases, manifest  # noqa: E402
from models import generate  # noqa: E402
from models.options import NetworkOptions  # noqa: E402


class Tensors:
    """The engine on tensors that are on the device."""

    def __init__(self, net, names, batch, graph):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "net.prototxt"
            path.write_text(nets.input_net(net, names, batch))
            self.solver = solver.SGDSolver(solver_parameters(path))
        if not graph:
            self.solver.passes.recorder = None
        rng = np.random.default_rng(0)
        for name, low, high in (("data", 0, 256), ("label_flat", 0, 2)):
            blob = self.solver.net.blobs[name]
            blob.data[...] = rng.integers(low, high, blob.shape)

    def step(self):
        self.solver.step(1)


class Database(Tensors):
    """The engine on LMDBs; cached: decoded on the device after its first pass, in the stream form."""

    def __init__(self, net, folder, cached):
        context.set_decoded_budget(max(context.decoded_budget(), 1 << 30) if cached else 0)
        self.solver = solver.SGDSolver(solver_parameters(folder / net / "train_val.prototxt"))
        context.set_decoded_budget(None)


def solver_parameters(path):
    words = {
        "base_lr": 1e-4,
        "lr_policy": "fixed",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "snapshot_after_train": False,
    }
    return caffe_pb2.SolverParameter(train_net=str(path), max_iter=1 << 30, **words)


class Images(torch.utils.data.Dataset):
    """Decoded images and labels of a stream LMDB."""

    def __init__(self, path):
        self.path, self.environment = str(path), None
        self.count = databases.count(path)

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        if self.environment is None:  # each worker has its own
            self.environment = databases.open_lmdb(self.path)
        with self.environment.begin() as transaction:
            datum = caffe_pb2.Datum.FromString(transaction.get(databases.key(number)))
        return torch.from_numpy(cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR)), datum.label


class PyTorchDatabase:
    """Plain PyTorch on a DataLoader with as many workers as cores, pinned memory and asynchronous copies."""

    def __init__(self, training, folder, attributes, batch):
        self.training, self.shape, self.waited = training, (batch, attributes), 0.0
        on_gpu = training.device.type == "cuda"
        self.loader = torch.utils.data.DataLoader(
            *(Images(folder / "train"), attributes * batch),
            **{"num_workers": os.cpu_count(), "pin_memory": on_gpu, "persistent_workers": True, "drop_last": True},
            # Forked workers would inherit an LMDB that the engine has open.
            multiprocessing_context="spawn",
        )
        self.batches = iter(())

    def step(self):
        begin = time.perf_counter()
        try:
            images, labels = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            images, labels = next(self.batches)
        self.waited += time.perf_counter() - begin
        device = self.training.device
        self.training.images.copy_(images.to(device, non_blocking=True).permute(0, 3, 1, 2))
        self.training.labels.copy_(labels.to(device, non_blocking=True).view(self.shape))
        self.training.step()


def matrix_rate(device):
    """The device's rate of products of matrices in the precision set, FLOP/s: the best of several sizes."""
    best, kind = 0.0, context.compute_type()
    for size in (2048, 4096, 8192) if device == "cuda" else (1024, 2048):
        a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        for _ in range(5):
            synchronise(device)
            begin = time.perf_counter()
            for _ in range(4):
                torch.matmul(a, b)
            synchronise(device)
            best = max(best, 4 * 2 * size**3 / (time.perf_counter() - begin))
    return best


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def pytorch_forms(device, compiles):
    """Forms of the loop in plain PyTorch, of which the best one counts: name -> settings of Training."""
    forms = {}
    for kind, grouped in (("separate", False), ("grouped", True)):
        if device == "cuda":
            forms[f"PyTorch, {kind}, graph"] = {"grouped": grouped, "graphed": True}
            if compiles:
                forms[f"PyTorch, {kind}, compiled"] = {"grouped": grouped, "compiled": True}
        else:
            forms[f"PyTorch, {kind}"] = {"grouped": grouped}
    return forms


def contestants(net, source, arguments, folder):
    """Pairs (name, object with step()) for a source, "tensors" or "LMDB"; reference loops are called PyTorch ...."""
    count, batch, device = arguments.attributes, arguments.batch, arguments.device
    compact = source == "LMDB" and not (folder / "train").exists()
    for name, form in pytorch_forms(device, not arguments.no_compile).items() if not compact else ():
        training = Training(net, count, batch, arguments.precision, device, **form)
        yield name, training if source == "tensors" else PyTorchDatabase(training, folder, count, batch)
    if source == "tensors":
        yield "engine, layer by layer", Tensors(net, PAPER_ATTRIBUTES[:count], batch, graph=False)
        yield "engine", Tensors(net, PAPER_ATTRIBUTES[:count], batch, graph=True)
    elif compact:
        yield "engine, cropped during training", Database(net, folder, cached=False)
    else:
        yield "engine, decoded every time", Database(net, folder, cached=False)
        yield "engine, cached on the device", Database(net, folder, cached=True)


def waited(contestant):
    """Seconds a contestant has waited for data so far."""
    return contestant.waited if hasattr(contestant, "waited") else loader.wait_seconds


def measure(contestant, steps, device):
    """(seconds, share of them that was waiting for data) of some steps."""
    before = waited(contestant)
    synchronise(device)
    begin = time.perf_counter()
    for _ in range(steps):
        contestant.step()
    synchronise(device)
    seconds = time.perf_counter() - begin
    return seconds, (waited(contestant) - before) / seconds


def run(net, arguments, folder, rate):
    """Measure one network and print its table."""
    images = arguments.attributes * arguments.batch
    work = nets.operations(net, arguments.attributes, arguments.batch)
    print(
        f"\ntraining of {net} in {arguments.precision}, {images} images and {work / 1e9:.0f} GFLOP an iteration",
        flush=True,
    )
    found = {}
    for source in (arguments.source,) if arguments.source else ("tensors", "LMDB"):
        rivals = dict(contestants(net, source, arguments, folder))
        for rival in rivals.values():  # compiles, fills caches, reads what is cached once
            measure(rival, max(arguments.steps, arguments.batches + 1), arguments.device)
        steps = functools.partial(measure, steps=arguments.steps, device=arguments.device)
        found[source] = interleaved(rivals, arguments.rounds, steps, warm_up=False)
        del rivals
    print(f"{'':12s}{'':34s}{'images/s':>12s}{'of rate':>10s}{'x PyTorch':>12s}{'waits':>8s}")
    for source, results in found.items():
        speeds = {n: images * arguments.steps / statistics.median(s for s, _ in r) for n, r in results.items()}
        best = max((speed for name, speed in speeds.items() if name.startswith("PyTorch")), default=float("nan"))
        for name, speed in speeds.items():
            share = statistics.median(wait for _, wait in results[name]) if source == "LMDB" else 0
            cells = f"{speed:12.1f}{work / images * speed / rate:10.0%}{speed / best:12.2f}{share:8.1%}"
            print(f"{source:12s}{name:34s}{cells}")


def main():
    parser = argparse.ArgumentParser(
        prog="make bench-gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="The device; cpu only shows that the script runs (default: cuda).",
    )
    add(
        "--attributes",
        type=int,
        default=len(PAPER_ATTRIBUTES),
        metavar="N",
        help="The number of attributes (default: 20).",
    )
    add("--batch", type=int, default=4, metavar="N", help="Images per attribute in a mini-batch (default: 4).")
    add(
        "--precision",
        choices=context.PRECISIONS,
        default="bfloat16",
        help="The arithmetic of convolutions and inner products (default: bfloat16).",
    )
    add("--rounds", type=int, default=5, metavar="N", help="The number of rounds after the warm-up (default: 5).")
    add("--steps", type=int, default=20, metavar="N", help="Iterations of each contestant in a round (default: 20).")
    add(
        "--batches",
        type=int,
        default=20,
        metavar="N",
        help="The number of mini-batches in the LMDB of noise (default: 20).",
    )
    add(
        "--lmdb",
        type=pathlib.Path,
        metavar="FOLDER",
        help="An LMDB folder of either form with as many attributes (default: noise in the stream form).",
    )
    add("--source", choices=("tensors", "LMDB"), help="Measure only with this source of images (default: both).")
    add("--no-compile", action="store_true", help="Leave out torch.compile (default: measure it too).")
    add("--net", choices=("region", "cascade"), help="Measure only this network (default: both).")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        if not torch.cuda.is_available():
            parser.error("PyTorch finds no GPU here; --device cpu shows that the script runs")
        caffe.set_device(0)
        caffe.set_mode_gpu()
    caffe.set_precision(arguments.precision)
    rate = matrix_rate(arguments.device)
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {load()}"
    print(f"{name}, PyTorch {torch.__version__}: {rate / 1e12:.2f} TFLOP/s in {arguments.precision}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        if arguments.lmdb:
            form = manifest.read(arguments.lmdb).form
            names = PAPER_ATTRIBUTES[: arguments.attributes]
            generate.write(folder, NetworkOptions(names, batch=arguments.batch, lmdb=str(arguments.lmdb), form=form))
            if form == "stream":
                (folder / "train").symlink_to((arguments.lmdb / "train").resolve())
        elif arguments.source != "tensors":
            nets.write_training(folder, arguments.attributes, arguments.batch, 1, arguments.batches)
        for net in (arguments.net,) if arguments.net else ("region", "cascade"):
            run(net, arguments, folder, rate)


if __name__ == "__main__":
    main()
