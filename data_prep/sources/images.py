"""Access to a data set's images in a folder, a zip or a tar, one image at a time and from any thread."""

import os
import pathlib
import tarfile
import tempfile
import zipfile

from data_prep.errors import DataError
from data_prep.files import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png")
LARGEST_FILE = 20_000_000  # bytes; an aligned face has 10,000, a phone's photo a few millions


class Images:
    """Images in a folder, subfolders included, or in a zip or a tar, which is unpacked first.

    path: the folder, zip or tar; key: function that maps an image's path below it ("a/b.jpg") to its name in the label
    files, None if the label files give the path itself
    """

    def __init__(self, path, key=None):
        self.path, self.key, self._unpacked = pathlib.Path(path), key, None

    def locate(self, names, scratch=None):
        """Find the images called `names`; returns the number of the first that is missing, or None.

        scratch: folder for what must be unpacked, None for one of its own. Raises DataError when it cannot be.
        """
        self._folder = str(self.path if self.path.is_dir() else self._unpack(scratch))
        if self.key is None or os.path.exists(f"{self._folder}/{names[0]}"):
            self._paths = names  # so no other paths need to be stored
            return next((i for i, name in enumerate(names) if not os.path.exists(f"{self._folder}/{name}")), None)
        known = {}
        for folder, _, files in os.walk(self._folder):
            for file in files:
                if file.lower().endswith(SUFFIXES):
                    below = os.path.relpath(os.path.join(folder, file), self._folder)
                    known[self.key(below)] = below
        self._paths = [known.get(name) for name in names]
        return self._paths.index(None) if None in self._paths else None

    def _unpack(self, scratch):
        self._unpacked = tempfile.TemporaryDirectory(dir=scratch, prefix="images-")
        try:
            if self.path.suffix.lower() == ".zip":
                with zipfile.ZipFile(self.path) as packed:
                    packed.extractall(self._unpacked.name)
            else:
                with tarfile.open(self.path) as packed:
                    for member in packed:
                        parts = pathlib.PurePosixPath(member.name).parts
                        if member.isfile() and parts[0] != "/" and ".." not in parts:
                            packed.extract(member, self._unpacked.name)
        except Exception as error:  # of every kind for damaged files
            raise DataError(f"{self.path}: cannot be unpacked ({error}); if it is damaged or cut short, get it again")
        return self._unpacked.name

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when it cannot be read."""
        try:
            return read_bytes(f"{self._folder}/{self._paths[index]}", LARGEST_FILE)
        except OSError as error:
            raise DataError(error.strerror)

    def close(self):
        """Remove what was unpacked; no image can be read afterwards."""
        if self._unpacked:
            self._unpacked.cleanup()
