"""Writing to standard error without raising an error.

A training must not end because its log can no longer be written.
"""

import contextlib
import os
import sys


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
