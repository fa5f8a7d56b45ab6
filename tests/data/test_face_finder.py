"""Faces are found in synthetic scenes; the transform from photo to CelebA's frame and back is exact."""

import cv2
import numpy as np
import onnx
import pytest

from data_prep import geometry
from data_prep.errors import DataError
from data_prep.faces import detections, face_finder, mtcnn, yunet
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


@pytest.mark.parametrize("frame", (None, ((120.0, 130.0), (160.0, 130.0))))
def test_a_box_moves_with_the_patch_that_is_cut(frame):
    """A white rectangle is where to_patch says; once around, the box is where it was."""
    image, box = np.zeros((300, 280, 3), np.uint8), (100, 90, 190, 170)
    image[box[1] : box[3], box[0] : box[2]] = 255
    rows, columns = np.nonzero(geometry.patch(geometry.framed(image, frame))[..., 0] > 127)
    found = geometry.to_patch(box, image.shape[:2], frame)
    np.testing.assert_allclose(found, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1)
    np.testing.assert_allclose(geometry.from_patch(found, image.shape[:2], frame), box, atol=1e-6)


def rendered(seed=1, **more):
    labels = {"Male": True, "Smiling": True, "Straight_Hair": True, "Brown_Hair": True, **more}
    face, _, landmarks = synthetic_faces.draw_face(labels, np.random.default_rng(seed))
    return face, landmarks


def scene(scale, angle=0, seed=1):
    """A photo of a synthetic face, rotated counter-clockwise, and the positions of its eyes (2, 2)."""
    face, landmarks = rendered(seed)
    face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo = np.full((900, 1000, 3), 200, np.uint8)
    photo[150 : 150 + len(face), 300 : 300 + face.shape[1]] = face
    matrix = cv2.getRotationMatrix2D((500, 450), angle, 1)
    photo = cv2.warpAffine(photo, matrix, (1000, 900), borderValue=(200, 200, 200))
    return photo, geometry.moved(landmarks[:2] * scale + (300, 150), matrix)


@pytest.mark.parametrize("scale", (0.5, 1.0, 3.0))
def test_a_synthetic_face_is_found_at_its_position(scale):
    photo, eyes = scene(scale)
    (found,) = face_finder.FaceFinder()(photo)
    np.testing.assert_allclose(geometry.moved(geometry.ALIGNED_EYES, found.to_photo), eyes, atol=8 * scale)
    assert found.aligned.shape == (218, 178, 3)
    assert 0.5 <= found.score <= 1 and abs(found.rotation) < 10 and found.warning is None
    assert np.all(found.box[:2] < eyes.min(axis=0)) and np.all(found.box[2:] > eyes.max(axis=0))


@pytest.mark.parametrize("angle", (30, 45, 90, -90, 180))
def test_a_rotated_face_is_found_aligned_and_its_rotation_returned(angle):
    photo, eyes = scene(1.0, angle)
    (found,) = face_finder.FaceFinder()(photo)
    np.testing.assert_allclose(geometry.moved(geometry.ALIGNED_EYES, found.to_photo), eyes, atol=8)
    assert abs((found.rotation + angle + 180) % 360 - 180) < 12  # clockwise, the scene is turned counter-clockwise


def test_a_face_that_fills_the_picture_is_found():
    face, landmarks = rendered()
    (found,) = face_finder.FaceFinder()(np.ascontiguousarray(face[66:172, 40:132]))
    eyes = geometry.moved(geometry.ALIGNED_EYES, found.to_photo)
    np.testing.assert_allclose(eyes, landmarks[:2] - (40, 66), atol=8)


def test_faces_for_which_predictions_are_unreliable_carry_a_warning():
    finder = face_finder.FaceFinder()
    (tiny,) = finder(cv2.resize(scene(1.0)[0], None, fx=0.22, fy=0.22, interpolation=cv2.INTER_AREA))
    assert tiny.warning == "too small: its eyes are 9 pixels apart, 12 are needed"
    (blurred,) = finder(cv2.GaussianBlur(scene(1.0)[0], (0, 0), 6))
    assert blurred.warning == "blurred"


def test_a_nose_far_from_the_middle_of_the_eyes_means_a_face_in_profile():
    photo, _ = scene(1.0)
    level = face_finder.LANDMARKS + (300.5, 150.5)
    box = np.array([330.0, 210, 440, 320])
    front = face_finder.aligned_face(photo, box, level, 0.9)
    np.testing.assert_allclose(front.to_photo, [(1, 0, 300), (0, 1, 150)], atol=1e-9)
    assert front.warning is None
    level[2, 0] += 25
    assert face_finder.aligned_face(photo, box, level, 0.9).warning == "turned to the side"


def test_no_face_is_found_in_noise_or_in_a_picture_too_small_for_one():
    finder = face_finder.FaceFinder()
    assert finder(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)) == []
    for shape in ((1, 1, 3), (16, 16, 3), (16, 5000, 3), (5000, 16, 3)):
        assert finder(np.zeros(shape, np.uint8)) == []


@pytest.mark.parametrize("kind", ("missing", "no ONNX", "another network", "other word"))
def test_a_file_that_is_not_a_detector_is_reported_in_one_sentence(tmp_path, kind):
    path = tmp_path / "detector.onnx"
    words = "not a YuNet face detector"
    if kind == "missing":
        words = "No such file"
    elif kind == "no ONNX":
        path.write_bytes(b"garbage" * 50)
    elif kind == "another network":
        path.write_bytes((mtcnn.package_folder() / "pnet.onnx").read_bytes())
    else:
        path, words = "yolo", "give mtcnn, or a YuNet file"
    with pytest.raises(DataError, match=words) as error:
        face_finder.FaceFinder(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def yunet_file(path):
    """A network with YuNet's outputs: a face, 32 wide and 40 high, is where a cell of 8 x 8 pixels is bright.

    Landmark k lies k / 2 of a cell to the right of the cell's corner, and a quarter more down.
    """
    nodes, weights, outputs = [], [], []
    offsets = {"cls": [0], "obj": [0], "bbox": [0.5, 0.5, np.log(4), np.log(5)], "kps": np.arange(10) / 4}
    for stride in (8, 16, 32):
        for kind, bias in offsets.items():
            name, kernel = f"{kind}_{stride}", np.zeros((len(bias), 3, stride, stride), np.float32)
            if len(bias) == 1 and stride == 8:
                kernel[:] = 1 / (255 * kernel.size)
            for end, value in (("w", kernel), ("b", np.float32(bias)), ("s", np.array([1, -1, len(bias)]))):
                weights.append(onnx.numpy_helper.from_array(value, f"{name}_{end}"))
            inputs, sides = ["input", f"{name}_w", f"{name}_b"], [stride, stride]
            nodes += [
                onnx.helper.make_node("Conv", inputs, [f"{name}_c"], kernel_shape=sides, strides=sides),
                onnx.helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
                onnx.helper.make_node("Reshape", [f"{name}_t", f"{name}_s"], [name]),
            ]
            outputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, len(bias)]))
    image = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 160, 160])
    graph = onnx.helper.make_graph(nodes, "yunet", [image], outputs, weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=7), path)


def test_detections_of_a_yunet_file_are_read_as_opencv_gives_them(tmp_path):
    yunet_file(tmp_path / "yunet.onnx")
    detector = face_finder.FaceFinder(tmp_path / "yunet.onnx").detector
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[40:48, 120:128] = 240
    found = detector(photo)
    np.testing.assert_allclose(found.boxes, [(108, 24, 140, 64)], atol=1e-4)
    np.testing.assert_allclose(found.landmarks, [[(120 + 4 * k, 42 + 4 * k) for k in range(5)]], atol=1e-4)
    assert found.scores == pytest.approx([240 / 255], abs=1e-4)
    assert yunet.YuNet(tmp_path / "yunet.onnx", 41)(photo).boxes.shape == (0, 4)  # it is too small
    assert len(detector(np.zeros((50, 70, 3), np.uint8)).scores) == 0


def test_suppression_keeps_the_best_of_those_that_overlap():
    boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (0, 0, 4, 4), (50, 50, 60, 60)], float)
    scores = np.array([0.8, 0.9, 0.95, 0.5])
    assert detections.suppress(boxes, scores, 0.5).tolist() == [2, 1, 3]
    assert detections.suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [2, 3]
    assert detections.suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
