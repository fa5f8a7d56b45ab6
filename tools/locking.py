"""The lock of a run: one training, average region, evaluation or prediction at a time."""

import contextlib
import fcntl
import os
import pathlib
import time

from data_prep import files
from tools.errors import ToolError

# Set for the tools that a command starts, so that they do not wait for the lock that the command holds.
HELD = "FACE_CASCADE_LOCKED_RUN"
# The descriptors of the locks that this process has, the innermost last.
DESCRIPTORS = []


@contextlib.contextmanager
def locked(folder, wait=60.0):
    """Context manager that locks a folder against a second process that works on it.

    The lock is a file descriptor that a training or a tool started inside inherits, so it lasts as long as that one,
    however this process ends. Nothing is locked where the command that started this one holds the lock. wait: seconds
    that a training whose command was killed gets to write its last snapshot. Raises ToolError.
    """
    folder, outer = pathlib.Path(folder), os.environ.get(HELD)
    if outer == str(folder.resolve()):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        stack.callback(os.close, descriptor)
        _take(descriptor, folder, wait)
        DESCRIPTORS.append(descriptor)
        stack.callback(DESCRIPTORS.pop)
        os.environ[HELD] = str(folder.resolve())
        stack.callback(*(os.environ.pop, HELD) if outer is None else (os.environ.update, {HELD: outer}))
        yield


def _take(descriptor, folder, wait):
    """Lock a folder's open lock file, and write this process's number into it. Raises ToolError when another one goes
    on working."""
    deadline, said = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            if files.alive(owner) or time.monotonic() > deadline:
                who = f"process {owner}" if owner else "another process"
                raise ToolError(f"{folder}: {who} works on it; wait for it, stop it, or use another folder")
            if not said:
                print(f"{folder}: an earlier training is writing its last snapshot; waiting for it", flush=True)
            said = True
            time.sleep(0.2)
