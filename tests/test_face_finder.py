"""Faces found in drawn scenes, and the way from photo to CelebA's frame and back."""

import cv2
import numpy as np
import pytest

from data_prep import geometry
from data_prep.synthetic import synthetic_faces
from tools.predict import face_finder, photos


def test_similarity_by_hand():
    # Eyes twice as far apart and a quarter turn: (1, 0) -> (0, 2).
    matrix = geometry.similarity(np.array([(0.0, 0), (1, 0)]), np.array([(5.0, 5), (5, 7)]))
    np.testing.assert_allclose(matrix, [(0, -2, 5), (2, 0, 5)], atol=1e-12)
    np.testing.assert_allclose(geometry.moved([(1, 1)], matrix), [(3, 7)], atol=1e-12)


@pytest.mark.parametrize("scale", (0.4, 1.0, 3.0))
def test_align_undoes_rotation_scale_and_shift(scale):
    rng = np.random.default_rng(0)
    face = cv2.GaussianBlur(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8), (0, 0), 6)
    turn = cv2.getRotationMatrix2D((89, 111), 15, scale)
    turn[:, 2] += (300, 260)
    photo = cv2.warpAffine(face, turn, (900, 900), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    matrix, found = geometry.align(photo, geometry.moved(geometry.ALIGNED_EYES, turn))
    np.testing.assert_allclose(matrix, turn, atol=1e-9)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(found[inner].astype(int) - face[inner]).mean() < 3
    box = geometry.moved_box((0, 0, 178, 218), matrix, photo.shape)
    corners = geometry.moved([(0, 0), (178, 0), (178, 218), (0, 218)], turn)
    np.testing.assert_allclose(box, [*corners.min(axis=0).clip(0), *corners.max(axis=0)], atol=1e-9)


@pytest.mark.parametrize("scale", (0.5, 1.0, 3.0))
def test_drawn_face_is_found_where_it_is(scale):
    labels = {"Male": True, "Smiling": True, "Straight_Hair": True, "Brown_Hair": True}
    face, _, landmarks = synthetic_faces.draw_face(labels, np.random.default_rng(1))
    photo = np.full((900, 1000, 3), 200, np.uint8)
    face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo[150 : 150 + len(face), 300 : 300 + face.shape[1]] = face
    (found,) = face_finder.FaceFinder()(photo)
    eyes = geometry.moved(geometry.ALIGNED_EYES, found.to_photo)
    np.testing.assert_allclose(eyes, landmarks[:2] * scale + (300, 150), atol=8 * scale)
    assert found.aligned.shape == (218, 178, 3)


def test_no_face_in_noise_or_in_a_single_pixel():
    finder = face_finder.FaceFinder()
    assert finder(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)) == []
    assert finder(np.zeros((1, 1, 3), np.uint8)) == []


def test_photos_of_a_video_and_of_nothing(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(25):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    given = list(photos.read(photos.find([tmp_path])))
    assert [photo.problem for photo in given] == ["no frame in it", None, None, None]
    assert [photo.name.rpartition("#")[2] for photo in given[1:]] == ["0.00", "1.00", "2.00"]
    assert [round(photo.image.mean() / 10) for photo in given[1:]] == [0, 10, 20]
    assert len(list(photos.read([tmp_path / "clip.avi"], every=0.1, frames=4))) == 4
    (tmp_path / "nothing").mkdir()
    for missing in (tmp_path / "nowhere", tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError):
            photos.find([missing])
