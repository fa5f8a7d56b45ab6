"""Pictures to predict on: what files and folders may contain, and that nothing unsafe is opened or decoded."""

import os
import socket
import struct
import sys
import types
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tools.errors import ToolError
from tools.predict import image_size, images, photos


def problems(folder):
    """Name -> problem of each file in a folder."""
    return {os.path.basename(photo.name): photo.problem for photo in photos.read(photos.find([folder]))}


def png(width, height, rows=b""):
    """A PNG of one bit per pixel whose pixels are zlib data of `rows`."""

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return image_size.image_header.PNG + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def test_a_video_gives_a_photo_per_second_and_a_broken_one_a_problem(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(25):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    given = list(photos.read(photos.find([tmp_path])))
    assert [photo.problem for photo in given] == ["no frame in it", None, None, None]
    assert [photo.name.rpartition("#")[2] for photo in given[1:]] == ["0.00", "1.00", "2.00"]
    assert [round(photo.image.mean() / 10) for photo in given[1:]] == [0, 10, 20]
    assert len(list(photos.read(photos.find([tmp_path / "clip.avi"]), every=0.1, frames=4))) == 4
    (tmp_path / "nothing").mkdir()
    for missing in (tmp_path / "nowhere", tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError):
            photos.find([missing])


def camera(monkeypatch, rate=25):
    """Replace OpenCV's cameras by one that opens in 2 seconds of a clock of its own; returns that clock, a list."""
    clock = [100.0]

    class Capture:
        def __init__(self, _):
            self.frames = 0
            self.release = lambda: None
            self.isOpened = lambda: True
            self.get = lambda _: 64.0

        def grab(self):
            self.frames += 1
            clock[0] += 1 / rate if self.frames > 1 else 2
            return self.frames < 1000

        def retrieve(self):
            return True, np.full((64, 64, 3), self.frames % 256, np.uint8)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(photos, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


@pytest.mark.parametrize(
    "every, moments", ((0, (0, 0.04, 0.08)), (0.5, (0, 0.52, 1.0)), (5, (0, 5, 10)), (1, (0, 1, 2)))
)
def test_frames_of_a_camera_are_taken_by_the_clock(monkeypatch, every, moments):
    camera(monkeypatch)
    given = list(photos.read(photos.find(["0"]), every, frames=3))
    assert [photo.moment for photo in given] == pytest.approx(moments, abs=0.041)
    assert [photo.name for photo in given][0] == "camera 0#0.00"
    rate, count = photos.answered_frames(0, every, 3)
    assert rate == min(25, 1 / every if every else 25) and count == 3


def test_a_camera_skips_frames_while_one_is_processed(monkeypatch):
    clock, moments = camera(monkeypatch), []
    for photo in photos.video(0, 1, 4):
        moments.append(photo.moment)
        clock[0] += 1.5
    assert moments == pytest.approx([0, 1.5, 3.0, 4.5], abs=0.2)


def test_a_video_of_frames_of_900_million_pixels_is_never_decoded(tmp_path, monkeypatch):
    class Capture:
        def __init__(self, _):
            self.grab = self.retrieve = lambda: pytest.fail("decoded")
            self.isOpened = lambda: True
            self.release = lambda: None
            self.get = lambda _: 30000.0

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert problems(tmp_path)["clip.mp4"].startswith("frames of 30000 x 30000 pixels, too large")


@pytest.mark.parametrize("ending", (".jpg", ".png", ".bmp", ".webp", ".tif", ".pgm", ".ppm", ".pbm", ".gif"))
def test_sizes_read_from_headers_equal_those_of_decoded_images(tmp_path, ending):
    image = np.random.default_rng(0).integers(0, 256, (37, 91, 3), dtype=np.uint8)
    done, data = cv2.imencode(ending, image[:, :, 0] if ending in (".pgm", ".pbm") else image)
    assert done and image_size.size(data.tobytes()) == (91, 37)
    (tmp_path / f"photo{ending}").write_bytes(data.tobytes())
    assert photos.photo(tmp_path / f"photo{ending}").image.shape == (37, 91, 3)


@pytest.mark.parametrize("header", ("VP8L", "VP8 ", "VP8X", "bottom-up BMP", "big-endian TIFF"))
def test_sizes_are_read_from_further_kinds_of_headers(header):
    width, height = 1234, 777
    data = {
        "VP8L": b"RIFF----WEBPVP8L----\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        "VP8 ": b"RIFF----WEBPVP8 ----...\x9d\x01\x2a" + struct.pack("<HH", width, height),
        "VP8X": b"RIFF----WEBPVP8X----....."[:24]
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little"),
        "bottom-up BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, width, -height),
        "big-endian TIFF": b"MM\0*" + struct.pack(">IHHHIHHHHII", 8, 2, 256, 3, 1, width, 0, 257, 4, 1, height),
    }[header]
    assert image_size.size(data) == (width, height)


@pytest.mark.parametrize("ending", ("png", "bmp", "webp", "tif", "ppm", "gif"))
def test_an_image_of_900_million_pixels_is_never_decoded(tmp_path, monkeypatch, ending):
    side = 30_000
    data = {
        "png": png(side, side, bytes((side // 8 + 1) * 1000)),
        "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, side, side) + bytes(100),
        "webp": b"RIFF----WEBPVP8X----...."[:24] + (side - 1).to_bytes(3, "little") * 2 + bytes(9),
        "tif": b"II*\0" + struct.pack("<IHHHIIHHII", 8, 2, 256, 4, 1, side, 257, 4, 1, side),
        "ppm": b"P6 # a comment\n30000 30000\n255\n",
        "gif": b"GIF89a" + struct.pack("<HH", side, side) + bytes(20),
    }[ending]
    (tmp_path / f"bomb.{ending}").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    words = "30000 x 30000 pixels, too large: 100 million pixels are decoded at most"
    assert problems(tmp_path) == {f"bomb.{ending}": words}


def test_images_that_are_too_small_are_reported_as_such(tmp_path):
    for name, shape in (("dot.png", (1, 1, 3)), ("line.jpg", (3, 400, 3))):
        cv2.imwrite(str(tmp_path / name), np.zeros(shape, np.uint8))
    words = "pixels, too small for a face: 16 x 16 are needed"
    assert problems(tmp_path) == {"dot.png": f"1 x 1 {words}", "line.jpg": f"400 x 3 {words}"}


def test_each_file_that_is_not_an_image_is_one_problem(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for ending in (".jpg", ".png", ".webp", ".bmp"):
        data = cv2.imencode(ending, image)[1].tobytes()
        for name, end in (("half", len(data) // 2), ("head", 15)):
            (tmp_path / f"{name}{ending}").write_bytes(data[:end])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "vector.svg").write_text("<svg/>")
    found = problems(tmp_path)
    half_bmp = found.pop("half.bmp")  # OpenCV decodes what is there
    assert len(found) == 10 and all(
        problem and problem.startswith("not a readable image (") for problem in found.values()
    )
    assert half_bmp is None or half_bmp.startswith("not a readable image")


def test_special_files_and_broken_links_are_problems_and_never_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.png"))
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "again").symlink_to(tmp_path)
    (tmp_path / "inner" / ".hidden").write_text("")
    found = problems(tmp_path)
    assert found.pop("self.jpg").startswith("Too many levels of symbolic links")
    assert found == {
        "pipe.jpg": "a pipe, not a file",
        "socket.png": "a socket, not a file",
        "device.jpg": "a device, not a file",
        "dangling.jpg": "a link to a file that is not there",
        "again": "a link to a folder that is searched already",
    }
    (given,) = photos.read(photos.find([tmp_path / "pipe.jpg"]))
    assert given.problem == "a pipe, not a file"


def test_a_linked_folder_is_searched_once(tmp_path):
    (tmp_path / "album").mkdir()
    cv2.imwrite(str(tmp_path / "album" / "a.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "photos").mkdir()
    for name in ("first", "second"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "album")
    found = problems(tmp_path / "photos")
    assert found == {"a.png": None, "second": "a link to a folder that is searched already"}


def test_a_file_without_read_permission_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "secret.jpg").write_bytes(b"x")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    assert photos.photo(tmp_path / "secret.jpg").problem == "Permission denied"


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path):
    data = cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes()
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write(data)
    with open(os.fsencode(tmp_path) + b"/clip\xe9.mp4", "wb") as file:
        file.write(b"x")
    one, clip = photos.read(photos.find([tmp_path]))
    assert one.problem is None and one.image.shape == (20, 20, 3)
    assert one.name.endswith("caf\\xe9.png") and one.name.isascii()
    assert clip.problem == "OpenCV reads no video whose name is not UTF-8; rename it"


def test_names_are_shown_in_one_line_without_control_characters():
    assert photos.shown("a\nb\x1b[31mc\u202ed\u2028é.jpg") == r"a\nb\x1b[31mc\u202ed\u2028é.jpg"
    assert photos.shown(os.fsdecode(b"caf\xe9")) == r"caf\xe9"


def test_messages_of_libraries_stay_out_of_standard_error(tmp_path, capfd):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
    data[700:760] = bytes(60)
    (tmp_path / "odd.jpg").write_bytes(bytes(data))
    cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR)
    assert capfd.readouterr().err  # libraries print warnings for it
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    list(photos.read(photos.find([tmp_path])))
    print("a line of ours", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "a line of ours\n"


def test_files_arrays_grey_and_pil_images_are_accepted(tmp_path):
    bgr = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    for given in (
        bgr,
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
        Image.fromarray(bgr[:, :, ::-1]),
        np.asfortranarray(bgr),
    ):
        np.testing.assert_array_equal(images.as_image(given), bgr)
    grey = np.repeat(bgr[:, :, :1], 3, axis=2)
    for given in (bgr[:, :, 0], bgr[:, :, :1]):
        np.testing.assert_array_equal(images.as_image(given), grey)
    bgra = np.dstack([bgr, bgr[:, :, 0]])
    cv2.imwrite(str(tmp_path / "clear.png"), bgra)
    np.testing.assert_array_equal(images.as_image(tmp_path / "clear.png"), bgr)
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    np.testing.assert_array_equal(images.as_image(rgb, "RGB"), bgr)
    for given in (bgr[:, :, 0], Image.fromarray(bgr[:, :, 0]), Image.fromarray(bgr[:, :, 0]).convert("LA")):
        np.testing.assert_array_equal(images.as_image(given, "RGB"), grey)
    # A PIL image states its channel order itself.
    np.testing.assert_array_equal(images.as_image(Image.open(tmp_path / "a.png"), "BGR"), bgr)
    turned = Image.fromarray(np.rot90(rgb))
    exif = turned.getexif()
    exif[0x0112] = 6  # the top of the scene is on the right of the picture
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(images.as_image(Image.open(tmp_path / "turned.png")), bgr)


def test_unusable_pil_images_are_reported_in_one_sentence(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:9000])
    for image, words in (
        (Image.open(tmp_path / "half.png"), "the PIL image cannot be read"),
        (Image.new("I;16", (90, 90)), "mode I;16 has no values from 0 to 255"),
        (Image.new("F", (90, 90)), "mode F has no values"),
        (Image.new("1", (20000, 5001)), "too large: 100 million pixels"),
    ):
        with pytest.raises(ToolError, match=words):
            images.as_image(image)
    with pytest.raises(ToolError, match="channels='GBR': give 'BGR' or 'RGB'"):
        images.as_image(np.zeros((90, 90, 3), np.uint8), "GBR")


@pytest.mark.parametrize(
    "given, words",
    (
        (None, "no image given"),
        (np.zeros((20, 20, 4), np.uint8), "drop its fourth channel"),
        (np.zeros((20, 20, 2), np.uint8), r"shape \(20, 20, 2\) is no image"),
        (np.zeros((3, 20, 20), np.uint8), "is no image"),
        (np.zeros((20, 20, 3)), "an array of float64 is no image, its values must be uint8"),
        (np.zeros((0, 20, 3), np.uint8), "20 x 0 pixels, too small"),
        (np.zeros((0,), np.uint8), "is no image"),
        (np.zeros((1, 1, 3), np.uint8), "1 x 1 pixels, too small for a face"),
        (np.zeros((2, 20, 20, 3), np.uint8), "is no image"),
        ([np.zeros((20, 20, 3), np.uint8)], "predict_batch"),
        (7, "int is no image"),
        ("nowhere.jpg", "nowhere.jpg: no such file"),
        ("a\0b.jpg", "no name of a file"),
    ),
)
def test_an_argument_that_is_not_an_image_is_reported_in_one_sentence(given, words):
    with pytest.raises(ToolError, match=words) as error:
        images.as_image(given)
    assert "\n" not in str(error.value)
