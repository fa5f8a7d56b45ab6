"""Pictures to predict on: what files and folders may contain, and that nothing unsafe is opened or decoded."""

import os
import socket
import sys
import types

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.errors import DataError
from tools.predict import inputs, predictor


def read(*places, **options):
    return list(inputs.read(inputs.find(places)[0], **options))


def problems(place):
    """Name -> problem of each file in a folder, or of one file."""
    return {os.path.basename(photo.name): photo.problem for photo in read(place)}


def noise(height=40, width=40):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Videos and cameras -----------------------------------------------------------------------------------------


def test_a_video_gives_frames_with_their_time_and_a_broken_one_a_problem(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(25):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
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


class Capture:
    """In place of OpenCV's: a camera of 25 frames a second, which opens in 2 seconds of a clock of its own."""

    clock, size = 100.0, 64.0

    def __init__(self, _):
        self.frames = 0

    def isOpened(self):
        return True

    def release(self):
        pass

    def get(self, _):
        return self.size

    def grab(self):
        self.frames += 1
        Capture.clock += 1 / 25 if self.frames > 1 else 2
        return self.frames < 1000

    def retrieve(self):
        return True, np.full((64, 64, 3), self.frames % 256, np.uint8)


@pytest.mark.parametrize("every, times", ((0, (0, 0.04, 0.08)), (0.5, (0, 0.52, 1.0)), (5, (0, 5, 10)), (1, (0, 1, 2))))
def test_frames_of_a_camera_are_taken_by_the_clock_and_skipped_while_one_is_processed(monkeypatch, every, times):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(inputs, "time", types.SimpleNamespace(monotonic=lambda: Capture.clock))
    found = read("0", every=every, frames=3)
    assert [photo.time for photo in found] == pytest.approx(times, abs=0.041)
    assert {photo.name for photo in found} == {"camera 0"}
    video, busy = inputs.Video(0, every, 3), []
    assert video.rate == min(25, 1 / every if every else 25) and video.total == 3
    for photo in video:
        busy.append(photo.time)
        Capture.clock += 1.5
    assert busy == pytest.approx([max(time, 1.5 * place) for place, time in enumerate(times)], abs=0.2)


def test_frames_of_a_video_are_taken_by_their_time(tmp_path, monkeypatch):
    """Telephones write frames at irregular times."""
    stamps = (0.2, 1.2, 1.233, 5.2, 9.2)
    (tmp_path / "clip.mkv").write_bytes(b"x")

    class Irregular(Capture):
        def get(self, what):
            return {cv2.CAP_PROP_POS_MSEC: 1000 * stamps[self.frames - 1], cv2.CAP_PROP_FPS: 30}.get(what, 64)

        def grab(self):
            self.frames += 1
            return self.frames <= len(stamps)

    monkeypatch.setattr(cv2, "VideoCapture", Irregular)
    for every, times in ((1, (0, 1, 5, 9)), (0, (0, 1, 1.033, 5, 9)), (4, (0, 5, 9))):
        assert [photo.time for photo in read(tmp_path, every=every)] == pytest.approx(times)


def test_what_has_hundreds_of_millions_of_pixels_is_never_decoded(tmp_path, monkeypatch):
    Image.new("1", (10_001, 10_000)).save(tmp_path / "large.png")
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Capture, "size", 30000.0)
    for decodes in ((Capture, "grab"), (Capture, "retrieve"), (cv2, "imdecode")):
        monkeypatch.setattr(*decodes, lambda *_: pytest.fail("decoded"))
    words = " pixels, too large: 100 million pixels are decoded at most"
    assert problems(tmp_path / "large.png") | problems(tmp_path / "clip.mp4") == {
        "large.png": f"10001 x 10000{words}",
        "clip.mp4": f"30000 x 30000{words}",
    }
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # Pillow's own limit
    assert problems(tmp_path / "bomb.png") == {"bomb.png": "not a readable image (too many pixels to be a photo)"}


# Files and folders ------------------------------------------------------------------------------------------


def test_files_of_a_folder_are_taken_by_their_ending_and_each_that_cannot_be_used_is_one_problem(tmp_path):
    """What of an image is refused: tests/data/test_readers.py."""
    folder = tmp_path / "holiday"
    (folder / "inner").mkdir(parents=True)
    for name in ("Thumbs.db", "a.xmp", "inner/notes.txt", "inner/.hidden.jpg", ".DS_Store", "b.answers.png"):
        (folder / name).write_text("no picture")
    with pytest.raises(DataError, match="holiday: no picture or video in it"):
        inputs.find([folder])
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        inputs.find([tmp_path / "nowhere"])
    cv2.imwrite(str(folder / "inner/b.JPG"), noise())
    found, skipped = inputs.find([folder])
    assert found == [folder / "inner/b.JPG"] and skipped == 4
    (photo,) = read(folder / "a.xmp")
    assert photo.problem.startswith("not a readable image (")
    (folder / "inner/b.JPG").write_bytes(b"")
    cv2.imwrite(str(folder / "line.png"), np.zeros((3, 400, 3), np.uint8))
    assert problems(folder) == {
        "b.JPG": "not a readable image (empty file)",
        "line.png": "400 x 3 pixels, too small for a face: 16 x 16 are needed",
    }


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
    (tmp_path / "inner2").symlink_to(tmp_path / "inner")  # a folder that several links lead to is searched once
    cv2.imwrite(str(tmp_path / "inner/a.png"), noise())
    assert len(inputs.find([tmp_path])[0]) == 7
    found = problems(tmp_path)
    assert found.pop("a.png") is None
    assert found.pop("self.jpg").startswith("Too many levels of symbolic links")
    assert found.pop("dangling.jpg") == "No such file or directory"
    assert found == dict.fromkeys(("device.jpg", "pipe.jpg", "pipe.mp4", "socket.png"), "not a regular file")


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path):
    for name, content in ((b"caf\xe9.png", cv2.imencode(".png", noise())[1].tobytes()), (b"clip\xe9.mp4", b"x")):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(content)
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


# Arguments of a Predictor -----------------------------------------------------------------------------------


def test_files_arrays_grey_and_pil_images_are_accepted(tmp_path):
    bgr = noise(20, 30)
    rgb, grey = np.ascontiguousarray(bgr[:, :, ::-1]), np.repeat(bgr[:, :, :1], 3, axis=2)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), bgr)
    # A PIL image states its channel order itself, and its Exif orientation is undone.
    for same in (bgr, str(path), path, Image.fromarray(rgb), np.asfortranarray(bgr)):
        np.testing.assert_array_equal(predictor.as_image(same), bgr)
    for same in (bgr[:, :, 0], bgr[:, :, :1], Image.fromarray(bgr[:, :, 0]).convert("LA")):
        np.testing.assert_array_equal(predictor.as_image(same, "RGB"), grey)
    np.testing.assert_array_equal(predictor.as_image(rgb, "RGB"), bgr)
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
