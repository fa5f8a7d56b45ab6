"""The annotated video: its content, and the errors if it cannot be written."""

import pathlib
import resource
import subprocess
import sys

import cv2
import numpy as np
import pytest
from test_tracking import decide, frame

from tools.errors import ToolError
from tools.predict import cards, photos, video
from tools.predict.predictor import Face

HERE = pathlib.Path(__file__).parent
STYLE = cards.Style(0.8, True, False)


def written(path, frames, rate=25, names=("Male",)):
    with video.AnnotatedVideo(path, rate, names, decide, STYLE) as annotated:
        for one in frames:
            annotated.add(one)
    capture = cv2.VideoCapture(str(path))
    found = []
    while capture.grab():
        found.append(capture.retrieve()[1])
    return annotated, found, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("ending", video.CODECS)
def test_a_video_has_the_given_frames_and_rate(tmp_path, ending):
    path = tmp_path / "new folder" / f"answers{ending}"
    annotated, found, rate = written(path, [frame(n / 12.5, (100 + n, 0.9)) for n in range(5)], 12.5)
    assert annotated.frames == len(found) == 5 and rate == 12.5
    assert found[0].shape[:2] == annotated.screen.size[::-1] and found[0].shape[0] % 2 == found[0].shape[1] % 2 == 0
    # The dark label of the number and the card are at their positions.
    assert found[-1][:200, 800:].min() < 60 and found[-1][:120, 101:210].max() > 200
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_missing_frames_of_a_video_are_filled(tmp_path):
    _, found, _ = written(tmp_path / "a.avi", [frame(0, (0, 0.9)), frame(0.2, (0, 0.9))], 25)
    assert len(found) == 6


@pytest.mark.parametrize("ending", video.CODECS)
@pytest.mark.parametrize("every", (900, 5000))
def test_a_video_with_very_few_frames_is_written_whole(tmp_path, ending, every):
    """Encoders refuse such rates, VP8 those with a small picture only when it is written."""
    small = [frame(every * n)._replace(view=np.zeros((48, 64, 3), np.uint8), shape=(48, 64, 3)) for n in range(3)]
    _, found, rate = written(tmp_path / f"a{ending}", small, 1 / every)
    assert len(found) == 2 * every * rate + 1  # the video lasts as long as its source


def test_cards_keep_their_places():
    screen = video.Screen(["Male"], STYLE, (540, 800, 3))
    assert len(screen.slots) == 3

    def seat(*numbers):
        screen._seat([Face((0, 0, 10 * number, 10), 0.9, 0.0, {}, track=number) for number in numbers])
        return screen.slots

    assert seat(1, 2) == [2, 1, None]
    assert seat(1, 2, 3, 4) == [2, 1, 4]
    assert seat(1, 3, 4) == [3, 1, 4]


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt):
        with video.AnnotatedVideo(path, 25, ["Male"], decide, STYLE) as annotated:
            assert path.read_bytes() == b"earlier"
            annotated.add(frame(0, (0, 0.9)))
            assert path.read_bytes() == b"earlier"
            raise KeyboardInterrupt
    assert video.frames_in(path) == 1 and [one.name for one in tmp_path.iterdir()] == [
        "a.mp4"
    ]  # the frames so far are kept


def test_a_video_that_cannot_be_written_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path / "a.gif", r"give a file that ends in \.mp4, \.avi, \.webm"),
        (tmp_path / "file" / "a.mp4", "--video .*a.mp4: (Not a directory|File exists)"),
        ("/proc/a.mp4", "/proc/a.mp4: cannot be written"),
    ):
        with pytest.raises(ToolError, match=words) as error:
            written(path, [frame(0, (0, 0.9))])
        assert "\n" not in str(error.value)


def test_a_full_disk_is_reported_in_one_sentence(tmp_path):
    code = (
        "import resource, pathlib, signal, sys\n"
        f"sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))\n"
        "from test_video import frame, written\n"
        f"written(pathlib.Path({str(tmp_path)!r}) / 'a.mp4', [frame(n / 25, (9 * n, 0.9)) for n in range(30)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "could not be written whole; is the disk full?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_processed_frames_are_counted(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(25):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    for every, frames in ((0, 0), (0.5, 0), (0.25, 4), (60, 0)):
        rate, count = photos.answered_frames(tmp_path / "clip.avi", every, frames)
        given = list(photos.video(tmp_path / "clip.avi", every, frames))
        assert len(given) == count
        assert [photo.moment * rate for photo in given] == pytest.approx(range(count))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert photos.answered_frames(tmp_path / "bad.mp4", 0) == (25.0, 0)
