"""The generator: committed files, options and their effects, paths with special characters."""

import dataclasses
import json
import pathlib

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep import geometry
from data_prep.store import manifest
from models import generate, prototxt, table1
from models.networks import attributes_of, network
from models.options import FIELDS_OF, NETWORKS, NetworkOptions

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Another value than the default for every option.
OTHERS = {
    "attributes": ("Bald", "Male"),
    "width": 0.5,
    "batch": 6,
    "lmdb": "elsewhere",
    "seed": 2,
    "l1": "linear",
    "alpha": 2.0,
    "beta": 0.3,
    "task_two_loss": 0.5,
    "threshold": 0.4,
    "average_weight": 0.0,
    "roi_gradient": "soft",
    "early_stopping_range": 0.0,
    "test_batch": 7,
    "form": "stream",
}


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


@pytest.mark.parametrize("net", NETWORKS)
def test_committed_files_are_byte_for_byte_what_a_run_gets_by_default(net, tmp_path):
    """Paths aside: a run's files name each other from the run's folder."""
    generate.write(tmp_path, NetworkOptions(), {}, [net])
    ours, theirs = generate.in_run(net), generate.in_repository(net)
    for kind in ("net", "deploy", "solver"):
        text = (tmp_path / ours[kind]).read_text()
        for name in ("weights", "solver", "net", "snapshot_prefix"):
            text = text.replace(ours[name], theirs[name]) if ours[name] else text
        assert text == (REPOSITORY / theirs[kind]).read_text(), kind


@pytest.mark.parametrize("width", (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16))
def test_a_width_scales_all_channels_but_those_of_the_image_and_of_scores(width):
    layers = {layer.name: layer for layer in parsed(network("cascade", NetworkOptions(width=width))).layer}
    full = {layer.name: layer for layer in parsed(network("cascade", NetworkOptions())).layer}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv4-t2", "conv5-t2"):
        wide = full[name].convolution_param.num_output
        assert layers[name].convolution_param.num_output == wide * width
    for name, scores in (("conv7", 40), ("conv6-t2", 20), ("head", 20)):
        assert layers[name].convolution_param.num_output == scores
    assert layers["conv7"].convolution_param.weight_filler.std == pytest.approx(0.02 / width**0.5, rel=0.01)
    (reshape,) = (
        layer
        for layer in parsed(network("cascade", NetworkOptions(width=width))).layer
        if layer.name == "per_attribute" and layer.type == "Reshape"
    )
    assert list(reshape.reshape_param.shape.dim) == [4, 20 * 256 * width, 13, 13]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"width": 0}, "width: must be above 0 and at most 1, which is the paper's table 1, not 0"),
        ({"width": 1 / 3}, "with 0.333333 layer conv2 would have 85.33 channels; widths are 1, 1/2"),
        ({"width": 1 / 64}, "layer conv1 would have 1.5 channels"),
        ({"batch": 3}, "batch: must be an even number of at least 2, not 3"),
        ({"batch": 384}, "batch: must be at most 382 for 20 attributes, not 384"),
        ({"test_batch": 1655}, "at most 1654"),
        ({"attributes": []}, "at least one name"),
        ({"attributes": "Male"}, "must be a list"),
        ({"attributes": ["Male", "Male"]}, "Male is given twice"),
        ({"attributes": [f"a{number}" for number in range(1619)]}, "at most 1618"),
        ({"threshold": 1.1}, "threshold: must be a number from 0 to 1, not 1.1"),
        ({"lmdb": ""}, "lmdb: must be the path of a folder"),
        ({"lmdb": "a\udcff"}, "not valid UTF-8"),
    ],
)
def test_an_error_for_an_impossible_option_lists_the_accepted_values(arguments, words):
    with pytest.raises(ValueError, match=words) as error:
        NetworkOptions(**arguments)
    assert "\n" not in str(error.value)


def test_largest_batches_follow_from_the_largest_blob():
    # conv1 of all training images, and conv3 of all attributes of the TEST images, in numbers.
    assert 382 * 20 * 96 * 54**2 < 2**31 <= 384 * 20 * 96 * 54**2
    assert 1654 * 20 * 384 * 13**2 < 2**31 <= 1655 * 20 * 384 * 13**2
    NetworkOptions(batch=382, test_batch=1654)


@pytest.mark.parametrize("name", ("5_o_Clock_Shadow", "Wears mask", "age-18.5", "_x", "a" * 64))
def test_custom_attribute_names_are_accepted(name):
    assert NetworkOptions([name]).attributes == (name,)


@pytest.mark.parametrize("name", ("", " a", "a ", ".a", "..", "a.", "-a", "a,b", "a/b", "a\nb", "a" * 65, "é", "a\n"))
def test_impossible_attribute_names_are_refused(name):
    with pytest.raises(ValueError, match="cannot be a name; at most 64 letters"):
        NetworkOptions([name])


@pytest.mark.parametrize("net", NETWORKS)
def test_table_of_options_says_what_changes_which_network(net):
    assert set(OTHERS) == {field.name for field in dataclasses.fields(NetworkOptions)}
    text = network(net, NetworkOptions())
    changing = {key for key, value in OTHERS.items() if network(net, NetworkOptions(**{key: value})) != text}
    assert changing == set(FIELDS_OF[net]) and len(FIELDS_OF[net]) == len(changing)


@pytest.mark.parametrize("l1", ("log", "linear"))
def test_early_stopping_gets_the_weights_of_the_losses_it_watches(l1):
    expected = {"region": [2.0], "cascade": [0.3, 2.0], "whole_face": [0.3]}
    for net, weights in expected.items():
        (layer,) = (
            layer
            for layer in parsed(network(net, NetworkOptions(l1=l1, alpha=2.0, beta=0.3))).layer
            if layer.name == "early_stopping"
        )
        assert json.loads(layer.python_param.param_str)["weights"] == weights
        scores = [{"max_d": 2.0, "logits": 0.3}[bottom] for bottom in layer.bottom if bottom != "label"]
        assert scores == weights
        assert '"weights"' not in network(net, NetworkOptions(l1=l1))


def test_sizes_and_normalisation_are_those_of_the_geometry():
    assert table1.INPUT_SIZE == geometry.PATCH_SIZE
    layers = {layer.name: layer for layer in parsed(network("cascade", NetworkOptions(), deploy=True)).layer}
    assert list(layers["data"].input_param.shape[0].dim) == [1, 3, geometry.PATCH_SIZE, geometry.PATCH_SIZE]
    power = layers["normalise"].power_param
    for pixel in (0, 112, 255):
        assert power.scale * pixel + power.shift == (pixel - geometry.PIXEL_MEAN) / geometry.PIXEL_SCALE


ODD = "a \"b\" 'c' \\d\\n é\t\n\x01\x85\u2028{}#"


@pytest.mark.parametrize("form", ("stream", "compact"))
def test_paths_with_special_characters_are_written_to_prototxts_unchanged(form):
    net = parsed(network("region", NetworkOptions(lmdb=ODD, form=form)))
    if form == "stream":
        found = [layer.data_param.source for layer in net.layer if layer.type == "Data"]
        assert found == [f"{ODD}/{name}" for name in ("train", "val_images", "val_labels")]
    else:
        texts = [layer.python_param.param_str for layer in net.layer if layer.python_param.layer == "BalancedData"]
        assert [json.loads(text)["source"] for text in texts] == [ODD, ODD]


@pytest.mark.parametrize("value", (1.0, 0.5, 0.015625, 0.123456789, 1e-7, 3, 1 / 3))
def test_numbers_are_written_exactly(value):
    assert float(prototxt.number(value)) == value
    assert prototxt.number(1.0) == "1"


def test_networks_are_written_for_the_attributes_of_the_data(tmp_path, monkeypatch, cascade, fails):
    manifest.write(tmp_path, manifest.Manifest(attributes=["Wears_mask", "Male"], form="compact"))
    words = ["models", "--lmdb", tmp_path, "--batch", 8, "--width", "1/4", "--solver", "region.max_iter=7", "--seed", 3]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver/region.prototxt").touch()
    fails(*words, "--attributes", "Male", says=f"{tmp_path} holds ['Wears_mask', 'Male'], not ('Male',)")
    assert not (tmp_path / "models").exists()
    status, printed, _ = cascade(*words)
    assert status == 0 and "next: caffe train -solver solver/region.prototxt" in printed
    options = NetworkOptions(["Wears_mask", "Male"], lmdb=tmp_path, batch=8, width=0.25, seed=3)
    for net in NETWORKS:
        assert (tmp_path / f"models/{net}/train_val.prototxt").read_text() == network(net, options)
    solver = text_format.Parse((tmp_path / "solver/region.prototxt").read_text(), caffe_pb2.SolverParameter())
    assert (solver.max_iter, solver.random_seed, f"{solver.clip_gradients:g}") == (7, 3, "0.71")
    assert attributes_of((tmp_path / "models/region/deploy.prototxt").read_text()) == ["Wears_mask", "Male"]
