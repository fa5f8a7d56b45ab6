"""Faces tracked through the frames of a video: stable numbers and predictions, no false detections."""

import numpy as np
import pytest
from predicted_photos import decide, frame

from tools.predict.video import Tracker, matched


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
