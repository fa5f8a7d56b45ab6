"""Images per second of training with several ranks on the CPU, one thread each.

    python -m benchmarks.engine.ranks                  # region network, six attributes, width 1/4, b = 4; 1 and 2 ranks
    python -m benchmarks.engine.ranks --ranks 1,2,4 --width 1 --rounds 5

Every rank trains on its own mini-batch of noise, and gradients are averaged before each update. The numbers of ranks
take turns, round after round; each training logs every iteration, and the iterations after the first count.
"""

import argparse
import fractions
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

from benchmarks.engine import nets
from benchmarks.measure import interleaved, load
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.start import REPOSITORY

LAUNCH = "import sys; from caffe import cli, parallel; n = int(sys.argv.pop(1)); sys.exit(parallel.launch(n))"
SPEED = re.compile(r"\(([\d.]+) iter/s")


def iterations_per_second(ranks, solver):
    """The rate of a training by so many ranks, the median of its iterations. Raises CalledProcessError."""
    paths = os.pathsep.join([REPOSITORY, f"{REPOSITORY}/engine"])
    environment = dict(os.environ, OMP_NUM_THREADS="1", GLOG_minloglevel="0", PYTHONPATH=paths)
    command = [sys.executable, "-c", LAUNCH, str(ranks), "train", "-solver", str(solver)]
    log = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stderr
    return statistics.median(map(float, SPEED.findall(log)[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--net", choices=("region", "cascade"), default="region", help="The network to train (default: region).")
    add("--attributes", type=int, default=6, metavar="N", help="The number of attributes (default: 6).")
    add("--batch", type=int, default=4, metavar="N", help="Images per attribute and rank (default: 4).")
    add("--width", default="1/4", metavar="SHARE", help="The share of table 1's channels (default: 1/4).")
    add("--ranks", default="1,2", metavar="N,N,...", help="Numbers of ranks, separated by commas (default: 1,2).")
    add("--rounds", type=int, default=3, metavar="N", help="Trainings of each number of ranks (default: 3).")
    add("--iterations", type=int, default=20, metavar="N", help="Iterations of a training (default: 20).")
    arguments = parser.parse_args()
    names = PAPER_ATTRIBUTES[: arguments.attributes]
    with tempfile.TemporaryDirectory() as folder:
        size = arguments.batch, float(fractions.Fraction(arguments.width)), arguments.iterations
        solver = nets.write_input_solver(pathlib.Path(folder), arguments.net, names, *size)
        counts = {count: count for count in map(int, arguments.ranks.split(","))}
        found = interleaved(counts, arguments.rounds, lambda n: iterations_per_second(n, solver), warm_up=False)
    images = arguments.attributes * arguments.batch
    what = f"{arguments.net}, {arguments.attributes} attributes, width {arguments.width}, b = {arguments.batch}"
    print(f"{what}, by number of ranks; {load()}")
    first = None
    for count, rates in found.items():
        speed = statistics.median(rates) * images * count
        first = first or speed
        spread = f"{min(rates) * images * count:.1f}-{max(rates) * images * count:.1f}"
        print(f"{count:2d}: {speed:.1f} images/s ({spread}), {speed / first:.2f} times", flush=True)


if __name__ == "__main__":
    main()
