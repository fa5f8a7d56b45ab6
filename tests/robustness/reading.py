"""Description of a reader for the fuzzer: its files, how they are damaged, how it is called and what it may raise."""

import collections.abc
import dataclasses
import fnmatch
import pathlib
import typing

import mutations


class Refused(Exception):
    """A reader that returns a sentence instead of raising has refused the file."""


class Nonsense(AssertionError):
    """A reader accepted a damaged file and returned an impossible value."""


def sane(condition, words):
    """Raise Nonsense(words) unless the condition holds."""
    if not condition:
        raise Nonsense(words)


@dataclasses.dataclass
class Reader:
    """One reader of files.

    folder: of the originals; files: patterns of those that are damaged, one at a time
    read: function of the file's path, in a copy of the folder that is the current folder too; what it returns is
    compared with what it returns for the original
    promised: exceptions that it may raise, with a message of one line that names the file or its folder (where `names`)
    mutate: function (rng, bytes, bytes of the other files) -> bytes; share: of the mutations, compared with the others
    memory: bytes that it may take beyond what the program has; leave: names in the folder that are not copied
    silent: whether nothing may be printed on standard error
    """

    name: str
    folder: str
    files: tuple
    read: collections.abc.Callable
    promised: tuple
    mutate: collections.abc.Callable = mutations.of_bytes
    share: float = 1.0
    memory: int = 1 << 30
    names: bool = True
    leave: typing.Sequence = ()
    silent: bool = False

    def matching(self, folder):
        """The files in a copy of the folder that are damaged, in order."""
        paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
        below = [path.relative_to(folder) for path in paths]
        return [path for path in below if any(fnmatch.fnmatch(str(path), pattern) for pattern in self.files)]
