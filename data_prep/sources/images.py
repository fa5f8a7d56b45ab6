"""Access to a data set's images in a folder, a zip or a tar, one image at a time and from any thread.

Each class first finds all images by name (`locate`) and then reads any of them by number.
"""

import gzip
import os
import pathlib
import tarfile
import tempfile
import zipfile
import zlib

from data_prep.errors import DataError
from data_prep.files import read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png")
LARGEST_FILE = 20_000_000  # bytes; an aligned face has 10,000, a phone's photo a few millions


class Folder:
    """Images in a folder, subfolders included.

    path: the folder; key: function that maps an image's path below it ("a/b.jpg") to its name in the label files,
    None if the label files give the path itself
    """

    def __init__(self, path, key):
        self.path, self.key, self._folder = pathlib.Path(path), key, path

    def locate(self, names, scratch=None):
        """Find the images called `names`; returns the number of the first that is missing, or None.

        scratch: folder for what must be unpacked, None for one of its own. Raises DataError when an archive is damaged
        or holds an image twice, OSError.
        """
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
        return next((i for i, path in enumerate(self._paths) if path is None), None)

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when it cannot be read."""
        try:
            return read_bytes(f"{self._folder}/{self._paths[index]}", LARGEST_FILE)
        except OSError as error:
            raise DataError(error.strerror)

    def close(self):
        """Release what was opened or unpacked; no image can be read afterwards."""


class Zip(Folder):
    """Images in a zip file, which stays as it is."""

    _zip = None

    def locate(self, names, scratch=None):
        """As Folder.locate."""
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError(f"{self.path}: not a complete zip file ({error}); download it again")
        known, wanted = {}, set(names)
        for member in self._zip.infolist():
            name = self.key(member.filename)
            if name in wanted and not member.is_dir():
                if name in known:
                    raise DataError(f"{self.path}: {member.filename} is in it twice")
                known[name] = member
        self._members = [known.get(name) for name in names]
        return self._members.index(None) if None in self._members else None

    def read(self, index):
        """As Folder.read."""
        member = self._members[index]
        try:
            with self._zip.open(member) as file:
                data = file.read(LARGEST_FILE + 1)  # a damaged member may unpack to gigabytes
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OSError, EOFError) as error:
            raise DataError(f"damaged in the zip file, encrypted, or packed in an unsupported way ({error})")
        if len(data) > LARGEST_FILE:
            raise DataError(f"image files of at most {LARGEST_FILE / 1e6:.0f} MB are supported")
        return data

    def close(self):
        """As Folder.close."""
        if self._zip:
            self._zip.close()


class Tar(Folder):
    """Images in a tar file, compressed or not, which is unpacked first."""

    _unpacked = None

    def locate(self, names, scratch=None):
        """As Folder.locate."""
        self._unpacked = tempfile.TemporaryDirectory(dir=scratch, prefix="images-")
        try:
            with tarfile.open(self.path) as packed:
                for member in packed:
                    parts = pathlib.PurePosixPath(member.name).parts
                    if member.isfile() and parts[0] != "/" and ".." not in parts:
                        packed.extract(member, self._unpacked.name)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{self.path}: damaged or cut short ({error}); download it again")
        self._folder = self._unpacked.name
        return super().locate(names)

    def close(self):
        """As Folder.close."""
        if self._unpacked:
            self._unpacked.cleanup()


def open_images(path, key):
    """A Folder, Zip or Tar for a path, chosen by its name."""
    path = pathlib.Path(path)
    kind = Folder if path.is_dir() else Zip if path.suffix == ".zip" else Tar
    return kind(path, key)
