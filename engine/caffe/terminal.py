"""Writing to standard error without raising an error, and a progress bar if standard error is a terminal.

A training must not end because its log can no longer be written.
"""

import contextlib
import os
import sys
import time

WIDTH = 30  # characters of the progress bar


def write(text):
    """Write to standard error and flush. If that fails (closed pipe, full disk), the text is lost without an error."""
    if sys.stderr is None:  # it was closed when Python started
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def finish():
    """Flush the output streams. One that fails is replaced by /dev/null, so that Python's exit raises no error."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


class ProgressBar:
    """A progress bar of a training of `last` iterations, with loss and remaining time, below the log lines.

    It shows nothing if standard error is no terminal or `last` is 0.
    """

    def __init__(self, last):
        self.last, self.begin, self.first, self.shown, self.text = last, time.time(), None, 0.0, ""
        self.active = sys.stderr is not None and sys.stderr.isatty() and last > 0

    def update(self, iteration, loss):
        """Show an iteration and its loss, at most five times a second."""
        now = time.time()
        if not self.active:
            return
        if self.first is None:
            self.first = iteration - 1
        if now - self.shown < 0.2 and iteration < self.last:
            return
        self.shown = now
        rate = (iteration - self.first) / max(now - self.begin, 1e-9)
        left = max(self.last - iteration, 0) / rate
        done = int(WIDTH * min(iteration / self.last, 1))
        bar = "#" * done + " " * (WIDTH - done)
        self.text = f"[{bar}] {iteration}/{self.last}, loss {loss:.4g}, {clock(left)} left"
        self.draw()

    def draw(self):
        """Write the bar on the current line."""
        if self.active and self.text:
            write(f"\r{self.text}\033[K")

    def clear(self):
        """Erase the bar, so that a log line can be written in its place."""
        if self.active and self.text:
            write("\r\033[K")

    def close(self):
        """Erase the bar for good."""
        self.clear()
        self.active = False


def clock(seconds):
    """A number of seconds as text: 1:02:03 or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
