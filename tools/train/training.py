"""One run of `caffe train`: started, watched through its log, stopped with a snapshot when a user asks for that.

The program writes its log into a file, not into a pipe: however this process ends, the training keeps its log, and it
gets a signal from the kernel to stop with a snapshot. Ctrl-C, SIGTERM and a closed terminal have the same effect.
"""

import contextlib
import ctypes
import dataclasses
import os
import signal
import subprocess
import time

LIBC = ctypes.CDLL(None)
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a training ended: its exit code, negative for a signal; whether a signal asked this process to stop it; and
    (iteration, loss) of the first loss that was not finite, or None."""

    code: int
    asked: bool
    broken: tuple = None


def run(command, log, progress, environment, keep=(), folder=None):
    """Run a training to its end: an Ended.

    command: list of words; log: Path, appended to; progress: Progress, which gets every line; keep: descriptors that
    the program inherits; folder: where it runs
    A loss that is not finite ends the training at once, without a snapshot of broken weights.
    """
    asked = []

    def stop(number, frame):
        asked.append(number)

    with contextlib.ExitStack() as stack:
        for number in STOPPING:
            stack.callback(signal.signal, number, signal.signal(number, stop))
        output = stack.enter_context(open(log, "ab"))
        start = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=keep,
            cwd=folder,
            preexec_fn=_stop_with_parent,
        )
        lines = stack.enter_context(open(log, encoding="utf-8", errors="replace"))
        lines.seek(start)
        passed, rest = 0, ""
        while True:
            code = process.poll()
            rest = _follow(lines, rest, progress)
            if code is not None:
                return Ended(code, bool(asked), progress.broken)
            if progress.broken and code is None:
                process.kill()
            if len(asked) > passed:  # passed on, as the signal that means the same to both Caffes
                passed = len(asked)
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
            time.sleep(0.05)


def _follow(lines, rest, progress):
    """Give the whole lines that were added to a log to progress; returns what follows the last of them."""
    text = rest + lines.read()
    *whole, rest = text.split("\n")
    for line in whole:
        progress.line(line)
    return rest


def _stop_with_parent():
    """In the program's process: stop with a snapshot when the process that started it is gone."""
    LIBC.prctl(PARENT_DEATH_SIGNAL, signal.SIGINT)
    # The shell leaves Ctrl-C ignored for jobs in the background.
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)


def last_words(log, start_bytes=3000):
    """What a program that failed said last: one line."""
    with open(log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - start_bytes))
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")] or [
        line for line in lines if "Check failed" in line
    ]
    return (errors or lines or ["it said nothing"])[-1].strip()
