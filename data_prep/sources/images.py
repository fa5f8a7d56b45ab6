"""Access to a data set's images in a folder, a zip or a tar, one image at a time without unpacking.

Each class first finds all images by name (`locate`) and then reads any of them by number, from any thread. The
directory of a zip or tar is kept as a few numbers per image, so memory hardly grows with the data set.
"""

import gzip
import os
import pathlib
import shutil
import struct
import tarfile
import zipfile
import zlib

import numpy as np

from data_prep.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")
LARGEST_FILE = 20_000_000  # bytes; an aligned face has 10,000


def check_size(size):
    """Raises DataError for a file too large to be the image of a face."""
    if size > LARGEST_FILE:
        raise DataError(f"{size / 1e6:,.1f} MB; image files of at most {LARGEST_FILE / 1e6:.0f} MB are supported")


class Folder:
    """Images in a folder, subfolders included.

    path: the folder; key: function that maps an image's path below it ("a/b.jpg") to its name in the label files,
    None if the label files give the path itself
    """

    def __init__(self, path, key):
        self.path = pathlib.Path(path)
        self.key = key
        self._paths = None

    def prepare(self, scratch):
        """Does nothing: images in a folder are read in place."""

    def locate(self, names):
        """Find the images called `names`; returns the number of the first that is missing, or None."""
        if self.key is None or all(os.path.exists(f"{self.path}/{name}") for name in names[:1]):
            # The names are the paths, so no other paths need to be stored.
            self._paths = names
            return next((i for i, name in enumerate(names) if not os.path.isfile(f"{self.path}/{name}")), None)
        known = {}
        for folder, _, files in os.walk(self.path):
            for file in files:
                if file.lower().endswith(SUFFIXES):
                    below = os.path.relpath(os.path.join(folder, file), self.path)
                    known[self.key(below)] = below
        self._paths = [known.get(name) for name in names]
        return next((i for i, path in enumerate(self._paths) if path is None), None)

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when it cannot be read."""
        try:
            with open(f"{self.path}/{self._paths[index]}", "rb", buffering=0) as file:
                check_size(os.fstat(file.fileno()).st_size)
                return file.read()
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})")

    def close(self):
        """Does nothing: no file is open."""


class _Archive:
    """Images in one file, at known offsets."""

    def __init__(self, path, key):
        self.path = pathlib.Path(path)
        self.key = key
        self._file = None

    def prepare(self, scratch):
        """Prepare for reading. scratch: folder for files that must be unpacked first, or None to forbid that."""

    def locate(self, names):
        """As Folder.locate. Raises DataError when the archive is damaged or holds a name twice."""
        numbers = {name: index for index, name in enumerate(names)}
        self._places = np.zeros((len(names), 4), dtype=np.int64)
        found = np.zeros(len(names), dtype=bool)
        for member, place in self._members():
            index = numbers.get(self.key(member))
            if index is None:
                continue
            if found[index]:
                raise DataError(f"{self.path}: {member} is in it twice")
            found[index] = True
            try:
                self._places[index] = place
            except OverflowError:
                raise DataError(f"{self.path}: damaged, {member} has an impossible offset; download it again")
        self._file = open(self._readable(), "rb")
        return None if found.all() else int(np.argmin(found))

    def _readable(self):
        return self.path

    def _at(self, place, size):
        try:
            data = os.pread(self._file.fileno(), size, place)
        except (OSError, ValueError):  # an impossible offset or size
            data = b""
        if len(data) != size or size < 0:
            raise DataError("cut short: the archive ends within it")
        return data

    def close(self):
        """Close the archive; no image can be read afterwards."""
        if self._file:
            self._file.close()


class Zip(_Archive):
    """Images in a zip file."""

    def _members(self):
        try:
            with zipfile.ZipFile(self.path) as packed:
                for info in packed.infolist():
                    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise DataError(f"{self.path}: {info.filename} is encrypted or has an unsupported compression")
                    if not info.is_dir():
                        packing = info.compress_type == zipfile.ZIP_DEFLATED
                        yield info.filename, (info.header_offset, info.compress_size, packing, info.CRC)
        except (zipfile.BadZipFile, OSError, struct.error) as error:
            raise DataError(f"{self.path}: not a complete zip file ({error}); download it again")

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when its part of the zip is damaged."""
        offset, size, packing, checksum = map(int, self._places[index])
        check_size(size)
        header = self._at(offset, 30)
        if header[:4] != b"PK\3\4":
            raise DataError("damaged in the zip file (no header)")
        name, extra = struct.unpack_from("<HH", header, 26)
        data = self._at(offset + 30 + name + extra, size)
        try:
            if packing:
                # Bounded, because a small damaged or malicious entry may unpack to gigabytes.
                data = zlib.decompressobj(-15).decompress(data, LARGEST_FILE + 1)
                check_size(len(data))
        except zlib.error:
            raise DataError("damaged in the zip file (does not unpack)")
        if zlib.crc32(data) != checksum:
            raise DataError("damaged in the zip file (wrong checksum)")
        return data


class Tar(_Archive):
    """Images in a tar file; a compressed one is uncompressed into the scratch folder first."""

    def __init__(self, path, key):
        super().__init__(path, key)
        self._plain = self.path if self.path.suffix == ".tar" else None

    def prepare(self, scratch):
        """Uncompress a compressed tar into folder `scratch`. Raises DataError for a damaged file, OSError."""
        if self._plain is None and scratch is not None:
            target = pathlib.Path(scratch) / "images.tar"
            try:
                with gzip.open(self.path) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(f"{self.path}: damaged or cut short ({error}); download it again")
            self._plain = target

    def _readable(self):
        return self._plain

    def _members(self):
        try:
            with tarfile.open(self._plain, "r:") as packed:
                for member in packed:
                    packed.members.clear()  # else it would keep all members in memory
                    if member.isfile() and member.name.lower().endswith(SUFFIXES):
                        yield member.name, (member.offset_data, member.size, 0, 0)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{self.path}: not a complete tar file ({error}); download it again")

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when the tar ends too early."""
        offset, size, _, _ = map(int, self._places[index])
        check_size(size)
        return self._at(offset, size)


def open_images(path, key):
    """A Folder, Zip or Tar for a path, chosen by its name."""
    path = pathlib.Path(path)
    if path.is_dir():
        return Folder(path, key)
    return (Zip if path.suffix == ".zip" else Tar)(path, key)
