"""Files: checksums, JSON with errors that name file and key, and writes that leave a complete file or none."""

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import pathlib
import shutil
import stat

from data_prep.errors import DataError


def opened(path):
    """A regular file, opened for reading bytes; a pipe or device, which may never end, is refused. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(path, "rb")


def opened_text(path):
    """A regular file, opened for reading text in UTF-8, with or without a byte order mark. Raises OSError."""
    return io.TextIOWrapper(opened(path), "utf-8-sig", newline="")


def read_bytes(path, most=None):
    """The content of a regular file of at most `most` bytes. Raises OSError."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most and size > most:
            what = f"{size / 1e6:,.1f} MB; image files of at most {most / 1e6:.0f} MB are supported"
            raise OSError(errno.EFBIG, what, str(path))
        return file.read()


def sha256(path):
    """The SHA-256 checksum of a regular file, as hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with opened(path) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path, mode="wb", among_many=False, **options):
    """A file to write that replaces `path` once all of it is on the disk; after an error `path` is unchanged.

    What a killed process left of an earlier try is removed, unless the file is among so many that its folder is not to
    be listed for each. mode, options: those of `open`. Raises OSError.
    """
    path = pathlib.Path(path)
    partial = partial_of(path.parent, path.name)
    if not among_many:
        remove_partials(path.parent, path.name)
    try:
        with open(partial, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.filename is None:  # such as a full disk: the system does not say which file it was about
            raise OSError(error.errno, error.strerror, str(path))
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def partial_of(folder, name, suffix=""):
    """The path of an incomplete file (or folder) NAME and suffix in a folder, which this process is writing."""
    return folder / f".{name}.{os.getpid()}.partial{suffix}"


def remove_partials(folder, name, suffix=""):
    """Remove what killed processes left of files or folders NAME and suffix in a folder. Raises OSError."""
    for left in folder.glob(f".{glob.escape(name)}.*.partial{glob.escape(suffix)}"):
        if not alive(left.name[: -len(f".partial{suffix}")].split(".")[-1]):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def alive(process):
    """Whether the process with this number (text) is running."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def write_bytes(path, data, among_many=False):
    """Write a file completely or not at all. among_many: see `replacing`. Raises OSError."""
    with replacing(path, among_many=among_many) as file:
        file.write(data)


def write_json(path, value):
    """Write a value as JSON, completely or not at all. Raises ValueError for NaN or infinity, OSError."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_json(path, kind=dict):
    """The dict or list in a JSON file. Raises FileNotFoundError, OSError, and DataError that names file and fault."""
    try:
        value = json.loads(read_bytes(path).decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged, not readable as JSON ({error})")
    if not isinstance(value, kind):
        raise DataError(f"{path}: damaged, must hold a JSON {'object' if kind is dict else 'list'}")
    return value


def _no_number(word):
    raise ValueError(f"{word} is not a number")
