"""Running `caffe train`: it is started, watched through its log, and stopped with a snapshot on request.

The program writes its log to a file instead of a pipe, so the log is complete however this process ends. When this
process ends, the kernel signals the program to stop with a snapshot. Ctrl-C, SIGTERM and a closed terminal do the same;
under nohup a closed terminal stops nothing.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

from tqdm import tqdm

from tools.train import caffe_log

LIBC = ctypes.CDLL(None)
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
VALIDATION = ("accuracy_attribute", "accuracy_region")  # outputs of validation of which the last is shown


def stopping():
    """The signals that stop a training: SIGHUP too, unless it is ignored, as under nohup."""
    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


def run(command, log, progress, environment, keep=(), folder=None):
    """Run a training to its end: its exit status, negative for a signal, and whether this process was asked to stop it.

    command: list of words; log: Path, appended to; progress: Progress, which gets every line; keep: descriptors that
    the program inherits; folder: where it runs
    A loss that is not finite ends the training at once, without a snapshot of broken weights.
    """
    asked, passed, rest = [], 0, ""
    with contextlib.ExitStack() as stack:
        for number in stopping():
            before = signal.signal(number, lambda number, frame: asked.append(number))
            stack.callback(signal.signal, number, before)
        output = stack.enter_context(open(log, "ab"))
        lines = stack.enter_context(open(log, encoding="utf-8", errors="replace"))
        lines.seek(output.tell())
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
        while True:
            code = process.poll()
            *whole, rest = (rest + lines.read()).split("\n")
            for line in whole:
                progress.line(line)
            if code is not None:
                return code, bool(asked)
            if progress.broken:
                process.kill()
            if len(asked) > passed:  # passed on as SIGINT, which makes both Caffes stop with a snapshot
                passed = len(asked)
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
            time.sleep(0.05)


def _stop_with_parent():
    """Called in the new process: have it stop with a snapshot when the process that started it ends."""
    LIBC.prctl(PARENT_DEATH_SIGNAL, signal.SIGINT)
    # Shells start background jobs with SIGINT ignored.
    for number in stopping():
        signal.signal(number, signal.SIG_DFL)


def last_words(log):
    """The line of a failed program's log that names the error, else its last line."""
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 3000))
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    failed = [line for line in lines if "Check failed" in line or "what():" in line]
    return (errors or failed or lines or ["it printed nothing"])[-1].strip()


class Progress:
    """Shows a progress bar on a terminal, and elsewhere a line per reported loss.

    stage: its name; first, last: its first and last iteration; later: the iterations of the run's later stages;
    reported: called with the iteration at each report
    Attributes: iteration of the last report; broken: (iteration, loss) of the first loss that is not finite
    """

    def __init__(self, stage, first, last, later, reported):
        self.stage, self.first, self.last, self.later = stage, first, last, later
        self.reported = reported
        self.iteration, self.accuracy, self.broken = first, None, None
        self.begun = time.monotonic()
        layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"
        self.bar = tqdm(total=last, initial=first, desc=stage, disable=None, bar_format=layout)

    def line(self, line):
        """Process a line of the log."""
        if reported := caffe_log.LOSS.search(line):
            self.report(int(reported[1]), reported[2])
        elif (tested := caffe_log.OUTPUT.search(line)) and tested[1] == "Test" and tested[2] in VALIDATION:
            self.accuracy = float(tested[3])

    def report(self, iteration, loss):
        self.iteration = iteration
        if self.broken is None and not abs(float(loss)) < float("inf"):
            self.broken = iteration, loss
        words = [f"loss {float(loss):.4g}"]
        if self.accuracy is not None:
            words.append(f"validation accuracy {self.accuracy:.3f}")
        if iteration > self.first:
            each = (time.monotonic() - self.begun) / (iteration - self.first)
            left = each * (self.last - iteration)
            words.append(f"{tqdm.format_interval(left)} left")
            if self.later:
                words.append(f"{tqdm.format_interval(left + each * self.later)} for the run")
        text = ", ".join(words)
        if self.bar.disable:
            print(f"{self.stage}: iteration {iteration} of {self.last}, {text}", file=sys.stderr, flush=True)
        else:
            self.bar.n = iteration
            self.bar.set_postfix_str(text)
        self.reported(iteration)

    def close(self, iteration):
        """Close the bar at an iteration, which is 100 % if the training is done."""
        self.bar.n = iteration
        self.bar.refresh()
        self.bar.close()
