"""HDF5 files of weights and solver states: read with every fault named in one line, written by name."""

import contextlib
import os

from .errors import CaffeError, check

MAGIC = b"\x89HDF\r\n\x1a\n"
# More parameter blobs than any layer has; a damaged name can stand for any number.
MOST_BLOBS = 1000
# Deflate, the strongest of HDF5's common filters, makes data at most so many times smaller.
MOST_COMPRESSION = 1032


def h5py():
    """The package h5py. Raises CaffeError where it is not installed."""
    try:
        import h5py as package
    except ImportError:
        raise CaffeError("HDF5 needs the package h5py: pip install h5py")
    return package


def is_hdf5(path):
    """Whether a file begins as HDF5 files do. Raises CaffeError where it cannot be read."""
    check(not os.path.exists(path) or os.path.isfile(path), f"{path}: not a file")
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL, from a damaged solver state
        raise CaffeError(f"{path}: {getattr(error, 'strerror', error)}")


@contextlib.contextmanager
def reading(path):
    """An HDF5 file, open for reading. What h5py raises inside becomes a CaffeError that names the file."""
    library = h5py()
    check(is_hdf5(path), f"{path}: not an HDF5 file, or a damaged one")
    try:
        with library.File(path, "r") as file:
            yield file
    except CaffeError:
        raise
    # h5py has no exception of its own: damage comes as OSError, RuntimeError, KeyError, ValueError, TypeError and more.
    except Exception as error:
        words = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CaffeError(f"{path}: a damaged HDF5 file ({words})") from error


def member(group, name, kind, path):
    """A group's member of a kind, "Group" or "Dataset". Raises CaffeError that names file and member."""
    found = group.get(name)
    where = f"{group.name.rstrip('/')}/{name}"
    check(found is not None, f"{path}: {where} is missing; not a file of this kind, or a damaged one")
    check(isinstance(found, getattr(h5py(), kind)), f"{path}: {where} is not a {kind.lower()}; the file is damaged")
    return found


def numbers(group, name, path):
    """A data set of numbers as an array. Raises CaffeError that names file and data set."""
    dataset = member(group, name, "Dataset", path)
    where = f"{path}: {dataset.name}"
    check(dataset.dtype.kind in "fiu", f"{where} holds {dataset.dtype}, not numbers; the file is damaged")
    stored = dataset.id.get_storage_size()
    check(
        dataset.size is not None and dataset.nbytes <= MOST_COMPRESSION * stored,
        f"{where} of shape {dataset.shape} has no content; the file is damaged",
    )
    return dataset[()]


def whole(group, name, path):
    """A data set of one whole number that is not negative."""
    array = numbers(group, name, path)
    check(
        array.size == 1 and array.dtype.kind in "iu" and array.min() >= 0,
        f"{path}: {group.name.rstrip('/')}/{name} is not a whole number from 0 on; the file is damaged",
    )
    return int(array.reshape(-1)[0])


def text(group, name, path):
    """A data set of text, or "" where there is none."""
    if name not in group:
        return ""
    value = member(group, name, "Dataset", path)[()]
    check(isinstance(value, (bytes, str)), f"{path}: {group.name.rstrip('/')}/{name} is not text; the file is damaged")
    return os.fsdecode(value).rstrip("\0")


def places(names, where, path):
    """The numbers that members of the group `where` have as names, in order. Raises CaffeError for other names."""
    found = []
    for name in names:
        good = name.isascii() and name.isdigit() and str(int(name[:20])) == name
        check(good, f"{path}: {where} has a member {name[:40]!r} that is not a number; the file is damaged")
        found.append(int(name))
    return sorted(found)


def read_layers(path):
    """The layers of a file of weights: list of (name, arrays), None for a blob that is not in it (a shared one)."""
    with reading(path) as file:
        return list(walk(member(file, "data", "Group", path), "", path))


def walk(group, name, path):
    """The layers below a group; name: of the layer that it is. A name with slashes is a group in a group."""
    groups = [key for key in group if isinstance(group.get(key), h5py().Group)]
    indices = places(set(group) - set(groups), group.name, path)
    last = indices[-1] if indices else -1
    check(last < MOST_BLOBS, f"{path}: {group.name} has a parameter blob {last}; the file is damaged")
    if name and (indices or not groups):
        arrays = [None] * (last + 1)
        for index in indices:
            arrays[index] = numbers(group, str(index), path)
        yield name, arrays
    for key in groups:
        yield from walk(group[key], f"{name}/{key}" if name else key, path)


def read_state(path):
    """(iteration, step of the learning rate, file of the weights, histories) of a solver state. Raises CaffeError."""
    with reading(path) as file:
        history = member(file, "history", "Group", path)
        indices = places(history, "/history", path)
        check(
            indices == list(range(len(indices))),
            f"{path}: /history holds {len(indices)} histories, but not the numbers 0 to {len(indices) - 1}",
        )
        arrays = [numbers(history, str(index), path) for index in indices]
        return whole(file, "iter", path), whole(file, "current_step", path), text(file, "learned_net", path), arrays


def write(path, fill):
    """Make an HDF5 file; fill: function that is given the open file. Raises OSError, CaffeError.

    It is made in memory first: where the disk is full, the HDF5 library would end the process in closing the file.
    """
    with h5py().File(path, "w", driver="core", backing_store=False, block_size=1 << 24) as file:
        fill(file)
        file.flush()
        image = file.id.get_file_image()
    with open(path, "wb") as file:
        file.write(image)
