"""Log lines on standard error in the format of glog, which BVLC Caffe uses and parsers of its logs expect.

    I0210 13:39:22.381027 25210 solver.py:204] Iteration 0, loss = 0.693147

As with BVLC Caffe, a level above 0 in the environment variable GLOG_minloglevel suppresses them.
"""

import datetime
import os
import sys
import threading

from . import terminal

# Whether nothing is logged, as on all ranks but rank 0 of a distributed training.
muted = False


def info(message):
    """Write a message with the time and the source line of the caller."""
    if muted or int(os.environ.get("GLOG_minloglevel") or 0) > 0:
        return
    frame = sys._getframe(1)
    place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    now = datetime.datetime.now()
    # One write per message, so that messages of several threads do not mix.
    terminal.write(f"I{now:%m%d %H:%M:%S.%f} {threading.get_native_id():5d} {place}] {message}\n")


log = info  # pycaffe's name


def init_log(level=0, *_):
    """Does nothing: pycaffe's function of this name starts glog, and here logging needs no start."""


def number(value):
    """A number as C++ streams print it by default: with six significant digits."""
    return f"{value:g}"
