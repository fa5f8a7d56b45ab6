"""Where a data set's images lie: a folder, a zip or a tar, read one image at a time without unpacking.

Each class finds all images it is asked for once (`locate`) and then reads any of them by number, from any
thread. A zip's or tar's directory is kept as a few numbers per image, so memory hardly grows with the data set.
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

from data_prep.files import one_line

SUFFIXES = (".jpg", ".jpeg", ".png")
LARGEST_FILE = 20_000_000  # bytes; an aligned face has 10,000


class DataError(ValueError):
    """Input that cannot be used; the message, one line, names file and row."""

    def __init__(self, message):
        super().__init__(one_line(message))


def check_size(size):
    """Raises DataError for an image file too large to be that of a face."""
    if size > LARGEST_FILE:
        raise DataError(f"{size / 1e6:,.1f} MB; the image of a face has at most {LARGEST_FILE / 1e6:.0f} MB")


class Folder:
    """Images in a folder, subfolders included.

    path: the folder; key: function that maps an image's path below it ("a/b.jpg") to the name that the
    labels know it by; None where the labels give the path
    """

    def __init__(self, path, key):
        self.path = pathlib.Path(path)
        self.key = key
        self._paths = None

    def prepare(self, scratch):
        """Nothing to do: images in a folder are read where they are."""

    def locate(self, names):
        """Find the images called `names`; returns the number of the first that is not there, or None."""
        if self.key is None or all(os.path.exists(f"{self.path}/{name}") for name in names[:1]):
            # As the labels name them: nothing to remember.
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
        """Nothing is open."""


class _Packed:
    """Images in one file, at known places."""

    def __init__(self, path, key):
        self.path = pathlib.Path(path)
        self.key = key
        self._file = None

    def prepare(self, scratch):
        """Make reading possible. scratch: folder for what must be unpacked first, or None to refuse that."""

    def locate(self, names):
        """As Folder's. Raises DataError when the file is damaged or holds a name twice."""
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
                raise DataError(f"{self.path}: damaged, {member} is at no place that a file has; download it again")
        self._file = open(self._readable(), "rb")
        return None if found.all() else int(np.argmin(found))

    def _readable(self):
        return self.path

    def _at(self, place, size):
        try:
            data = os.pread(self._file.fileno(), size, place)
        except (OSError, ValueError):  # of a place or size that no file has
            data = b""
        if len(data) != size or size < 0:
            raise DataError("cut short: the file that holds it ends too early")
        return data

    def close(self):
        """Close the file; nothing can be read any more."""
        if self._file:
            self._file.close()


class Zip(_Packed):
    """Images in a zip file."""

    def _members(self):
        try:
            with zipfile.ZipFile(self.path) as packed:
                for info in packed.infolist():
                    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise DataError(f"{self.path}: {info.filename} is encrypted or packed in an unusual way")
                    if not info.is_dir():
                        packing = info.compress_type == zipfile.ZIP_DEFLATED
                        yield info.filename, (info.header_offset, info.compress_size, packing, info.CRC)
        except (zipfile.BadZipFile, OSError, struct.error) as error:
            raise DataError(f"{self.path}: not a whole zip file ({error}); download it again")

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when the zip is damaged there."""
        offset, size, packing, checksum = map(int, self._places[index])
        check_size(size)
        header = self._at(offset, 30)
        if header[:4] != b"PK\3\4":
            raise DataError("damaged in the zip file (no header)")
        name, extra = struct.unpack_from("<HH", header, 26)
        data = self._at(offset + 30 + name + extra, size)
        try:
            if packing:
                # Never more than is allowed, whatever it would unpack to.
                data = zlib.decompressobj(-15).decompress(data, LARGEST_FILE + 1)
                check_size(len(data))
        except zlib.error:
            raise DataError("damaged in the zip file (does not unpack)")
        if zlib.crc32(data) != checksum:
            raise DataError("damaged in the zip file (wrong checksum)")
        return data


class Tar(_Packed):
    """Images in a tar file; a compressed one is uncompressed into the scratch folder first."""

    def __init__(self, path, key):
        super().__init__(path, key)
        self._plain = self.path if self.path.suffix == ".tar" else None

    def prepare(self, scratch):
        """Uncompress into folder `scratch` where need be. Raises DataError for a damaged file, OSError."""
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
                    packed.members.clear()  # it would remember them all
                    if member.isfile() and member.name.lower().endswith(SUFFIXES):
                        yield member.name, (member.offset_data, member.size, 0, 0)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{self.path}: not a whole tar file ({error}); download it again")

    def read(self, index):
        """The encoded bytes of an image. Raises DataError when the tar ends too early."""
        offset, size, _, _ = map(int, self._places[index])
        check_size(size)
        return self._at(offset, size)


def open_images(path, key):
    """The right one of these classes for a path, by its name."""
    path = pathlib.Path(path)
    if path.is_dir():
        return Folder(path, key)
    return (Zip if path.suffix == ".zip" else Tar)(path, key)
