"""A line of progress below the log, where standard error is a terminal."""

import sys
import time

WIDTH = 30


class Bar:
    """Progress of a training to `last` iterations. Log lines go above it."""

    def __init__(self, last):
        self.last, self.begin, self.first, self.shown, self.text = last, time.time(), None, 0.0, ""
        self.active = sys.stderr.isatty() and last > 0

    def update(self, iteration, loss):
        """Show an iteration and its loss, a few times a second."""
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
        if self.active and self.text:
            sys.stderr.write(f"\r{self.text}\033[K")
            sys.stderr.flush()

    def clear(self):
        if self.active and self.text:
            sys.stderr.write("\r\033[K")

    def close(self):
        self.clear()
        self.active = False


def clock(seconds):
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
