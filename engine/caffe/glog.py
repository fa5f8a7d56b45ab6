"""Log lines on standard error in the format of glog, which BVLC Caffe uses and parsers of its logs expect.

    I0210 13:39:22.381027 25210 solver.py:204] Iteration 0, loss = 0.693147

As with BVLC Caffe, the environment variable GLOG_minloglevel is the lowest level written: 0 INFO, 1 WARNING, 2 ERROR.
"""

import datetime
import os
import sys
import threading

from . import terminal

INFO, WARNING, ERROR = range(3)

# Whether nothing is logged, as on all ranks but rank 0 of a distributed training.
muted = False
# The terminal.ProgressBar to write log lines above, or None.
bar = None


def write(level, message, depth=1):
    """Write a message at a level; depth: how many calls up the stack the source line is that the log names."""
    if muted or level < int(os.environ.get("GLOG_minloglevel") or 0):
        return
    frame = sys._getframe(depth)
    place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    now = datetime.datetime.now()
    head = f"{'IWE'[level]}{now:%m%d %H:%M:%S.%f} {threading.get_native_id():5d} {place}] "
    if bar is not None:
        bar.clear()
    # One write per message, so that messages of several threads do not mix.
    terminal.write(f"{head}{message}\n")
    if bar is not None:
        bar.draw()


def info(message):
    """Write a message at level INFO."""
    write(INFO, message, 2)


def warning(message):
    """Write a message at level WARNING."""
    write(WARNING, message, 2)


def error(message):
    """Write a message at level ERROR."""
    write(ERROR, message, 2)


def init_log(level=0, *_):
    """Does nothing: pycaffe's function of this name starts glog, and here logging needs no start."""


def log(message):
    """Write a message of a user's script at level INFO."""
    write(INFO, message, 2)


def number(value):
    """A number as C++ streams print it by default: with six significant digits."""
    return f"{value:g}"
