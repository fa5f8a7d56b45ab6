"""Writing files so that they are on the disk completely or not at all, even after a kill or power cut."""

import errno
import glob
import os
import pathlib
import re

from .errors import CaffeError

# An incomplete file: .NAME.<process>.partial in the same folder.
PARTIAL = re.compile(r"^\.(?P<name>.+)\.(?P<process>\d+)\.partial$")


def write_files(files):
    """Write files that belong together; they appear in this order, once all of them are completely on the disk.

    files: list of (path, function that writes a file of the name that it is given). Existing files are unchanged unless
    all files could be written. Raises CaffeError that names the file.
    """
    partials = []
    path = None
    try:
        for path, write in files:
            path = pathlib.Path(path)
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            partials.append((partial, path))
            write(partial)
            sync(partial)
        for partial, path in partials:
            os.replace(partial, path)
            sync_folder(path.parent)
    except OSError as error:
        raise CaffeError(f"{path}: cannot be written: {error.strerror or error}")
    finally:
        for partial, _ in partials:
            partial.unlink(missing_ok=True)


def sync(path):
    """Have the system write a file to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path):
    """The same for a folder's list of names, where its file system can. Raises OSError."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sweep(prefix):
    """Delete what writes to PREFIX_iter_... left unfinished when their process was killed; the names deleted.

    Files of a process that still runs are left alone.
    """
    prefix = pathlib.Path(prefix)
    swept = []
    for path in prefix.parent.glob(f".{glob.escape(prefix.name)}_iter_*.partial"):
        match = PARTIAL.match(path.name)
        if match and not runs(int(match["process"])):
            path.unlink(missing_ok=True)
            swept.append(path.name)
    return sorted(swept)


def runs(process):
    """Whether another process of this number runs on this machine."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
