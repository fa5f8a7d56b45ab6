"""Log lines in glog's format, on standard error, as parsers of Caffe's logs expect them.

    I0210 13:39:22.381027 25210 solver.py:204] Iteration 0, loss = 0.693147

GLOG_minloglevel=1 in the environment (or 2, 3) leaves out INFO (WARNING, ERROR), as with BVLC Caffe.
"""

import datetime
import os
import sys
import threading

from . import terminal

INFO, WARNING, ERROR = range(3)

# Everything but rank 0 of a distributed run is silent.
muted = False
# A terminal.Bar that log lines are to be written above.
bar = None


def write(level, message, depth=1):
    """Write one message at a level; depth: how many callers up the place that is named stands."""
    if muted or level < int(os.environ.get("GLOG_minloglevel") or 0):
        return
    frame = sys._getframe(depth)
    place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    now = datetime.datetime.now()
    head = f"{'IWE'[level]}{now:%m%d %H:%M:%S.%f} {threading.get_native_id():5d} {place}] "
    if bar is not None:
        bar.clear()
    # One write per message: lines of several threads do not mix.
    terminal.write(f"{head}{message}\n")
    if bar is not None:
        bar.draw()


def info(message):
    write(INFO, message, 2)


def warning(message):
    write(WARNING, message, 2)


def error(message):
    write(ERROR, message, 2)


def init_log(level=0, *_):
    """Kept for scripts that call pycaffe's; logging needs no start."""


def log(message):
    """Write a message of a script's own at level INFO."""
    write(INFO, message, 2)


def number(value):
    """A number as C++ streams print it: six significant digits."""
    return f"{value:g}"
