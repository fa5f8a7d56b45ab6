"""HDF5 files of weights and solver states. Errors in a file are reported as a CaffeError that names file and member."""

import contextlib
import os

from .errors import CaffeError, check, optional_package
from .wire import open_bytes

MAGIC = b"\x89HDF\r\n\x1a\n"
# More parameter blobs than any layer has. A damaged name can be any number, for which no list is to be allocated.
MAX_BLOBS = 1000
# The highest compression ratio of Deflate, the strongest of HDF5's common filters.
MAX_COMPRESSION_RATIO = 1032


def h5py():
    """The package h5py. Raises CaffeError if it is not installed."""
    return optional_package("h5py", "HDF5 needs")


def is_hdf5(path):
    """Whether a file begins with HDF5's signature. Raises CaffeError if it cannot be read."""
    return open_bytes(path)[: len(MAGIC)] == MAGIC


@contextlib.contextmanager
def reading(path):
    """Context: an HDF5 file, open for reading. Exceptions of h5py inside become a CaffeError that names the file."""
    library = h5py()
    check(is_hdf5(path), f"{path}: not an HDF5 file, or a damaged one")
    try:
        with library.File(path, "r") as file:
            yield file
    except CaffeError:
        raise
    # h5py has no exception of its own: damage comes as OSError, RuntimeError, KeyError, ValueError, TypeError and more.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CaffeError(f"{path}: a damaged HDF5 file ({reason})") from error


def member(group, name, kind, path):
    """The member `name` of a group. Raises CaffeError unless it exists and is of the kind "Group" or "Dataset"."""
    found = group.get(name)
    where = f"{group.name.rstrip('/')}/{name}"
    check(found is not None, f"{path}: {where} is missing; not a file of this kind, or a damaged one")
    check(isinstance(found, getattr(h5py(), kind)), f"{path}: {where} is not a {kind.lower()}; the file is damaged")
    return found


def numbers(group, name, path):
    """A data set of numbers as an array. Raises CaffeError for other types and for a size that the file cannot hold."""
    dataset = member(group, name, "Dataset", path)
    where = f"{path}: {dataset.name}"
    check(dataset.dtype.kind in "fiu", f"{where} holds {dataset.dtype}, not numbers; the file is damaged")
    stored = dataset.id.get_storage_size()
    check(
        dataset.size is not None and dataset.nbytes <= MAX_COMPRESSION_RATIO * stored,
        f"{where} of shape {dataset.shape} has no content; the file is damaged",
    )
    return dataset[()]


def whole_number(group, name, path):
    """A data set of one integer that is not negative, as an int. Raises CaffeError for anything else."""
    array = numbers(group, name, path)
    check(
        array.size == 1 and array.dtype.kind in "iu" and array.min() >= 0,
        f"{path}: {group.name.rstrip('/')}/{name} is not one integer of at least 0; the file is damaged",
    )
    return int(array.reshape(-1)[0])


def text(group, name, path):
    """A data set of text as a str, "" if it is missing. Raises CaffeError for anything but text."""
    if name not in group:
        return ""
    value = member(group, name, "Dataset", path)[()]
    check(isinstance(value, (bytes, str)), f"{path}: {group.name.rstrip('/')}/{name} is not text; the file is damaged")
    return os.fsdecode(value).rstrip("\0")


def numbered_members(names, where, path):
    """The names of members of the group `where`, which must be numbers, as a sorted list of int. Raises CaffeError."""
    indices = []
    for name in names:
        is_number = name.isascii() and name.isdigit() and str(int(name[:20])) == name
        check(is_number, f"{path}: {where} has a member {name[:40]!r} that is not a number; the file is damaged")
        indices.append(int(name))
    return sorted(indices)


def read_layers(path):
    """The layers of an HDF5 file of weights: list of (name, arrays), with None for a blob stored at another layer.

    Raises CaffeError.
    """
    with reading(path) as file:
        return list(walk(member(file, "data", "Group", path), "", path))


def walk(group, name, path):
    """Yield (name, arrays) of the layers in a group; name: the path of the group below /data.

    HDF5 stores a layer name with slashes as nested groups, so a group can be a layer and contain others.
    """
    groups = [key for key in group if isinstance(group.get(key), h5py().Group)]
    indices = numbered_members(set(group) - set(groups), group.name, path)
    last = indices[-1] if indices else -1
    check(last < MAX_BLOBS, f"{path}: {group.name} has a parameter blob {last}; the file is damaged")
    if name and (indices or not groups):
        arrays = [None] * (last + 1)
        for index in indices:
            arrays[index] = numbers(group, str(index), path)
        yield name, arrays
    for key in groups:
        yield from walk(group[key], f"{name}/{key}" if name else key, path)


def read_state(path):
    """The fields of a snapshot.State, in its order, from an HDF5 file. Raises CaffeError."""
    with reading(path) as file:
        history = member(file, "history", "Group", path)
        indices = numbered_members(history, "/history", path)
        check(
            indices == list(range(len(indices))),
            f"{path}: /history holds {len(indices)} histories, but not the numbers 0 to {len(indices) - 1}",
        )
        arrays = [numbers(history, str(index), path) for index in indices]
        return (
            whole_number(file, "iter", path),
            whole_number(file, "current_step", path),
            text(file, "learned_net", path),
            arrays,
        )


def write(path, fill):
    """Write an HDF5 file; fill: function that adds the content to the open h5py.File. Raises OSError, CaffeError.

    The file is built in memory first, because on a full disk the HDF5 library would end the process in closing it.
    """
    with h5py().File(path, "w", driver="core", backing_store=False, block_size=1 << 24) as file:
        fill(file)
        file.flush()
        image = file.id.get_file_image()
    with open(path, "wb") as file:
        file.write(image)
