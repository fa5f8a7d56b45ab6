"""The annotated video: its content, and the errors if it cannot be written."""

import pathlib
import resource
import subprocess
import sys

import cv2
import numpy as np
import pytest
from predicted_photos import decide, face, frame

from tools.errors import ToolError
from tools.predict import video
from tools.predict.cards import Style

HERE = pathlib.Path(__file__).parent
STYLE = Style(["Male"], 0.8, [])


def written(path, frames, rate=25):
    with video.AnnotatedVideo(path, rate, decide, STYLE) as annotated:
        for photo in frames:
            annotated.add(photo)
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
    assert found[0].shape[0] > 200 and found[0].shape[0] % 2 == found[0].shape[1] % 2 == 0
    # The number beside the face, and the card below the frame, are at their positions.
    assert found[-1][:120, 101:210].max() > 200 and found[-1][210:330, :400].min() < 60
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_missing_frames_of_a_video_are_filled(tmp_path):
    _, found, _ = written(tmp_path / "a.avi", [frame(0, (0, 0.9)), frame(0.2, (0, 0.9))], 25)
    assert len(found) == 6


@pytest.mark.parametrize("ending", video.CODECS)
def test_a_video_with_very_few_frames_is_written_whole(tmp_path, ending):
    """Encoders refuse such rates, VP8 those with a small picture only when it is written."""
    small = [frame(900 * n) for n in range(3)]
    for photo in small:
        photo.view, photo.shape = np.zeros((48, 64, 3), np.uint8), (48, 64, 3)
    _, found, rate = written(tmp_path / f"a{ending}", small, 1 / 900)
    assert len(found) == 2 * 900 * rate + 1  # the video lasts as long as its source


def test_cards_keep_their_places():
    slots = [None] * 3

    def seat(*numbers):
        video.seated(slots, [face(side=10.0 * number, track=number) for number in numbers])
        return slots

    assert seat(1, 2) == [2, 1, None]
    assert seat(1, 2, 3, 4) == [2, 1, 4]
    assert seat(1, 3, 4) == [3, 1, 4]


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"earlier")
    (tmp_path / ".a.999999999.partial.mp4").write_bytes(b"of a call that was killed")
    with pytest.raises(KeyboardInterrupt):
        with video.AnnotatedVideo(path, 25, decide, STYLE) as annotated:
            assert path.read_bytes() == b"earlier"
            annotated.add(frame(0, (0, 0.9)))
            assert path.read_bytes() == b"earlier"
            raise KeyboardInterrupt
    assert video.frames_in(path) == 1  # the frames so far are kept
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_cannot_be_written_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path / "a.gif", r"give a file that ends in \.mp4, \.avi, \.webm"),
        (tmp_path / "file" / "a.mp4", "(Not a directory|File exists): .*file"),
        ("/proc/a.mp4", "/proc/a.mp4: cannot be written"),
    ):
        with pytest.raises((ToolError, OSError), match=words) as error:
            written(path, [frame(0, (0, 0.9))])
        assert "\n" not in str(error.value)


def test_a_full_disk_is_reported_in_one_sentence(tmp_path):
    code = (
        "import resource, pathlib, signal, sys\n"
        f"sys.path[:0] = [{str(HERE)!r}]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))\n"
        "from test_video import frame, written\n"
        f"written(pathlib.Path({str(tmp_path)!r}) / 'a.mp4', [frame(n / 25, (9 * n, 0.9)) for n in range(30)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "could not be written whole; is the disk full?" in done.stderr
    assert list(tmp_path.iterdir()) == []
