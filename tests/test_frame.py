"""LFW's photos framed like CelebA's faces: the same face in either layout gives the same patch and the same boxes."""

import json

import cv2
import numpy as np
import pytest

from data_prep import geometry
from data_prep.build import build_lmdb, builder
from data_prep.sources.opening import open_source
from data_prep.store import databases, manifest
from data_prep.synthetic import synthetic_faces

COUNT = 20
SHARES = {"Male": 0.5, "Eyeglasses": 0.5, "Smiling": 0.5}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """The same twenty faces in both layouts."""
    folder = tmp_path_factory.mktemp("faces")
    for layout in ("celeba", "lfwa"):
        synthetic_faces.generate(folder / layout, COUNT, 4, SHARES, workers=1, layout=layout)
    return folder


def opened(folder, **options):
    source = open_source(folder, **options)
    source.open()
    return source


def test_boxes_go_through_a_frame_and_back():
    eyes = np.array([(103.0, 112.0), (146.0, 112.0)])
    box = np.array([60.0, 70.0, 150.0, 180.0])
    patch_box = geometry.to_patch(box, (250, 250), eyes)
    np.testing.assert_allclose(geometry.from_patch(patch_box, (250, 250), eyes), box)
    # The middle of the eyes moves from (124.5, 112) to (88.5, 111) of 178 x 218 pixels; 43 pixels become 39.
    x = ((60 - 124.5) * 39 / 43 + 88.5) * 256 / 178 - 16
    y = ((180 - 112) * 39 / 43 + 111) * 256 / 218 - 16
    np.testing.assert_allclose(patch_box[[0, 3]], [x, y])


def test_eyes_are_moved_to_celebas_positions():
    image = np.zeros((250, 250, 3), np.uint8)
    for x, y in geometry.LFW_EYES.astype(int):
        cv2.circle(image, (int(x), int(y)), 2, (255, 255, 255), -1)
    face = geometry.framed(image, geometry.LFW_EYES)
    assert face.shape == (256, 256, 3)
    for (x, y), half in zip(geometry.ALIGNED_EYES * (256 / 178, 256 / 218), (slice(0, 128), slice(128, 256))):
        rows, columns = np.nonzero(face[:, half, 0] > 128)
        assert abs(rows.mean() - y) < 1 and abs(columns.mean() + half.start - x) < 1
    aligned = np.random.default_rng(0).integers(0, 255, (218, 178, 3)).astype(np.uint8)
    np.testing.assert_array_equal(geometry.framed(aligned), geometry.face(aligned))


def test_both_layouts_give_the_same_faces(faces):
    celeba, lfwa = opened(faces / "celeba"), opened(faces / "lfwa")
    assert celeba.frame is None and lfwa.frame == ((103.0, 112.0), (146.0, 112.0))
    for index in range(COUNT):
        one, other = celeba.face(index).astype(int), lfwa.face(index).astype(int)
        assert abs(one - other).mean() < 6
        plain = geometry.face(lfwa.image(index)).astype(int)
        assert abs(one - plain).mean() > 2 * abs(one - other).mean()


@pytest.mark.parametrize("form", manifest.FORMS)
def test_both_layouts_give_the_same_patches_and_boxes(faces, tmp_path, form):
    lfwa = opened(faces / "lfwa", validation=0.3)
    made = builder.build(lfwa, tmp_path / "lmdb", list(SHARES), manifest.Settings(encoding="png"), form)
    assert made.frame == manifest.read(tmp_path / "lmdb").frame == ((103.0, 112.0), (146.0, 112.0))
    celeba = opened(faces / "celeba")
    members = np.flatnonzero(lfwa.partition == 2)
    boxes = json.loads((tmp_path / "lmdb/test_boxes.json").read_text())
    assert len(members) == len(boxes) == 10
    for index, image, known in zip(members, databases.images(tmp_path / "lmdb/test_images"), boxes):
        expected = geometry.patch(celeba.face(index))
        assert image.shape == ((224, 224, 3) if form == "stream" else (250, 250, 3))
        assert abs(made.patch(image).astype(int) - expected).mean() < 6
        own = celeba.boxes[celeba.names[index]]
        assert known.keys() == own.keys()
        for name, box in known.items():
            np.testing.assert_allclose(box, geometry.to_patch(own[name], (218, 178)), atol=2)


def test_landmarks_and_boxes_of_the_lfwa_layout_are_moved(faces):
    lfwa = opened(faces / "lfwa")
    for boxes in lfwa.boxes.values():
        for x1, y1, x2, y2 in boxes.values():
            assert 0 <= x1 < x2 <= 250 and 0 <= y1 < y2 <= 250
    # Glasses are where the eyes are.
    boxes = np.array([boxes["Eyeglasses"] for boxes in lfwa.boxes.values() if "Eyeglasses" in boxes])
    middle = (boxes[:, :2] + boxes[:, 2:]).mean(axis=0) / 2
    assert abs(middle - geometry.LFW_EYES.mean(axis=0)).max() < 5


def test_eye_positions_can_be_given_and_framing_switched_off(faces, tmp_path):
    arguments = [str(faces / "lfwa"), "--attributes", "Male", "--validation", "0.3", "--out"]
    assert build_lmdb.main([*arguments, str(tmp_path / "eyes"), "--eyes", "100,110,150,115"]) == 0
    made = manifest.read(tmp_path / "eyes")
    assert made.frame == ((100.0, 110.0), (150.0, 115.0)) and made.source.options["frame"] == [[100, 110], [150, 115]]
    assert build_lmdb.main([*arguments, str(tmp_path / "none"), "--frame", "none"]) == 0
    made = manifest.read(tmp_path / "none")
    assert made.frame is None and made.source.options["frame"] == "none"
