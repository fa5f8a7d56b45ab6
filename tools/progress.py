"""Show the log of `caffe train`, read from standard input, as progress: iterations, rate, loss, time left.

    .caffe/bin/caffe train -solver solver/region.prototxt 2>&1 | tee train.log | python3 tools/progress.py

On a terminal one line is rewritten; elsewhere a line per reported loss. Tests, snapshots and errors are
always shown. Standard library only.
"""

import re
import sys

LOSS = re.compile(r"Iteration (\d+) \(([\d.e+-]+) iter/s.*loss = (\S+)")
LAST = re.compile(r"^max_iter: (\d+)")
SHOWN = re.compile(
    r"Test net output|Testing net|Snapshotting to binary|Restoring|Resuming|Early exit|Check failed|Aborted"
    r"|terminate called|^error:|^[FE]\d{4} |Traceback|what\(\)"
)
PREFIX = re.compile(r"^[IWEF]\d{4} \S+ +\d+ \S+\] ")
WIDTH = 30


def describe(iteration, rate, loss, last):
    """One line of progress."""
    if not last:
        return f"iteration {iteration}, loss {loss}"
    done = int(WIDTH * min(iteration / last, 1))
    left = f", {max(last - iteration, 0) / rate / 60:.1f} min left" if iteration else ""
    return f"[{'#' * done}{' ' * (WIDTH - done)}] {iteration}/{last}, loss {loss}{left}"


def main():
    terminal = sys.stderr.isatty()
    last, pending = 0, False
    for line in sys.stdin:
        if found := LAST.match(line):
            last = int(found[1])
        elif found := LOSS.search(line):
            text = describe(int(found[1]), float(found[2]), found[3], last)
            print(f"\r{text}\033[K" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
            pending = terminal
        elif SHOWN.search(line):
            print(("\n" if pending else "") + PREFIX.sub("", line).strip(), file=sys.stderr, flush=True)
            pending = False
    if pending:
        print(file=sys.stderr)


if __name__ == "__main__":
    main()
