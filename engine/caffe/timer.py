"""Caffe's Timer: milliseconds between start and stop, on the GPU once its work is done."""

import time

import torch

from . import context


class Timer:
    def __init__(self):
        self._begin, self._end = 0.0, 0.0

    @staticmethod
    def _now():
        if context.on_gpu():
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self):
        self._begin = self._end = self._now()

    def stop(self):
        self._end = self._now()

    @property
    def ms(self):
        """Milliseconds between the last start and stop."""
        return 1000 * (self._end - self._begin)
