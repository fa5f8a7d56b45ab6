"""Networks, their inputs and devices are checked; errors are reported in one line."""

import itertools
import json

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep import geometry
from data_prep.store import databases
from data_prep.store.manifest import FORMS
from models import generate
from models.networks import network
from models.options import L1_FORMS, NETWORKS, NetworkOptions
from tools import model_files, networks
from tools.errors import ToolError

ATTRIBUTES = ["Eyeglasses", "Male"]


def test_a_missing_gpu_is_reported_in_one_line():
    networks.use_device("cpu")
    words = "computes on the CPU only" if networks.is_bvlc() else "Cannot use GPU 99: PyTorch finds"
    with pytest.raises(ToolError, match=words) as error:
        networks.use_device("cuda:99")
    assert "\n" not in str(error.value)


def test_the_kinds_of_layers_are_those_that_the_generator_writes():
    texts = [
        network(net, NetworkOptions(form=form, l1=l1), deploy)
        for net, form, l1, deploy in itertools.product(NETWORKS, FORMS, L1_FORMS, (False, True))
    ]
    layers = [layer for text in texts for layer in text_format.Parse(text, caffe_pb2.NetParameter()).layer]
    assert set(map(networks.kind_of, layers)) == networks.KINDS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Deploy prototxt of a small whole_face net, and weights of it."""
    folder = tmp_path_factory.mktemp("nets")
    generate.write(folder, NetworkOptions(ATTRIBUTES, batch=2, width=1 / 16))
    model, weights = folder / "whole_face/deploy.prototxt", folder / "x.caffemodel"
    caffe.Net(str(model), caffe.TEST).save(str(weights))
    return model, weights


def changed(weights, path, change):
    """A copy of weights with a changed layer message."""
    message = model_files.read_weights(weights)
    (layer,) = [layer for layer in message.layer if layer.name == "head_whole"]
    change(layer)
    path.write_bytes(message.SerializeToString())
    return path


def test_a_blob_with_too_few_values_does_not_reach_caffe(saved, tmp_path):
    path = changed(saved[1], tmp_path / "x.caffemodel", lambda layer: layer.blobs[0].data.pop())
    with pytest.raises(ToolError, match="damaged, layer head_whole has .* values in a blob of shape"):
        networks.load(saved[0], path)


@pytest.mark.parametrize("value", (float("nan"), float("inf")))
def test_weights_that_are_not_finite_are_refused(saved, tmp_path, value):
    def change(layer):
        layer.blobs[0].data[0] = value

    path = changed(saved[1], tmp_path / "x.caffemodel", change)
    with pytest.raises(ToolError, match="layer head_whole holds values that are not finite"):
        networks.load(saved[0], path)


def write_split(folder, images, labels):
    (folder / "manifest.json").write_text('{"attributes": ["Eyeglasses", "Male"], "form": "stream"}')
    databases.write_lmdb(folder / "val_images", images, len(images), "val")
    databases.write_lmdb(folder / "val_labels", labels, len(labels), "val")


PICTURE = np.full((224, 224, 3), 7, np.uint8)


def test_faces_and_labels_that_do_not_fit_are_reported_in_one_line(tmp_path):
    """tests/data/test_store.py has every kind of damaged record."""
    good = databases.image_datum(PICTURE, "png")
    write_split(tmp_path, [good, databases.image_datum(PICTURE[:100, :90], "raw")], [])
    with pytest.raises(ToolError, match="an image is 90 x 100 pixels"):
        list(networks.patches(tmp_path, "val"))
    (found,) = networks.patches(tmp_path, "val", [0])
    assert (found == PICTURE).all()
    with pytest.raises(OSError, match="record 00000002 is missing"):
        list(networks.patches(tmp_path, "val", [2]))
    with pytest.raises(ToolError, match="no labels in it"):
        networks.read_labels(tmp_path, "val", 2)
    with pytest.raises(OSError, match="test_labels: no readable LMDB"):
        networks.read_labels(tmp_path, "test", 2)


def test_patches_of_a_frame_have_the_eyes_where_celeba_has_them(tmp_path):
    """A compact folder of 250 x 250 photos whose frame is LFW's: the eyes are moved to CelebA's positions."""
    photo = np.zeros((250, 250, 3), np.uint8)
    for x in (103, 146):
        photo[112 - 4 : 112 + 5, x - 4 : x + 5] = 255
    frame = [[103.0, 112.0], [146.0, 112.0]]
    (tmp_path / "manifest.json").write_text(json.dumps({"attributes": ["Male"], "form": "compact", "frame": frame}))
    databases.write_lmdb(tmp_path / "val_images", [databases.image_datum(photo, "png")], 1, "val")
    (patch,) = networks.patches(tmp_path, "val")
    shape = geometry.ALIGNED_HEIGHT, geometry.ALIGNED_WIDTH
    for eye, left in zip(geometry.ALIGNED_EYES, (0, 112)):
        expected = geometry.to_patch([*eye, *eye], shape)[:2]
        y, x = (places.mean() for places in np.nonzero(patch[:, left : left + 112, 0] > 127))
        np.testing.assert_allclose([left + x, y], expected, atol=2)
