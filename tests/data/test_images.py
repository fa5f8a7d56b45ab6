"""Encoded images: every format is read, damage is refused, and what is unusual is said; messages are one line."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep import image_files
from data_prep.errors import DataError, one_line

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), (80, 60))


def encoded(kind, picture=PICTURE, **options):
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture[:, :, ::-1])
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_every_format_is_read_and_a_cut_one_refused(kind):
    data = encoded(kind)
    header = image_files.header(data)
    assert (header.format, header.width, header.height) == (kind, 80, 60)
    assert header.unusual == (None if kind in ("JPEG", "PNG") else f"{kind}, neither JPEG nor PNG")
    assert abs(image_files.decode(data).astype(int) - PICTURE).mean() < 8
    for cut in (data[: len(data) // 2], data[:40]):
        with pytest.raises(image_files.ImageError):
            image_files.header(cut)
            image_files.decode(cut)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_turns_an_image_upright(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(kind, exif=exif)
    header = image_files.header(data)
    assert (header.width, header.height) == (60, 80) and "Exif orientation 6" in header.unusual
    np.testing.assert_array_equal(
        image_files.decode(data), cv2.rotate(image_files.decode(encoded(kind)), cv2.ROTATE_90_CLOCKWISE)
    )


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
