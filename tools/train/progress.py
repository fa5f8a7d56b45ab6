"""Progress of a training, read from its growing log: iterations, loss, time left for the stage and for the run."""

import re
import sys
import time

from tqdm import tqdm

from tools.train import caffe_log
from tools.train.estimate import duration

PREFIX = re.compile(r"^[IWEF]\d{4} \S+ +\d+ \S+\] ")
# Lines of the log that are passed on to the user.
SHOWN = re.compile(r"^error:|^[FE]\d{4} |Check failed|terminate called|what\(\)|Traceback|Test interrupted")
VALIDATION = ("accuracy_attribute", "accuracy_region")  # outputs of validation of which the last is shown


class Progress:
    """Shows a progress bar on a terminal, and elsewhere a line per reported loss.

    stage: its name; first, last: its first and last iteration; later: the length of the run's later stages, in
    iterations of this one; reported: called with the iteration at each report
    Attributes: iteration and loss of the last report; broken: (iteration, loss) of the first loss that is not finite
    """

    def __init__(self, stage, first, last, later, reported=lambda iteration: None, stream=None):
        self.stage, self.first, self.last, self.later = stage, first, last, later
        self.reported, self.stream = reported, stream or sys.stderr
        self.iteration, self.loss, self.accuracy, self.broken = first, None, None, None
        self.begun = time.monotonic()
        layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"
        bar_off = not self.stream.isatty()
        self.bar = tqdm(total=last, initial=first, desc=stage, file=self.stream, disable=bar_off, bar_format=layout)

    def line(self, line):
        """Process a line of the log."""
        if reported := caffe_log.LOSS.search(line):
            self.report(int(reported[1]), reported[2])
        elif SHOWN.search(line):
            tqdm.write(PREFIX.sub("", line).strip(), file=self.stream)
        elif (tested := caffe_log.OUTPUT.search(line)) and tested[1] == "Test" and tested[2] in VALIDATION:
            self.accuracy = float(tested[3])

    def report(self, iteration, loss):
        self.iteration, self.loss = iteration, float(loss)
        if self.broken is None and not abs(self.loss) < float("inf"):
            self.broken = iteration, loss
        text = self.text()
        if self.bar.disable:
            print(f"{self.stage}: iteration {iteration} of {self.last}{text}", file=self.stream, flush=True)
        else:
            self.bar.n = iteration
            self.bar.set_postfix_str(text.lstrip(", "))
        self.reported(iteration)

    def text(self):
        """Loss, validation accuracy and time left, as text."""
        text = f", loss {self.loss:.4g}"
        if self.accuracy is not None:
            text += f", validation accuracy {self.accuracy:.3f}"
        done = self.iteration - self.first
        if done > 0:
            each = (time.monotonic() - self.begun) / done
            left = each * (self.last - self.iteration)
            text += f", {duration(left)} left"
            if self.later:
                text += f", {duration(left + each * self.later)} for the run"
        return text

    def close(self, iteration):
        """Close the bar at an iteration, which is 100 % if the training is done."""
        if not self.bar.disable:
            self.bar.n = iteration
            self.bar.refresh()
        self.bar.close()
