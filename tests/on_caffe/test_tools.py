"""The tools under a Caffe: its nets are loaded safely, and evaluation and prediction follow from their outputs."""

import itertools
import os
import subprocess

import cv2
import evaluation_files
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from cascade_files import write_run
from google.protobuf import text_format
from shared import ATTRIBUTES, ENGINE, REPOSITORY

from data_prep import geometry, image_files
from data_prep.files import sha256
from data_prep.store import databases, manifest
from models.networks import network
from models.options import L1_FORMS, NETWORKS, NetworkOptions
from tools import model_files, networks
from tools.errors import ToolError
from tools.evaluate import calibration, evaluate, results
from tools.predict.photo import Photo
from tools.predict.predictor import Predictor


@pytest.fixture
def random_run(tmp_path):
    return write_run(tmp_path / "run", stages=("region", "cascade"), engine=ENGINE)


# Networks ---------------------------------------------------------------------------------------------------


def test_a_missing_gpu_is_reported_in_one_line():
    networks.use_device("cpu")
    words = "computes on the CPU only" if networks.is_bvlc() else "Cannot use GPU 99: PyTorch finds"
    with pytest.raises(ToolError, match=words) as error:
        networks.use_device("cuda:99")
    assert "\n" not in str(error.value)


def test_the_kinds_of_layers_are_those_that_the_generator_writes():
    texts = [
        network(net, NetworkOptions(form=form, l1=l1), deploy)
        for net, form, l1, deploy in itertools.product(NETWORKS, manifest.FORMS, L1_FORMS, (False, True))
    ]
    layers = [layer for text in texts for layer in text_format.Parse(text, caffe_pb2.NetParameter()).layer]
    assert set(map(networks.kind_of, layers)) == networks.KINDS


@pytest.mark.parametrize(
    "values, kept, words",
    [
        ([], None, "damaged, layer head has .* values in a blob of shape"),
        ([float("nan")], None, "layer head holds values that are not finite"),
        ([float("inf")], None, "layer head holds values that are not finite"),
        ([0], -1000, "not a .caffemodel, or cut short"),
        ([0], 0, "no weights in it"),
    ],
)
def test_damaged_weights_do_not_reach_caffe(values, kept, words, random_run):
    model, weights = random_run.deploy("cascade"), random_run.weights("cascade")
    message = model_files.read_weights(weights)
    (head,) = (layer for layer in message.layer if layer.name == "head")
    head.blobs[0].data[:] = [*values, *head.blobs[0].data[1:]]
    weights.write_bytes(message.SerializeToString()[:kept])
    with pytest.raises(ToolError, match=words):
        networks.load(model, weights)


@pytest.mark.parametrize(
    "layer, words",
    [
        ('type: "HDF5Output" bottom: "prob" hdf5_output_param { file_name: "FILE" }', "HDF5Output"),
        ('type: "Python" top: "y" python_param { module: "os.path" layer: "Net" }', "Python os.path Net"),
    ],
)
def test_layers_that_no_network_of_the_project_has_are_refused(layer, words, random_run, tmp_path):
    """A stranger's run could write files or run modules by its deploy.prototxt."""
    model, written = tmp_path / "deploy.prototxt", tmp_path / "written"
    layer = f'layer {{ name: "x" {layer.replace("FILE", str(written))} }}'
    model.write_text(random_run.deploy("cascade").read_text() + layer)
    with pytest.raises(ToolError, match=f"layer x is of type {words}, which no network of the project has"):
        networks.load(model, random_run.weights("cascade"))
    assert not written.exists()


def test_faces_and_labels_that_do_not_fit_are_reported_in_one_line(tmp_path):
    """tests/data/test_store.py has every kind of damaged record."""
    manifest.write(tmp_path, manifest.Manifest(["Eyeglasses", "Male"], form="stream"))
    images = [databases.image_datum(np.zeros((100, 90, 3), np.uint8), "png")]
    databases.write_lmdb(tmp_path / "val_images", images, 1, "val")
    databases.write_lmdb(tmp_path / "val_labels", [], 0, "val")
    with pytest.raises(ToolError, match="an image is 90 x 100 pixels"):
        list(networks.patches(tmp_path, "val"))


# Evaluation -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A Run whose task one and cascade are trained but not evaluated."""
    lmdb = evaluation_files.write_lmdb(tmp_path / "lmdb")
    return write_run(tmp_path / "run", lmdb, ("region", "average", "cascade"))


def test_numbers_regions_and_calibration_follow_from_the_outputs_of_the_nets(run):
    written, out = evaluate.evaluate(run, evaluation_files.SETTINGS), run.place("evaluate")
    assert list(written.networks) == ["region", "cascade"]
    assert written.synthetic and (written.faces, written.persons) == (24, 8)
    truth = evaluation_files.labels("test")
    for name, blob in (("region", "max_d"), ("cascade", "max_d"), ("cascade", "logits")):
        stage = "average" if name == "region" else name
        assert written.networks[name].checksum == sha256(run.folder / written.networks[name].file)
        assert written.networks[name].file == f"{stage}/{stage}.caffemodel"
        net = networks.load(run.deploy(stage), run.weights(stage))
        patches = {split: list(networks.patches(run.lmdb, split)) for split in ("val", "test")}
        scores = {split: networks.forward(net, patches[split], [blob])[blob] for split in patches}
        score = next(title for title, of in results.SCORES.items() if of == blob)
        *rows, mean = (row.accuracy.value for row in results.rows(written.networks[name], "p > 0.5", score))
        np.testing.assert_allclose(rows, ((scores["test"] > 0) == truth).mean(axis=0), atol=1e-6)
        assert mean == pytest.approx(np.mean(rows))
        of_val = results.read_arrays(out, name, written)[f"validation_{blob}"]
        np.testing.assert_allclose(of_val, scores["val"], rtol=1e-4, atol=1e-5)
        fitted = calibration.fit(of_val, evaluation_files.labels("val"), np.array(written.prior))
        kept = calibration.read(run.weights(stage), ATTRIBUTES).scores[blob]
        np.testing.assert_allclose([kept.threshold, kept.slope, kept.offset], fitted)
        assert kept == written.networks[name].calibration[blob] and calibration.read(run.weights(stage)).synthetic
    assert written.prior == pytest.approx(evaluation_files.labels("train").mean(axis=0))
    assert cv2.imread(str(out / "regions.png")).shape == (2 * 2 * (224 + 28), 6 * 224, 3)
    # Once "revised" rows equalled the "raw" ones, because the weights of the stage before were evaluated.
    regions = written.networks["region"].regions
    titles = [(row.attribute, row.response) for row in regions]
    assert titles == [(name, kind) for kind in ("raw", "revised") for name in (*ATTRIBUTES, "mean")]
    raw, revised = (row for row in regions if row.attribute == "mean")
    assert raw.iou != revised.iou and raw.faces == truth.sum()


def test_outputs_that_are_not_finite_are_reported_in_one_line(run):
    del run.stages["cascade"]
    path = run.weights("average")
    message = model_files.read_weights(path)
    for layer in message.layer:
        if layer.name.startswith("conv"):
            layer.blobs[0].data[:] = [3e38] * len(layer.blobs[0].data)
    path.write_bytes(message.SerializeToString())
    run.stages["average"].checksum = sha256(path)
    run.write()
    with pytest.raises(ToolError, match="of the network is not finite; use an earlier snapshot$"):
        evaluate.evaluate(run, evaluation_files.SETTINGS)
    assert not (run.place("evaluate") / results.NAME).exists()
    run.stages.clear()
    run.write()
    with pytest.raises(ToolError, match="no stage is trained yet; train first: face-cascade train region --run"):
        evaluate.evaluate(run, evaluation_files.SETTINGS)


# Prediction -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    """Five pictures (218, 178, 3) that stand for aligned faces."""
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (8, 6, 3), np.uint8), (178, 218)) for _ in range(5)]


@pytest.mark.parametrize("above", (-1.0, 1.0))
def test_a_predictor_gives_the_calibrated_outputs_of_its_net(random_run, pictures, above):
    """above: a threshold's distance from the score."""
    weights = random_run.weights("cascade")
    net = networks.load(random_run.deploy("cascade"), weights)
    result = networks.forward(net, [geometry.patch(geometry.face(pictures[0]))], ["logits", "rois_image"])
    logit, known = result["logits"][0, 1], calibration.read(weights, ATTRIBUTES)
    known.scores["logits"] = {"threshold": [0.0, float(logit + above)], "slope": [1.0, 2.0], "offset": [0.0, -1.0]}
    calibration.write(weights, known)
    (answer,) = Predictor(random_run.folder, ["Male"], aligned=True, min_confidence=0).predict(pictures[0])
    assert list(answer.attributes) == ["Male"] and answer.score is None and list(answer.box) == [0, 0, 178, 218]
    male = answer.attributes["Male"]
    assert male.probability == pytest.approx(1 / (1 + np.exp(-(2 * logit - 1))), abs=1e-5)
    assert male.answer == ("absent" if above > 0 else "present")
    region = np.clip(geometry.from_patch(result["rois_image"][0, 1], pictures[0].shape), 0, [178, 218] * 2)
    np.testing.assert_allclose(male.region, region, atol=1e-3)


def test_task_one_answers_while_there_is_no_cascade(random_run):
    del random_run.stages["cascade"]
    random_run.write()
    assert Predictor(random_run.folder, aligned=True).score == "max_d"


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


SAVE = "import sys; from PIL import Image; import pillow_heif as h; h.register_heif_opener(); "
SAVE += "[Image.new('RGB', (80, 60), (200, 30, 40)).save(path) for path in sys.argv[1:]]"


def test_heif_and_avif_are_read(tmp_path):
    paths = [tmp_path / f"photo.{ending}" for ending in ("heic", "avif")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([str(REPOSITORY / ".venv/bin/python"), "-c", SAVE, *map(str, paths)], check=True, env=environment)
    for path in paths:
        header, image = image_files.header(path.read_bytes()), image_files.decode(path.read_bytes())
        assert (header.width, header.height) == (80, 60) and image.shape == (60, 80, 3)
        assert abs(image.astype(int) - (40, 30, 200)).max() < 4
