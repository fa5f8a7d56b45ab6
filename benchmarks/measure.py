"""What all measurements share: time, processor time, peak memory, medians of interleaved rounds, load of the machine.

Contestants run one after the other, round after round, every other round in reverse order, so that a change of the
machine's load affects all of them equally. The first round warms up and does not count.
"""

import os
import resource
import statistics
import subprocess
import sys
import time


def load():
    """The load of the machine, as text."""
    return f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


def seconds(work):
    """Wall-clock seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def command_seconds(command, **options):
    """(wall-clock, processor) seconds of a command. Raises CalledProcessError."""
    before = os.times()
    wall = seconds(lambda: subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, **options))
    after = os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def peak(command, stderr=subprocess.DEVNULL, **options):
    """Peak memory of a command in MiB, of the largest of its processes. Raises CalledProcessError.

    stderr, options: as of subprocess.run
    """
    # A process in between, as the system has one figure for all children of a process.
    words = [sys.executable, __file__, *map(str, command)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=stderr, **options)
    return int(done.stdout.split()[-1]) / 1024


def interleaved(contestants, rounds, measure=seconds, warm_up=True, after_round=None):
    """What `measure` finds of each contestant in every round: dict of name -> list.

    contestants: dict of name -> what `measure` takes; after_round: a function that is given (number, results) after
    each one, the warm-up, 0, included. After Ctrl-C the results of the whole rounds so far are returned. Raises
    KeyboardInterrupt where there are none.
    """
    results = {name: [] for name in contestants}
    try:
        for number in range(0 if warm_up else 1, rounds + 1):
            names = list(contestants)[:: 1 if number % 2 else -1]
            found = {name: measure(contestants[name]) for name in names}
            if number:
                for name, value in found.items():
                    results[name].append(value)
            if after_round is not None:
                after_round(number, found)
    except KeyboardInterrupt:
        if not any(results.values()):
            raise
        print("stopped; of the rounds so far:", file=sys.stderr)
    return results


def ratio(slow, fast):
    """Median over the rounds of how many times as fast as `slow` one was: lists of seconds."""
    return statistics.median(a / b for a, b in zip(slow, fast))


def main():
    """Run a command; print the peak memory of the largest of its processes in KiB. For `peak`."""
    code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return code


if __name__ == "__main__":
    sys.exit(main())
