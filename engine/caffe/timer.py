"""caffe.Timer, which measures milliseconds. On a GPU it waits for the work in progress before it reads the clock."""

import time

import torch

from . import context


class Timer:
    """Measures the time between `start` and `stop`."""

    def __init__(self):
        self._begin, self._end = 0.0, 0.0

    @staticmethod
    def _now():
        """The time in seconds, after the GPU's work."""
        if context.on_gpu():
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self):
        """Start to measure."""
        self._begin = self._end = self._now()

    def stop(self):
        """End the measurement."""
        self._end = self._now()

    @property
    def ms(self):
        """Milliseconds between the last start and stop."""
        return 1000 * (self._end - self._begin)
