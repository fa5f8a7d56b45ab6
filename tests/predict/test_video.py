"""The annotated video: its content, its errors, and its faces, with stable numbers and answers."""

import cv2
import numpy as np
import pytest
from mutations import full_disk
from predicted_photos import decide, frame

from tools.errors import ToolError
from tools.predict import video
from tools.predict.cards import Style
from tools.predict.video import Tracker, matched

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


@pytest.mark.parametrize("ending", video.CODECS)
def test_a_video_with_very_few_frames_is_written_whole(tmp_path, ending):
    """Encoders refuse such rates, VP8 those with a small picture only when it is written."""
    small = [frame(900 * n) for n in range(3)]
    for photo in small:
        photo.view, photo.shape = np.zeros((48, 64, 3), np.uint8), (48, 64, 3)
    _, found, rate = written(tmp_path / f"a{ending}", small, 1 / 900)
    assert len(found) == 2 * 900 * rate + 1  # the video lasts as long as its source


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
    with pytest.raises(ToolError, match="could not be written whole; is the disk full?"), full_disk(20_000):
        written(tmp_path / "a.mp4", [frame(n / 25, (9 * n, 0.9)) for n in range(30)])
    assert list(tmp_path.iterdir()) == []


# Faces that are followed ------------------------------------------------------------------------------------


def follow(frames, step=0.04):
    tracker = Tracker(decide)
    return [tracker.follow(frame(step * number, *faces)).faces for number, faces in enumerate(frames)]


def tracks(frames, step=0.04):
    return [[face.track for face in faces] for faces in follow(frames, step)]


def test_numbers_stay_with_faces_that_move_and_cross_in_the_list():
    frames = [((10 * n, 0.9), (600 - 10 * n, 0.1)) for n in range(12)]
    frames = [faces[:: 1 if n % 2 else -1] for n, faces in enumerate(frames)]
    for faces in follow(frames):
        by_track = {face.track: face.attributes["Male"].answer for face in faces}
        assert by_track == {1: "absent", 2: "present"}  # the first frame lists the face on the right first


def test_a_face_is_shown_from_its_second_detection_and_kept_for_a_while_when_lost():
    frames = [((0, 0.9),)] + [((0, 0.9), (300, 0.9))] + [((0, 0.9),)] * 2
    assert tracks(frames) == [[1]] * 4  # one detection is not enough
    frames = [((0, 0.9),)] + [((0, 0.9), (300, 0.9))] * 3
    assert tracks(frames) == [[1], [1], [1, 2], [1, 2]]
    faces = follow([((0, 0.9),)] * 2 + [()] * 30)
    gone = next(place for place, found in enumerate(faces) if not found)
    assert 10 <= gone - 2 <= 11  # 0.4 seconds
    assert [face.score for (face,) in faces[:gone]] == [0.99] * 2 + [None] * (gone - 2)
    assert tracks([((0, 0.9),), (), ((0, 0.9),)], step=2.0) == [[1], [1], [1]]  # frames that are far apart
    assert tracks([((0, 0.9),), (), (), (), ((0, 0.9),), ((0, 0.9),)], step=2.0)[-1] == [2]


def test_predictions_ignore_single_frames_and_follow_lasting_changes():
    rng = np.random.default_rng(0)
    noisy = [((0, float(p)),) for p in np.clip(0.8 + rng.normal(0, 0.08, 100), 0.01, 0.99)]
    given = [decide("Male", faces[0][1]) for faces in noisy]
    shown = [face.attributes["Male"].answer for (face,) in follow(noisy)]
    assert sum(a != b for a, b in zip(given, given[1:])) > 20
    assert sum(a != b for a, b in zip(shown, shown[1:])) <= 1
    change = follow([((0, 0.95),)] * 10 + [((0, 0.05),)] * 50)
    shown = [face.attributes["Male"].answer for (face,) in change]
    assert shown[:11] == ["present"] * 11 and shown[-1] == "absent"
    assert set(shown[shown.index("uncertain") :]) == {"uncertain", "absent"}
    for (face,) in change:
        answer = face.attributes["Male"]
        assert 0.04 < answer.probability < 0.96 and 0.04 < answer.share[2] < 0.96
    assert change[11][0].attributes["Male"].share[2] > 0.8  # regions are averaged like probabilities


def test_averages_depend_on_time_not_on_frames():
    slow = follow([((0, 0.9),), ((0, 0.1),)], step=0.5)[-1][0]
    quick = follow([((0, 0.9),)] + [((0, 0.1),)] * 50, step=0.01)[-1][0]
    assert slow.attributes["Male"].probability == pytest.approx(quick.attributes["Male"].probability, abs=0.02)


def test_each_box_continues_the_one_that_it_overlaps_most():
    boxes = [(0, 0, 100, 100), (60, 0, 160, 100)]
    assert matched(boxes, [(58, 0, 158, 100), (5, 0, 105, 100)]) == {0: 1, 1: 0}
    assert matched(boxes, [(50, 0, 150, 100)]) == {1: 0}
    assert matched(boxes, [(500, 0, 600, 100), (10, 0, 10, 100)]) == {}
    assert matched([], boxes) == matched(boxes, []) == {}
