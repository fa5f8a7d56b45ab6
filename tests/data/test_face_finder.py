"""Faces are found in synthetic scenes; the transform from photo to CelebA's frame and back is exact."""

import cv2
import numpy as np
import pytest

from data_prep import geometry
from data_prep.faces import face_finder, mtcnn
from data_prep.synthetic import synthetic_faces


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


def test_a_box_moves_with_the_patch_that_is_cut():
    """A white rectangle is where to_patch says; once around, the box is where it was."""
    image, box = np.zeros((300, 280, 3), np.uint8), (100, 90, 190, 170)
    image[box[1] : box[3], box[0] : box[2]] = 255
    rows, columns = np.nonzero(geometry.patch(geometry.face(image))[..., 0] > 127)
    found = geometry.to_patch(box, image.shape[:2])
    np.testing.assert_allclose(found, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1)
    np.testing.assert_allclose(geometry.from_patch(found, image.shape[:2]), box, atol=1e-6)


def scene(scale=1.0, angle=0, side=900):
    """A photo of a synthetic face in its middle, rotated counter-clockwise, and the positions of its eyes (2, 2)."""
    labels = dict.fromkeys(("Male", "Smiling", "Straight_Hair", "Brown_Hair"), True)
    face, _, landmarks = synthetic_faces.draw_face(labels, np.random.default_rng(1))
    face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x, y = corner = (side - np.array(face.shape[1::-1])) // 2
    photo = np.full((side, side, 3), 200, np.uint8)
    photo[y : y + face.shape[0], x : x + face.shape[1]] = face
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
    photo = cv2.warpAffine(photo, matrix, (side, side), borderValue=(200, 200, 200))
    return photo, geometry.moved(landmarks[:2] * scale + corner, matrix)


def eyes_of(face):
    return geometry.moved(geometry.ALIGNED_EYES, face.to_photo)


@pytest.mark.parametrize("scale", (0.5, 3.0))
def test_a_synthetic_face_is_found_at_its_position(scale):
    photo, eyes = scene(scale)
    (found,) = face_finder.FaceFinder()(photo)
    np.testing.assert_allclose(eyes_of(found), eyes, atol=8 * scale)
    assert found.aligned.shape == (218, 178, 3)
    assert 0.5 <= found.score <= 1 and abs(found.rotation) < 10 and found.warning is None
    assert np.all(found.box[:2] < eyes.min(axis=0)) and np.all(found.box[2:] > eyes.max(axis=0))


@pytest.mark.parametrize("angles", ((90, -90, 180), (45, -45)))
def test_rotated_faces_are_found_aligned_and_their_rotation_returned(angles):
    parts = [scene(1.0, angle, 300) for angle in angles]
    found = face_finder.FaceFinder()(np.hstack([photo for photo, _ in parts]))
    for place, (face, angle) in enumerate(zip(found, angles, strict=True)):
        np.testing.assert_allclose(eyes_of(face), parts[place][1] + (300 * place, 0), atol=8)
        # Of the head it is clockwise, the scene is turned counter-clockwise.
        assert abs((face.rotation + angle + 180) % 360 - 180) < 12


def test_faces_that_fill_the_picture_are_found_and_those_of_unreliable_predictions_carry_a_warning():
    finder, (photo, eyes) = face_finder.FaceFinder(), scene()
    corner = (900 - np.array([178, 218])) // 2 + (40, 66)
    (found,) = finder(np.ascontiguousarray(photo[corner[1] :, corner[0] :][:106, :92]))
    np.testing.assert_allclose(eyes_of(found), eyes - corner, atol=8)
    (tiny,) = finder(cv2.resize(photo, None, fx=0.22, fy=0.22, interpolation=cv2.INTER_AREA))
    assert tiny.warning == "too small: its eyes are 9 pixels apart, 12 are needed"
    (blurred,) = finder(cv2.GaussianBlur(photo, (0, 0), 6))
    assert blurred.warning == "blurred"


def test_a_nose_far_from_the_middle_of_the_eyes_means_a_face_in_profile():
    photo, _ = scene()
    level = face_finder.LANDMARKS + (361.5, 341.5)
    box = np.array([391.0, 401, 501, 511])
    front = face_finder.aligned_face(photo, box, level, 0.9)
    np.testing.assert_allclose(front.to_photo, [(1, 0, 361), (0, 1, 341)], atol=1e-9)
    assert front.warning is None
    level[2, 0] += 25
    assert face_finder.aligned_face(photo, box, level, 0.9).warning == "turned to the side"


def test_no_face_is_found_in_noise_or_in_a_picture_too_small_for_one():
    finder = face_finder.FaceFinder()
    assert finder(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)) == []
    for shape in ((1, 1, 3), (16, 16, 3), (16, 5000, 3), (5000, 16, 3)):
        assert finder(np.zeros(shape, np.uint8)) == []


def test_suppression_keeps_the_best_of_those_that_overlap():
    boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (0, 0, 4, 4), (50, 50, 60, 60)], float)
    scores = np.array([0.8, 0.9, 0.95, 0.5])
    assert mtcnn.suppress(boxes, scores, 0.5).tolist() == [2, 1, 3]
    assert mtcnn.suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [2, 3]
    assert mtcnn.suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
