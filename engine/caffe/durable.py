"""Writing files so that each is on the disk completely or not at all, even after a kill or a power cut."""

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

    files: list of (path, write), where write(name) writes the content to a file of that name
    Every file is written under a temporary name, synced and then renamed. If one cannot be written, none is renamed and
    existing files are unchanged. Raises CaffeError that names the file.
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
    """Wait until a file is on the disk (fsync). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path):
    """Wait until the names in a folder are on the disk, if its file system supports that. Raises OSError."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def delete_partials(prefix):
    """Delete temporary files of PREFIX_iter_... whose process was killed while writing; returns their names.

    Files of a process that still runs are kept.
    """
    folder, name = os.path.split(prefix)
    deleted = []
    for path in pathlib.Path(folder).glob(f".{glob.escape(name)}_iter_*.partial"):
        match = PARTIAL.match(path.name)
        if match and not is_running(int(match["process"])):
            path.unlink(missing_ok=True)
            deleted.append(path.name)
    return sorted(deleted)


def is_running(process):
    """Whether another process with this id runs on this machine."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
