"""Speed and memory of both engines and of plain PyTorch, all in one run.

    make bench                              # everything, about 10 minutes on 2 idle cores
    make bench BENCH="--rounds 3 --attributes 4 --only speed"

Speed: forward and backward of the region net. The contestants are processes whose passes are interleaved, so that what
else the machine does falls on all alike; a table shows each one's best and median and the median of the rounds' own
ratios. Memory: peak of `caffe train` on the cascade, two iterations and a snapshot.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks.engine import nets
from benchmarks.measure import interleaved, load, peak, ratio
from models import generate

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PYTHON = {"bvlc": REPOSITORY / ".caffe/bin/python"}
PROGRAMS = {"BVLC": REPOSITORY / ".caffe/bin/caffe", "engine": REPOSITORY / ".venv/bin/caffe"}
# (name, kind of worker, precision)
CONTESTANTS = (
    ("BVLC Caffe", "bvlc", "float32"),
    ("PyTorch", "pytorch", "float32"),
    ("PyTorch, channels first", "pytorch-channels-first", "float32"),
    ("engine", "engine", "float32"),
    ("PyTorch, bfloat16", "pytorch", "bfloat16"),
    ("PyTorch, bfloat16, channels first", "pytorch-channels-first", "bfloat16"),
    ("engine, bfloat16", "engine", "bfloat16"),
)


class Worker:
    """A contestant's process."""

    def __init__(self, kind, precision, attributes, batch, prototxt, threads):
        python = PYTHON.get(kind, sys.executable)
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(REPOSITORY), str(REPOSITORY / "engine")][: 1 + (kind != "bvlc")]
        )
        command = [str(python), str(pathlib.Path(__file__).with_name("workers.py")), kind, precision]
        self.process = subprocess.Popen(
            [*command, str(attributes), str(batch), str(prototxt)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # Ctrl-C is for the parent, which then shows what it has.
            start_new_session=True,
        )

    def step(self):
        """(seconds of wall clock, of processor, answer) of one pass."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("error: a worker ended; what it said stands above")
        return tuple(map(float, line.split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def speed(attributes, batch, rounds, threads):
    """Run and print the table of speeds."""
    names = generate.PAPER_ATTRIBUTES[:attributes]
    with tempfile.TemporaryDirectory() as folder:
        prototxt = pathlib.Path(folder) / "region.prototxt"
        prototxt.write_text(nets.input_net("region", names, batch))
        workers = {
            name: Worker(kind, precision, attributes, batch, prototxt, threads) for name, kind, precision in CONTESTANTS
        }
        rates = {p: Worker("rate", p, attributes, batch, prototxt, threads) for p in ("float32", "bfloat16")}

        def show(number, _):
            print(f"round {number}/{rounds}, {load()}", file=sys.stderr, flush=True)

        try:
            results = interleaved({**workers, **rates}, rounds, Worker.step, after_round=show)
        except KeyboardInterrupt:
            raise SystemExit("error: stopped before one round had ended")
        for worker in (*workers.values(), *rates.values()):
            worker.close()
    show_speed(
        {name: results[name] for name in workers},
        {precision: max(answer for *_, answer in results[precision]) for precision in rates},
        nets.operations("region", attributes, batch),
        batch * attributes,
    )


def show_speed(times, rates, work, images):
    """Print the table."""
    walls = {name: [wall for wall, *_ in found] for name, found in times.items()}
    best_loop = {
        precision: min(
            (name for name, kind, p in CONTESTANTS if kind.startswith("pytorch") and p == precision),
            key=lambda name: statistics.median(walls[name]),
        )
        for precision in rates
    }
    print(f"\nforward + backward of the region net, {images} images, {work / 1e9:.0f} GFLOP")
    print(f"matrix rate of the machine: {rates['float32']:.0f} (float32), {rates['bfloat16']:.0f} (bfloat16) GFLOP/s\n")
    heads = ("", "best s", "median s", "CPU s", "images/s", "of rate", "x BVLC", "x PyTorch")
    print(f"{heads[0]:32s}" + "".join(f"{head:>10s}" for head in heads[1:]))
    for name, _, precision in CONTESTANTS:
        best, median = min(walls[name]), statistics.median(walls[name])
        row = [
            f"{best:.2f}",
            f"{median:.2f}",
            f"{statistics.median(processor for _, processor, _ in times[name]):.2f}",
            f"{images / median:.1f}",
            f"{work / 1e9 / best / rates[precision]:.0%}",
            f"{ratio(walls['BVLC Caffe'], walls[name]):.2f}",
            f"{ratio(walls[best_loop[precision]], walls[name]):.2f}",
        ]
        print(f"{name:32s}" + "".join(f"{cell:>10s}" for cell in row))


def memory(attributes, batch, threads):
    """Run and print the peaks of memory."""
    print(f"\npeak memory of `caffe train` on the cascade, {attributes} attributes, b = {batch}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        nets.write_training(folder, attributes, batch, max_iter=2)
        peaks = {}
        for name, program, *flags in (
            ("BVLC Caffe", PROGRAMS["BVLC"]),
            ("engine", PROGRAMS["engine"]),
            ("engine, bfloat16", PROGRAMS["engine"], "-precision", "bfloat16"),
        ):
            command = [str(program), "train", "-solver", str(folder / "cascade/solver.prototxt"), *flags]
            environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
            environment.pop("PYTHONPATH", None)
            try:
                peaks[name] = peak(command, subprocess.PIPE, env=environment, cwd=REPOSITORY)
            except subprocess.CalledProcessError as error:
                raise SystemExit(f"error: {name}: {error.stderr.decode()[-500:]}")
            print(f"{name:32s}{peaks[name]:10.0f} MiB{peaks[name] / peaks['BVLC Caffe']:10.2f} x BVLC", flush=True)


def main():
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--attributes", type=int, default=len(generate.PAPER_ATTRIBUTES), help="A (default 20)")
    add("--batch", type=int, default=4, help="b, images per attribute (default 4)")
    add("--rounds", type=int, default=5, help="rounds of speed after the warm-up (default 5)")
    add("--threads", type=int, default=os.cpu_count(), help="of every contestant (default: all cores)")
    add("--only", choices=("speed", "memory"), help="measure one of them")
    arguments = parser.parse_args()
    print(f"{arguments.threads} threads, {load()}")
    if arguments.only != "memory":
        speed(arguments.attributes, arguments.batch, arguments.rounds, arguments.threads)
    if arguments.only != "speed":
        memory(arguments.attributes, arguments.batch, arguments.threads)


if __name__ == "__main__":
    main()
