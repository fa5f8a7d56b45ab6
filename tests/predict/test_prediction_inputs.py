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
from hypothesis import strategies
from mutations import attempt, damaged, each, few
from PIL import Image

from data_prep import image_files
from data_prep.errors import DataError
from tools.predict import inputs, predictor


def read(*places, **options):
    return list(inputs.read(inputs.find(places)[0], **options))


def problems(folder):
    """Name -> problem of each file in a folder."""
    return {os.path.basename(photo.name): photo.problem for photo in read(folder)}


def noise(height=40, width=40):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(width, height, rows=b""):
    """A PNG of one bit per pixel whose pixels are zlib data of `rows`."""

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def write_clip(path, frames=25):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()


def test_a_video_gives_frames_with_their_time_and_a_broken_one_a_problem(tmp_path):
    write_clip(tmp_path / "clip.avi")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    bad, *frames = read(tmp_path)
    assert bad.problem == "no frame in it" and bad.time is None
    assert [(photo.name, photo.time, photo.problem) for photo in frames] == [
        (str(tmp_path / "clip.avi"), float(second), None) for second in range(3)
    ]
    assert [round(photo.image.mean() / 10) for photo in frames] == [0, 10, 20]
    for every, most in ((0, 0), (0.5, 0), (0.25, 4), (60, 0)):
        video = inputs.Video(tmp_path / "clip.avi", every, most)
        found = list(video)
        assert len(found) == video.total
        assert [photo.time * video.rate for photo in found] == pytest.approx(range(len(found)))
    video = inputs.Video(tmp_path / "bad.mp4", 0)
    assert (video.rate, video.total) == (25.0, 0)


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
    monkeypatch.setattr(inputs, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


@pytest.mark.parametrize("every, times", ((0, (0, 0.04, 0.08)), (0.5, (0, 0.52, 1.0)), (5, (0, 5, 10)), (1, (0, 1, 2))))
def test_frames_of_a_camera_are_taken_by_the_clock(monkeypatch, every, times):
    camera(monkeypatch)
    found = read("0", every=every, frames=3)
    assert [photo.time for photo in found] == pytest.approx(times, abs=0.041)
    assert {photo.name for photo in found} == {"camera 0"}
    video = inputs.Video(0, every, 3)
    assert video.rate == min(25, 1 / every if every else 25) and video.total == 3


def test_a_camera_skips_frames_while_one_is_processed(monkeypatch):
    clock, times = camera(monkeypatch), []
    for photo in inputs.Video(0, 1, 4):
        times.append(photo.time)
        clock[0] += 1.5
    assert times == pytest.approx([0, 1.5, 3.0, 4.5], abs=0.2)


@pytest.mark.filterwarnings("ignore")
def test_what_has_hundreds_of_millions_of_pixels_is_never_decoded(tmp_path, monkeypatch):
    class Capture:
        def __init__(self, _):
            self.grab = self.retrieve = lambda: pytest.fail("decoded")
            self.isOpened = lambda: True
            self.release = lambda: None
            self.get = lambda _: 30000.0

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    for side in (12_000, 30_000):
        (tmp_path / f"{side}.png").write_bytes(png(side, side, bytes((side // 8 + 1) * 1000)))
    words = " pixels, too large: 100 million pixels are decoded at most"
    assert problems(tmp_path) == {
        "12000.png": f"12000 x 12000{words}",
        "30000.png": "not a readable image (too many pixels to be a photo)",
        "clip.mp4": f"30000 x 30000{words}",
    }


def test_each_file_that_cannot_be_used_is_one_problem(tmp_path):
    for ending in (".jpg", ".png", ".webp"):
        data = cv2.imencode(ending, noise())[1].tobytes()
        for name, end in (("half", len(data) // 2), ("head", 15)):
            (tmp_path / f"{name}{ending}").write_bytes(data[:end])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    for name, shape in (("dot.png", (1, 1, 3)), ("line.jpg", (3, 400, 3))):
        cv2.imwrite(str(tmp_path / name), np.zeros(shape, np.uint8))
    found = problems(tmp_path)
    words = "pixels, too small for a face: 16 x 16 are needed"
    assert (found.pop("dot.png"), found.pop("line.jpg")) == (f"1 x 1 {words}", f"400 x 3 {words}")
    assert len(found) == 8 and all(problem.startswith("not a readable image (") for problem in found.values()), found


def test_other_files_of_a_folder_are_counted_and_named_ones_are_problems(tmp_path):
    folder = tmp_path / "holiday"
    (folder / "inner").mkdir(parents=True)
    for name in ("Thumbs.db", "a.xmp", "inner/notes.txt", "inner/.hidden.jpg", ".DS_Store"):
        (folder / name).write_text("no picture")
    with pytest.raises(DataError, match="holiday: no picture or video in it"):
        inputs.find([folder])
    cv2.imwrite(str(folder / "inner/b.JPG"), noise())
    found, skipped = inputs.find([folder])
    assert found == [folder / "inner/b.JPG"] and skipped == 3
    (photo,) = read(folder / "a.xmp")
    assert photo.problem.startswith("not a readable image")
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        inputs.find([tmp_path / "nowhere"])


def test_special_files_and_broken_links_are_problems_and_never_block(tmp_path):
    for name in ("pipe.jpg", "pipe.mp4"):
        os.mkfifo(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket.png"))
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "again").symlink_to(tmp_path)
    found = problems(tmp_path)
    assert found.pop("self.jpg").startswith("Too many levels of symbolic links")
    assert found.pop("dangling.jpg") == "No such file or directory"
    assert found == dict.fromkeys(("device.jpg", "pipe.jpg", "pipe.mp4", "socket.png"), "not a regular file")


def test_a_linked_folder_is_searched_once(tmp_path):
    (tmp_path / "album").mkdir()
    cv2.imwrite(str(tmp_path / "album" / "a.png"), noise())
    (tmp_path / "photos").mkdir()
    for name in ("first", "second"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "album")
    assert inputs.find([tmp_path / "photos"]) == ([tmp_path / "photos/first/a.png"], 0)


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(cv2.imencode(".png", noise())[1].tobytes())
    with open(os.fsencode(tmp_path) + b"/clip\xe9.mp4", "wb") as file:
        file.write(b"x")
    photo, clip = read(tmp_path)
    assert photo.problem is None and photo.image.shape == (40, 40, 3)
    assert photo.name.endswith("caf\\xe9.png") and photo.name.isascii()
    assert clip.problem == "OpenCV reads no video whose name is not UTF-8; rename it"


def test_messages_of_libraries_stay_out_of_standard_error(tmp_path, capfd):
    data = bytearray(cv2.imencode(".jpg", noise(64, 64))[1].tobytes())
    data[700:760] = bytes(60)
    (tmp_path / "odd.jpg").write_bytes(bytes(data))
    cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR)
    assert capfd.readouterr().err  # libraries print warnings for it
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    read(tmp_path)
    print("a line of ours", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "a line of ours\n"


def test_files_arrays_grey_and_pil_images_are_accepted(tmp_path):
    bgr = noise(20, 30)
    rgb, grey = np.ascontiguousarray(bgr[:, :, ::-1]), np.repeat(bgr[:, :, :1], 3, axis=2)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), bgr)
    for same in (bgr, str(path), path, Image.fromarray(rgb), np.asfortranarray(bgr)):
        np.testing.assert_array_equal(predictor.as_image(same), bgr)
    for same in (bgr[:, :, 0], bgr[:, :, :1], Image.fromarray(bgr[:, :, 0]).convert("LA")):
        np.testing.assert_array_equal(predictor.as_image(same, "RGB"), grey)
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([bgr, bgr[:, :, 0]]))
    np.testing.assert_array_equal(predictor.as_image(tmp_path / "clear.png"), bgr)
    np.testing.assert_array_equal(predictor.as_image(rgb, "RGB"), bgr)
    # A PIL image states its channel order itself, and its Exif orientation is undone.
    np.testing.assert_array_equal(predictor.as_image(Image.open(path), "BGR"), bgr)
    turned = Image.fromarray(np.rot90(rgb))
    exif = turned.getexif()
    exif[0x0112] = 6  # the top of the scene is on the right of the picture
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(predictor.as_image(Image.open(tmp_path / "turned.png")), bgr)


@pytest.mark.parametrize(
    "value, words",
    (
        (None, "NoneType is no image; give a file name"),
        (np.zeros((20, 20, 4), np.uint8), "an array of uint8 and shape .* is no image; give"),
        (np.zeros((20, 20, 3)), "an array of float64 and shape .* is no image; give"),
        (np.zeros((0, 20, 3), np.uint8), "20 x 0 pixels, too small"),
        (np.zeros((2, 20, 20, 3), np.uint8), "is no image"),
        ([np.zeros((20, 20, 3), np.uint8)], "predict_batch"),
        ("nowhere.jpg", "nowhere.jpg: No such file"),
        ("a\0b.jpg", "not the name of a file"),
        (Image.new("I;16", (90, 90)), "mode I;16 has no values from 0 to 255"),
        (Image.new("1", (20000, 5001)), "too large: 100 million pixels"),
    ),
)
def test_an_argument_that_is_not_an_image_is_reported_in_one_sentence(value, words):
    with pytest.raises(DataError, match=words) as error:
        predictor.as_image(value)
    assert "\n" not in str(error.value)


def test_a_pil_image_of_a_damaged_file_is_reported_in_one_sentence(tmp_path):
    Image.fromarray(noise(90, 90)).save(tmp_path / "a.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:9000])
    with pytest.raises(DataError, match="the PIL image cannot be read"):
        predictor.as_image(Image.open(tmp_path / "half.png"))
    with pytest.raises(DataError, match="channels='GBR': give 'BGR' or 'RGB'"):
        predictor.as_image(noise(), "GBR")


ENCODED = [cv2.imencode(ending, noise())[1].tobytes() for ending in (".jpg", ".png", ".webp", ".bmp", ".tif", ".ppm")]


@pytest.mark.filterwarnings("ignore")
@few(60, 500)
def test_mutated_images_are_read_or_refused_in_one_line(examples, tmp_path):
    path = tmp_path / "a.jpg"

    def check(data):
        path.write_bytes(data)
        with inputs.quiet():
            image = attempt(lambda: image_files.read(path), "")
        if image is not None:
            assert image.dtype == np.uint8 and image.ndim == 3 and min(image.shape[:2]) >= image_files.SMALLEST

    each(strategies.sampled_from(ENCODED).flatmap(damaged), examples, check)
