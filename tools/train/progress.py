"""Show the log of `caffe train`, read from standard input, as progress: iterations, rate, loss, time left.

    .caffe/bin/caffe train -solver solver/region.prototxt 2>&1 | tee -i train.log | python3 tools/train/progress.py

On a terminal one line is rewritten; elsewhere a line per reported loss. Tests, snapshots and errors are
always shown. Ctrl-C is left to the training, which ends with a snapshot; this ends with it. Standard library only.
"""

import re
import signal
import sys

LOSS = re.compile(r"Iteration (\d+) \((\S+) iter/s.*loss = (\S+)")
LAST = re.compile(r"^max_iter: (\d+)")
STATE = re.compile(r"Snapshotting solver state to \w+(?: proto)? file (\S+)")
STOPPED = "Optimization stopped early"
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
    # The first rate, also of a training that goes on, is none: 0 or infinite.
    known = iteration and 0 < rate < float("inf")
    left = f", {max(last - iteration, 0) / rate / 60:.1f} min left" if known else ""
    return f"[{'#' * done}{' ' * (WIDTH - done)}] {iteration}/{last}, loss {loss}{left}"


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminal = sys.stderr.isatty()
    last, pending, state = 0, False, ""
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
        elif found := STATE.search(line):
            state = found[1]
        elif STOPPED in line and state:
            print(f'stopped; the same command with TRAIN="-snapshot {state}" goes on', file=sys.stderr)
    if pending:
        print(file=sys.stderr)


if __name__ == "__main__":
    main()
