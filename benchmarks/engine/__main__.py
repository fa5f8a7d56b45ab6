"""Speed and memory of training with both Caffes and with plain PyTorch, all in one run.

    make bench                                    # both networks, b = 4 and 16: hours on a slow machine
    make bench ARGS="--rounds 3 --attributes 4 --nets region --batches 4"
    make bench ARGS="--before ../earlier"         # another checkout's engine as well

A training iteration is forward, backward and the update of the weights (clipping, weight decay, momentum). The
contestants are processes whose iterations are interleaved, so that other load on the machine affects all equally. A
table per network and batch shows medians: seconds of forward and backward, of the update and of the iteration (with
its quartiles over the rounds), images per second, the share of the machine's matrix rate (arithmetic of the
convolutions over seconds of the iteration), the share of its memory bandwidth that the update reaches (24 bytes per
weight: gradients read twice, weights and momentum read and written), speed relative to BVLC Caffe and to the best plain
PyTorch loop of the same precision, and peak memory. bfloat16 is left out on a machine that multiplies float32 faster.
The warm-up measures the memory of each contestant. Where not all fit into the machine together, each is started anew in
every round, and its first iteration does not count.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

from benchmarks.engine import nets
from benchmarks.measure import interleaved, load, ratio
from data_prep.attributes import PAPER_ATTRIBUTES

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PYTHON = {"bvlc": REPOSITORY / ".caffe/bin/python"}
NETS = ("region", "cascade")
# (name, kind of worker, precision); "before" is the engine of the checkout that --before names
CONTESTANTS = (
    ("BVLC Caffe", "bvlc", "float32"),
    ("PyTorch", "pytorch", "float32"),
    ("PyTorch, channels first", "pytorch-channels-first", "float32"),
    ("engine, before", "before", "float32"),
    ("engine", "engine", "float32"),
    ("PyTorch, bfloat16", "pytorch", "bfloat16"),
    ("PyTorch, bfloat16, channels first", "pytorch-channels-first", "bfloat16"),
    ("engine, bfloat16, before", "before", "bfloat16"),
    ("engine, bfloat16", "engine", "bfloat16"),
)
# Of gradients, weights and momentum that an update must at least read and write, per weight.
UPDATE_BYTES = 24


class Worker:
    """A contestant: a process that is started when it is first needed. stays: whether it is kept between steps."""

    def __init__(self, kind, precision, threads, net="none", attributes=0, batch=0, solver="none", before=None):
        python = PYTHON.get(kind, sys.executable)
        checkout, kind = (before, "engine") if kind == "before" else (REPOSITORY, kind)
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
        places = [str(checkout), str(checkout / "engine")][: 1 + (kind != "bvlc")]
        self.environment["PYTHONPATH"] = os.pathsep.join(places)
        command = [str(python), str(checkout / "benchmarks/engine/workers.py"), kind, precision]
        self.command = [*command, net, str(attributes), str(batch), str(solver)]
        self.process, self.stays = None, False

    def step(self):
        """(seconds of the passes, of the update, of processor time, peak MiB, answer) of one iteration."""
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
        return tuple(map(float, line.split()))

    def close(self):
        if self.process:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process = None


def measure(net, attributes, batch, rounds, threads, precisions, before=None):
    """Run the contestants on one network and batch, and print their table."""
    rivals = [rival for rival in CONTESTANTS if rival[2] in precisions or rival[1] == "bvlc"]
    rivals = [rival for rival in rivals if before or rival[1] != "before"]
    with tempfile.TemporaryDirectory() as folder:
        solver = nets.write_input_solver(pathlib.Path(folder), net, PAPER_ATTRIBUTES[:attributes], batch)
        workers = {
            name: Worker(kind, precision, threads, net, attributes, batch, solver, before)
            for name, kind, precision in rivals
        }
        machine = {precision: Worker("rate", precision, threads) for precision in {r[2] for r in rivals}}
        workers.update(machine, copy=Worker("copy", "float32", threads))

        def after_round(number, found):
            print(f"{net}, b = {batch}: round {number}/{rounds}, {load()}", file=sys.stderr, flush=True)
            if not number:
                keep(workers.values(), needed=sum(memory for *_, memory, _ in found.values()))

        try:
            results = interleaved(workers, rounds, Worker.step, after_round=after_round)
        except KeyboardInterrupt:
            raise SystemExit("error: stopped before one round had ended")
        finally:
            for worker in workers.values():
                worker.close()
    rates = {name: max(answer for *_, answer in results[name]) for name in (*machine, "copy")}
    print(f"\n{net}, {attributes} attributes, b = {batch}: {batch * attributes} images an iteration; {load()}")
    show_table({rival: results[rival[0]] for rival in rivals}, rates, net, attributes, batch)


def keep(workers, needed):
    """Keep the processes of all workers from now on, if what they need together, in MiB, fits into memory."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024
    for worker in workers:
        worker.stays = needed < free
    if needed >= free:
        words = f"{needed:.0f} MiB are needed, {free:.0f} are free, so each contestant is started anew in every round"
        print(words, file=sys.stderr, flush=True)


def show_table(results, rates, net, attributes, batch):
    """Print the table of one network and batch.

    results: dict of contestant -> list of what Worker.step returns; rates: GFLOP/s per precision, and GB/s of "copy"
    """
    work, images = nets.operations(net, attributes, batch), attributes * batch
    traffic = UPDATE_BYTES * nets.parameters(net, attributes)
    walls = {rival: [passes + update for passes, update, *_ in found] for rival, found in results.items()}
    best_loop = {
        precision: min(
            (rival for rival in results if rival[1].startswith("pytorch") and rival[2] == precision),
            key=lambda rival: statistics.median(walls[rival]),
        )
        for precision in {rival[2] for rival in results if rival[1].startswith("pytorch")}
    }
    bvlc = CONTESTANTS[0]
    measured = ", ".join(f"{rate:.0f} GFLOP/s ({name})" for name, rate in rates.items() if name != "copy")
    print(f"{work / 1e9:.0f} GFLOP; the machine: {measured}, copy {rates['copy']:.1f} GB/s\n")
    heads = "fwd+bwd s,update s,whole s,quartiles,images/s,of rate,of copy,x BVLC,x PyTorch,MiB".split(",")
    print(f"{'':34s}" + "".join(f"{head:>14s}" for head in heads))
    for rival, found in results.items():
        passes, update, _, memory, _ = (statistics.median(values) for values in zip(*found))
        whole = statistics.median(walls[rival])
        low, _, high = statistics.quantiles(walls[rival], method="inclusive") if len(found) > 1 else [whole] * 3
        row = [
            f"{passes:.3f}",
            f"{update:.3f}",
            f"{whole:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{images / whole:.1f}",
            f"{work / 1e9 / whole / rates[rival[2]]:.0%}",
            f"{traffic / 1e9 / update / rates['copy']:.0%}",
            f"{ratio(walls[bvlc], walls[rival]):.2f}",
            f"{ratio(walls[best_loop[rival[2]]], walls[rival]):.2f}" if rival[2] in best_loop else "",
            f"{memory:.0f}",
        ]
        print(f"{rival[0]:34s}" + "".join(f"{cell:>14s}" for cell in row), flush=True)


def useful_precisions(threads):
    """The precisions worth measuring on this machine."""
    rates = {}
    for precision in ("float32", "bfloat16"):
        worker = Worker("rate", precision, threads)
        rates[precision] = worker.step()[-1]
        worker.close()
    if rates["bfloat16"] > rates["float32"]:
        return tuple(rates)
    print(
        f"bfloat16 is left out: this machine computes {rates['bfloat16']:.1f} GFLOP/s with it, "
        f"{rates['float32']:.1f} in float32"
    )
    return ("float32",)


def numbers(text):
    """ "4,16" -> [4, 16]. Raises ValueError."""
    values = [int(word) for word in text.split(",")]
    if not all(value >= 2 and value % 2 == 0 for value in values):
        raise ValueError(text)
    return values


def main():
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--nets",
        default=",".join(NETS),
        metavar="NAMES",
        help="The networks to train, separated by commas (default: region,cascade).",
    )
    add(
        "--attributes",
        type=int,
        default=len(PAPER_ATTRIBUTES),
        metavar="N",
        help="The number of attributes (default: 20).",
    )
    add(
        "--batches",
        type=numbers,
        default=[4, 16],
        metavar="N,N,...",
        help="Images per attribute in a mini-batch, even numbers, separated by commas (default: 4,16).",
    )
    add(
        "--rounds",
        type=int,
        default=8,
        metavar="N",
        help="Iterations of each contestant after the warm-up (default: 8).",
    )
    add(
        "--threads",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="The number of CPU threads of each contestant (default: one per core).",
    )
    add("--precision", choices=("float32", "bfloat16"), help="Only BVLC Caffe and this precision (default: both).")
    add(
        "--before",
        type=pathlib.Path,
        metavar="FOLDER",
        help="Another checkout of this project, whose engine is measured as well (default: none).",
    )
    arguments = parser.parse_args()
    chosen = arguments.nets.split(",")
    if not set(chosen) <= set(NETS):
        parser.error(f"--nets takes {', '.join(NETS)}, not {arguments.nets}")
    if arguments.before and not (arguments.before / "engine/caffe").is_dir():
        parser.error(f"--before takes the folder of a checkout, and {arguments.before} has no engine/caffe")
    print(f"{arguments.threads} threads, {load()}", flush=True)
    precisions = (arguments.precision,) if arguments.precision else useful_precisions(arguments.threads)
    for net in chosen:
        for batch in arguments.batches:
            size = arguments.attributes, batch
            before = arguments.before and arguments.before.resolve()
            measure(net, *size, arguments.rounds, arguments.threads, precisions, before)


if __name__ == "__main__":
    main()
