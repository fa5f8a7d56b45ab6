"""What all measurements share: options, time, peak memory, medians of interleaved rounds, load of the machine, tables.

Contestants run one after the other, round after round, every other round in reverse order, so that a change of the
machine's load affects all of them equally. The first round warms up and does not count.
"""

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time

from data_prep.errors import DataError
from data_prep.settings import add_options, given

# A process between this one and a command, because the system has one figure for all children of a process.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run_script(work, cls):
    """Call work(settings) with an object of a dataclass as the command line sets its fields: the main of a script.

    A field without a default is an argument of the command line, any other one an option. Errors end the program.
    """
    main = sys.modules["__main__"]
    program = f"python -m {main.__spec__.name.removesuffix('.__main__')}"
    parser = argparse.ArgumentParser(
        prog=program, description=main.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    optional = []
    for field in dataclasses.fields(cls):
        if field.default is field.default_factory is dataclasses.MISSING:
            parser.add_argument(field.name, help=f"{field.metadata['help']}.", choices=field.metadata.get("choices"))
        else:
            optional.append(field.name)
    add_options(parser, cls, optional)
    try:
        work(cls(**given(parser.parse_args(), cls)))
    except (DataError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


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


def peak(command):
    """Peak memory of a command in MiB, of the largest of its processes. Raises CalledProcessError."""
    words = [sys.executable, "-c", PEAK, *map(str, command)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(done.stdout) / 1024


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


def show_table(heads, rows):
    """Print a table of texts, the first column from the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    for first, *cells in (heads, *rows):
        print("  ".join([first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells, widths[1:]))]), flush=True)
