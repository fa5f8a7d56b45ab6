"""Speed and memory of training with both Caffes and with plain PyTorch, all in one run.

    make bench                                    # both networks, b = 4 and 16: hours on a slow machine
    make bench ARGS="--rounds 3 --attributes 4 --nets region --batches 4"
    make bench ARGS="--before ../earlier"         # another checkout's engine as well
    make bench ARGS="--device cuda --steps 20"    # on a GPU: the engine and plain PyTorch, recorded as CUDA graphs

A training iteration is forward, backward and the update of the weights (clipping, weight decay, momentum). The
contestants are processes whose iterations are interleaved, so that other load on the machine affects all equally. A
table per network and batch shows medians: seconds of forward and backward, of the update (a CUDA graph of plain PyTorch
holds both) and of the iteration (with its quartiles over the rounds), images per second, the share of the machine's
matrix rate (arithmetic of the convolutions over seconds of the iteration), speed relative to BVLC Caffe and to the best
plain PyTorch loop of the same precision, and peak memory. bfloat16 is left out on a machine that multiplies float32
faster. The warm-up measures the memory of each contestant. Where not all fit into the machine together, each is started
anew in every round, and its first iteration does not count.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

from caffe.context import PRECISIONS

from benchmarks.engine import nets
from benchmarks.measure import interleaved, load, ratio, run_script, show_table
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.settings import setting

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Device -> contestant -> kind of worker; "before" is the engine of the checkout that --before names.
CONTESTANTS = {
    "cpu": {
        "BVLC Caffe": "bvlc",
        "PyTorch": "pytorch",
        "PyTorch, channels first": "pytorch-channels-first",
        "engine, before": "before",
        "engine": "engine",
    },
    "cuda": {
        "PyTorch": "pytorch",
        "PyTorch, grouped": "pytorch-grouped",
        "PyTorch, grouped, compiled": "pytorch-grouped-compiled",
        "engine": "engine",
    },
}


def checkout_fault(path):
    return None if pathlib.Path(path, "engine/caffe").is_dir() else f"must be a checkout's folder, not {path}"


@dataclasses.dataclass
class Settings:
    """What is measured."""

    nets: list[str] = setting(
        factory=lambda: ["region", "cascade"], help="The networks", choices=("region", "cascade"), shown="both"
    )
    attributes: int = setting(20, "The number of attributes", least=1, most=len(PAPER_ATTRIBUTES))
    batches: list[int] = setting(
        factory=lambda: [4, 16], help="Images per attribute in a mini-batch", least=2, even=True, shown="4,16"
    )
    rounds: int = setting(8, "Rounds after the warm-up", least=1)
    steps: int = setting(1, "Iterations of each contestant in a round; take more on a GPU", least=1)
    threads: int = setting(os.cpu_count(), "CPU threads of each contestant", least=1, shown="one per core")
    precisions: list[str] = setting(
        factory=list, help="The precisions", choices=PRECISIONS, shown="float32 and bfloat16"
    )
    device: str = setting("cpu", "The device", choices=tuple(CONTESTANTS))
    before: str = setting(
        "",
        "Another checkout of this project, whose engine is measured on the CPU too",
        metavar="FOLDER",
        fault=checkout_fault,
    )


class Worker:
    """A contestant: a process that is started when it is first needed. stays: whether it is kept between steps."""

    def __init__(self, settings, kind, precision, net="none", batch=0, solver="none"):
        checkout, kind = (pathlib.Path(settings.before), "engine") if kind == "before" else (REPOSITORY, kind)
        python = REPOSITORY / ".caffe/bin/python" if kind == "bvlc" else sys.executable
        paths = [checkout.resolve()] + [checkout.resolve() / "engine"] * (kind != "bvlc")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(settings.threads))
        self.environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        words = kind, precision, net, settings.attributes, batch, solver, settings.device, settings.steps
        self.command = [*map(str, (python, checkout / "benchmarks/engine/workers.py", *words))]
        self.process, self.stays = None, False

    def step(self):
        """(seconds of the passes, of the update, peak MiB, answer) of one iteration."""
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": self.environment}
            # Ctrl-C is for the parent, which then shows what it has.
            self.process = subprocess.Popen(self.command, start_new_session=True, **pipes)
            self._iterate()
        found = self._iterate()
        if not self.stays:
            self.close()
        return found

    def _iterate(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            killed = "killed, probably for lack of memory" if self.process.wait() == -signal.SIGKILL else "ended"
            raise SystemExit(f"error: {' '.join(self.command[2:])}: {killed}")
        passes, update, *_, memory, answer = map(float, line.split())  # earlier versions say more
        return passes, update, memory, answer

    def close(self):
        if self.process:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process = None


def keep(workers, needed):
    """Keep the processes of all workers from now on, if what they need together, in MiB, fits into memory."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024
    for worker in workers:
        worker.stays = needed < free
    if needed >= free:
        words = f"{needed:.0f} MiB are needed, {free:.0f} are free, so each contestant is started anew in every round"
        print(words, file=sys.stderr, flush=True)


def useful_precisions(settings):
    """The precisions that are asked for, or that are worth measuring on this machine."""
    if settings.precisions:
        return settings.precisions
    rates = {precision: Worker(settings, "rate", precision).step()[-1] for precision in ("float32", "bfloat16")}
    if rates["bfloat16"] > rates["float32"]:
        return list(rates)
    print(f"bfloat16 is left out: {rates['bfloat16']:.1f} GFLOP/s with it, {rates['float32']:.1f} in float32")
    return ["float32"]


def measure(settings, net, batch, precisions):
    """Run the contestants on one network and batch, and print their table."""
    kinds = CONTESTANTS[settings.device]
    rivals = {
        name if precision == "float32" else f"{name}, {precision}": (kind, precision)
        for precision in precisions
        for name, kind in kinds.items()
        if (kind != "before" or settings.before) and kind != "bvlc"
    }
    if "BVLC Caffe" in kinds:
        rivals = {"BVLC Caffe": ("bvlc", "float32"), **rivals}

    def after_round(number, found):
        print(f"{net}, b = {batch}: round {number}/{settings.rounds}, {load()}", file=sys.stderr, flush=True)
        if not number:
            keep(workers.values(), needed=sum(memory for *_, memory, _ in found.values()))

    with tempfile.TemporaryDirectory() as folder:
        solver = nets.write_input_solver(pathlib.Path(folder), net, PAPER_ATTRIBUTES[: settings.attributes], batch)
        workers = {name: Worker(settings, *rival, net, batch, solver) for name, rival in rivals.items()}
        workers.update((precision, Worker(settings, "rate", precision)) for precision in precisions)
        try:
            results = interleaved(workers, settings.rounds, Worker.step, after_round=after_round)
        except KeyboardInterrupt:
            raise SystemExit("error: stopped before one round had ended")
        finally:
            for worker in workers.values():
                worker.close()
    rates = {precision: max(answer for *_, answer in results[precision]) for precision in precisions}
    show_results(net, settings.attributes, batch, rivals, results, rates)


def show_results(net, attributes, batch, rivals, results, rates):
    """Print the table of one network and batch.

    rivals: dict of contestant -> (kind, precision); results: dict of contestant -> list of what Worker.step returns
    rates: GFLOP/s of products of matrices by precision
    """
    images, work = attributes * batch, nets.operations(net, attributes, batch) / 1e9
    walls = {name: [passes + update for passes, update, *_ in results[name]] for name in rivals}
    best = {}  # the fastest loop of plain PyTorch in each precision
    for name, (kind, precision) in rivals.items():
        if kind.startswith("pytorch"):
            best[precision] = min(best.get(precision, name), name, key=lambda name: statistics.median(walls[name]))
    rows = []
    for name, (_, precision) in rivals.items():
        passes, update, memory, _ = (statistics.median(values) for values in zip(*results[name]))
        several = walls[name] * (2 if len(walls[name]) == 1 else 1)
        low, whole, high = statistics.quantiles(several, method="inclusive")
        rows.append(
            [
                name,
                *(f"{seconds:.4g}" for seconds in (passes, update, whole)),
                f"{low:.4g}-{high:.4g}",
                f"{images / whole:.1f}",
                f"{work / whole / rates[precision]:.0%}" if precision in rates else "",
                f"{ratio(walls['BVLC Caffe'], walls[name]):.2f}" if "BVLC Caffe" in walls else "",
                f"{ratio(walls[best[precision]], walls[name]):.2f}" if precision in best else "",
                f"{memory:.0f}",
            ]
        )
    print(f"\n{net}, {attributes} attributes, b = {batch}: {images} images and {work:.0f} GFLOP an iteration; {load()}")
    print(f"the machine: {', '.join(f'{rate:.0f} GFLOP/s ({name})' for name, rate in rates.items())}\n")
    heads = "", "fwd+bwd s", "update s", "whole s", "quartiles", "images/s", "of rate", "x BVLC", "x PyTorch", "MiB"
    show_table(heads, rows)


def main(settings):
    print(f"{settings.threads} threads, {load()}", flush=True)
    precisions = useful_precisions(settings)
    for net in settings.nets:
        for batch in settings.batches:
            measure(settings, net, batch, precisions)


if __name__ == "__main__":
    run_script(main, Settings)
