"""Prediction under a Caffe: the results of a Predictor are those of its net, in order, calibrated, and finite."""

import cv2
import numpy as np
import pytest
from cascade_files import ATTRIBUTES, write_run
from shared import ENGINE

from data_prep import geometry
from data_prep.files import sha256
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.predict.photo import Photo
from tools.predict.predictor import Predictor
from tools.run import Run


@pytest.fixture(scope="module")
def pictures():
    """Five pictures (218, 178, 3) that stand for aligned faces."""
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (8, 6, 3), np.uint8), (178, 218)) for _ in range(5)]


@pytest.fixture(scope="module")
def random_run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("random") / "run", ENGINE)


def test_a_predictor_gives_the_calibrated_outputs_of_its_net(random_run, pictures):
    predictor = Predictor(random_run.folder, ["Male"], aligned=True, min_confidence=0.5)
    (answer,) = predictor.predict(pictures[0])
    net = networks.load(random_run.deploy("cascade"), random_run.weights("cascade"))
    result = networks.forward(net, [geometry.patch(geometry.face(pictures[0]))], ["logits", "rois_image"])
    assert list(answer.attributes) == ["Male"] and answer.score is None and list(answer.box) == [0, 0, 178, 218]
    male = answer.attributes["Male"]
    probability = 1 / (1 + np.exp(-(2 * result["logits"][0, 1] - 1)))  # slope and offset of write_calibration
    assert male.probability == pytest.approx(probability, abs=1e-5)
    assert male.answer == ("present" if result["logits"][0, 1] > 0.5 else "absent")
    region = np.clip(geometry.from_patch(result["rois_image"][0, 1], pictures[0].shape), 0, [178, 218] * 2)
    np.testing.assert_allclose(male.region, region, atol=1e-3)


@pytest.mark.parametrize("above", (-1.0, 1.0))
def test_thresholds_of_the_calibration_decide(pictures, above, tmp_path):
    run = write_run(tmp_path / "run", ENGINE)
    weights, (face,) = run.weights("cascade"), Predictor(run, aligned=True).predict(pictures[0])
    p = face.attributes["Eyeglasses"].probability
    logit = np.log(p / (1 - p))  # slope 1, offset 0
    score = calibration.ScoreCalibration([float(logit + above), 0.0], [1.0, 1.0], [0.0, 0.0])
    entry = calibration.Calibration(sha256(weights), "", ATTRIBUTES, [0.5, 0.5], 0, "accuracy", {"logits": score})
    calibration.write(weights, entry)
    (face,) = Predictor(run, aligned=True, min_confidence=0).predict(pictures[0])
    assert face.attributes["Eyeglasses"].answer == ("absent" if above > 0 else "present")


def test_task_one_answers_while_there_is_no_cascade(random_run, tmp_path):
    early = Run(tmp_path, random_run.data, random_run.settings, {"region": random_run.stages["region"]})
    early.write()
    (tmp_path / "region").symlink_to(random_run.folder / "region")
    assert Predictor(tmp_path, aligned=True).score == "max_d"
    Run(tmp_path, random_run.data, random_run.settings).write()
    with pytest.raises(ToolError, match="stage cascade is not begun"):
        Predictor(tmp_path)


def test_a_stream_keeps_order_and_batches_across_photos(random_run, pictures):
    predictor, sizes = Predictor(random_run, aligned=True), []
    answer = predictor.answer
    predictor.answer = lambda pairs: sizes.append(len(pairs)) or answer(pairs)
    source = [Photo(str(number), picture) for number, picture in enumerate(pictures)]
    source.insert(2, Photo("gap", problem="empty file"))
    photos = list(predictor.stream(source, batch=2))
    assert [photo.name for photo in photos] == ["0", "1", "gap", "2", "3", "4"] and sizes == [2, 2, 1]
    assert all(photo.image is None and photo.view is None for photo in photos)
    together = predictor.predict_batch(pictures)
    alone = [predictor.predict(picture) for picture in pictures]
    for faces in zip([photo.faces for photo in photos if photo.faces], together, alone):
        probabilities = [[answer.probability for answer in face.attributes.values()] for (face,) in faces]
        np.testing.assert_allclose(probabilities, probabilities[:1] * 3, atol=2e-4)


def test_scores_that_are_not_finite_are_an_error(random_run, pictures):
    predictor = Predictor(random_run, aligned=True)
    name = next(name for name in predictor.net.params if name.startswith("head"))
    predictor.net.params[name][0].data[...] = np.nan
    with pytest.raises(ToolError, match="scores that are not finite"):
        predictor.predict(pictures[0])
