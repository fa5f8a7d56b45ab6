"""Running `caffe train`: it is started, watched through its log, and stopped with a snapshot on request.

The program writes its log to a file instead of a pipe, so the log is complete however this process ends. When this
process ends, the kernel signals the program to stop with a snapshot. Ctrl-C, SIGTERM and a closed terminal do the same;
under nohup a closed terminal stops nothing.
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


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a training ended.

    code: its exit status, negative for a signal; asked: whether a signal asked this process to stop it
    broken: (iteration, loss) of the first loss that was not finite, or None
    """

    code: int
    asked: bool
    broken: tuple = None


def stopping():
    """The signals that stop a training: SIGHUP too, unless it is ignored, as under nohup."""
    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


def run(command, log, progress, environment, keep=(), folder=None):
    """Run a training to its end; returns an Ended.

    command: list of words; log: Path, appended to; progress: Progress, which gets every line; keep: descriptors that
    the program inherits; folder: where it runs
    A loss that is not finite ends the training at once, without a snapshot of broken weights.
    """
    asked = []

    def stop(number, frame):
        asked.append(number)

    with contextlib.ExitStack() as stack:
        for number in stopping():
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
            if len(asked) > passed:  # passed on as SIGINT, which makes both Caffes stop with a snapshot
                passed = len(asked)
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
            time.sleep(0.05)


def _follow(lines, rest, progress):
    """Pass the complete lines that were added to a log to progress; returns the incomplete line at the end."""
    text = rest + lines.read()
    *whole, rest = text.split("\n")
    for line in whole:
        progress.line(line)
    return rest


def _stop_with_parent():
    """Called in the new process: have it stop with a snapshot when the process that started it ends."""
    LIBC.prctl(PARENT_DEATH_SIGNAL, signal.SIGINT)
    # Shells start background jobs with SIGINT ignored.
    for number in stopping():
        signal.signal(number, signal.SIG_DFL)


def last_words(log):
    """The line of a failed program's log that names the error, else its last line."""
    with open(log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 3000))
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    failed = [line for line in lines if "Check failed" in line]
    return (errors or failed or lines or ["it printed nothing"])[-1].strip()
