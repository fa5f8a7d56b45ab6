"""Files damaged at random: every reader refuses them in one line that names the file, or returns a sane result.

Of images also what is read, and what is said to be unusual.
"""

import io
import os
import resource
import shutil
import sys
import tempfile

import cv2
import h5py
import numpy as np
import pytest
from mutations import LIMIT, attempt, damaged, few
from PIL import Image
from tokens import each

from data_prep import image_files, start
from data_prep.errors import DataError, one_line
from data_prep.sources import celeba, csv_table, lfwa
from data_prep.sources.images import Images
from data_prep.sources.mat import read_mat

NAMES = [f"{number:06d}.jpg" for number in range(10)]
ROWS = [[name, *(str(number >> bit & 1 or -1) for bit in range(3))] for number, name in enumerate(NAMES)]
HEADER = ["Male", "Smiling", "Young"]
LABELS = {
    "list_attr_celeba.txt": "\n".join(["10", " ".join(HEADER), *map(" ".join, ROWS)]),
    "list_attr_celeba.csv": "\n".join(map(",".join, [["image_id", *HEADER], *ROWS])),
    "faces.csv": "\n".join(["image,person,split,Male", *(f"a/{name},p,train,1" for name in NAMES)]),
}


def is_sane(table):
    """Assert that a table of labels holds each name once, and as many labels as names and attributes."""
    assert len(set(table.names)) == len(table.names) == len(table.rows) and all(table.names)
    assert table.labels.dtype == bool and table.labels.shape == (len(table.names), len(table.attributes))


def read_damaged(path, data, read, sane, examples):
    """Damage the bytes of a file, and read it."""

    def run(bad):
        path.write_bytes(bad)
        found = attempt(lambda: read(path), path.name)
        if found is not None:
            sane(found)

    each(damaged(data), examples, run)


@few(50, 1000)
@pytest.mark.parametrize("name", LABELS)
def test_labels(tmp_path, name, examples):
    read = csv_table.read_table if name == "faces.csv" else celeba.read_labels
    read_damaged(tmp_path / name, LABELS[name].encode(), read, is_sane, examples)


@few(4, 150)
def test_mat_files(lfwa_faces, tmp_path, examples):
    data = (lfwa_faces / lfwa.ANNOTATION).read_bytes()
    read_damaged(tmp_path / lfwa.ANNOTATION, data, lfwa.read_annotation, is_sane, examples)
    assert all(resource.getrusage(of).ru_maxrss < LIMIT for of in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))


def test_a_mat_file_that_asks_for_all_memory_or_crashes_its_reader_is_refused(tmp_path, monkeypatch):
    """Once defects: 37 kB took 8 GB and five minutes; damage ended a reader with SIGSEGV."""
    for side in (40_000, 6_000):  # more than the memory, and than all variables may take; nothing is written of it
        with h5py.File(tmp_path / "large.mat", "w", userblock_size=512) as file:
            file.create_dataset("label", (side, side), "f8", chunks=(1000, 1000))
        with pytest.raises(DataError, match="large.mat: not a complete MATLAB file"):
            read_mat(tmp_path / "large.mat")
    crash = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    monkeypatch.setattr(start, "command", lambda *words: crash)
    with pytest.raises(DataError, match="its reader crashed"):
        read_mat(tmp_path / "large.mat")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < LIMIT


@few(30, 300)
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives(tmp_path, kind, examples):
    (tmp_path / "in").mkdir()
    for name in NAMES[:3]:
        (tmp_path / "in" / name).write_bytes(encoded("JPEG"))
    path = shutil.make_archive(str(tmp_path / "faces"), kind, tmp_path / "in")

    def run(data):
        with open(path, "wb") as file:
            file.write(data)
        images = Images(path, os.path.basename)
        with tempfile.TemporaryDirectory() as scratch:
            if attempt(lambda: [images.locate(NAMES[:3], scratch)], "faces.", (DataError, OSError)) == [None]:
                for number in range(3):
                    attempt(lambda number=number: images.read(number), "")
            images.close()
            assert not os.listdir(scratch)

    with open(path, "rb") as file:
        each(damaged(file.read()), examples, run)


# Encoded images ---------------------------------------------------------------------------------------------

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), (80, 60))


def encoded(kind, picture=PICTURE, **options):
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture[:, :, ::-1])
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_every_format_is_read_and_a_cut_one_refused(kind, tmp_path):
    data = encoded(kind)
    header = image_files.header(data)
    assert (header.width, header.height) == (80, 60)
    assert header.unusual == (None if kind in ("JPEG", "PNG") else f"{kind}, neither JPEG nor PNG")
    assert abs(image_files.decode(data).astype(int) - PICTURE).mean() < 8
    for cut in (data[: len(data) // 2], data[:40]):
        (tmp_path / "cut").write_bytes(cut)
        with pytest.raises(DataError, match=r"^not a readable image \("):
            image_files.read(tmp_path / "cut")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "AVIF"])
def test_exif_turns_an_image_upright(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(kind, exif=exif)
    header = image_files.header(data)
    assert (header.width, header.height) == (60, 80) and ("Exif orientation 6" in header.unusual or kind == "AVIF")
    upright = cv2.rotate(image_files.decode(encoded(kind)), cv2.ROTATE_90_CLOCKWISE).astype(int)
    assert abs(image_files.decode(data) - upright).mean() <= (1 if kind == "AVIF" else 0)


@pytest.mark.parametrize(
    "data, words",
    [
        (encoded("PNG", Image.new("L", (9, 9))), "grey"),
        (encoded("PNG", Image.new("1", (9, 9))), "grey"),
        (encoded("PNG", Image.new("RGBA", (9, 9))), "has transparency"),
        (encoded("JPEG", Image.new("CMYK", (9, 9))), "CMYK, not RGB"),
        (encoded("PNG", Image.new("P", (9, 9))), None),
        (cv2.imencode(".png", PICTURE.astype(np.uint16) * 257)[1].tobytes(), "16 bits per channel, not 8"),
    ],
)
def test_what_no_caffe_decodes_to_8_bit_colours_is_said(data, words):
    unusual = image_files.header(data).unusual
    assert unusual is None if words is None else words in unusual


def test_a_cut_photo_with_a_whole_thumbnail_is_refused():
    """The end marker of the thumbnail is not that of the photo."""
    thumbnail = cv2.imencode(".jpg", PICTURE[:20, :20])[1].tobytes()
    segment = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    data = encoded("JPEG", quality=95)
    data = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    assert image_files.header(data).width == 80
    with pytest.raises(image_files.ImageError, match="the JPEG has no end"):
        image_files.header(data[:-200])


def test_messages_are_one_printable_line_of_bounded_length():
    assert one_line("tab\t\x1b[31m\n\ud800\u2028é") == r"tab\t\x1b[31m\n\ud800\u2028é"
    assert one_line("x" * 1000) == "x" * 1000
    words = str(DataError("begins" + "x" * 100_000 + "ends"))
    assert len(words) <= 1000 and words.startswith("begins") and words.endswith("ends")


@few(30, 300)
@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_images(tmp_path, kind, examples):
    path = tmp_path / "a"

    def run(data):
        path.write_bytes(data)
        image = attempt(lambda: image_files.read(path), "")
        if image is not None:
            header = image_files.header(data)
            assert image.dtype == np.uint8 and sorted(image.shape) == sorted((header.height, header.width, 3))

    each(damaged(encoded(kind)), examples, run)
