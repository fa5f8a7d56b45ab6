"""The generator: committed files, options and their effects, paths with special characters."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep import geometry
from data_prep.store import manifest
from models import generate, options, prototxt, table1
from models.networks import network
from models.options import FIELDS_OF, NETWORKS, NetworkOptions

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# Another value than the default for every option.
OTHERS = {
    "attributes": ("Bald", "Male"),
    "batch": 6,
    "lmdb": "elsewhere",
    "l1": "linear",
    "alpha": 2.0,
    "beta": 0.3,
    "task_two_loss": 0.5,
    "threshold": 0.4,
    "average_weight": 0.0,
    "roi_gradient": "soft",
    "early_stopping_range": 0.0,
    "test_batch": 7,
    "form": "compact",
}


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


@pytest.mark.parametrize("net", NETWORKS)
def test_regenerating_gives_what_is_committed(net):
    folder = REPOSITORY / "models" / net
    assert (folder / "train_val.prototxt").read_text() == network(net, NetworkOptions())
    assert (folder / "deploy.prototxt").read_text() == network(net, NetworkOptions(), deploy=True)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"batch": 3}, "batch: .* an even number from 2 to 382 for 20 attributes .*, not 3"),
        ({"batch": 0}, "batch: .* even"),
        ({"batch": 384}, "from 2 to 382"),
        ({"batch": 10**30}, "from 2 to 382"),
        ({"batch": 4.0}, "not 4.0"),
        ({"batch": True}, "not True"),
        ({"test_batch": 0}, "test_batch: .* from 1 to 1654 for 20 attributes, not 0"),
        ({"test_batch": 1655}, "from 1 to 1654"),
        ({"attributes": []}, "at least one name"),
        ({"attributes": "Male"}, "list of names"),
        ({"attributes": ["Male", "Male"]}, "Male is given twice"),
        ({"attributes": [f"a{number}" for number in range(1619)]}, "at most 1618"),
        ({"l1": "square"}, "l1: must be log or linear, not 'square'"),
        ({"l1": "linaer"}, "did you mean linear"),
        ({"roi_gradient": "hard"}, "none or soft"),
        ({"form": "heap"}, "stream or compact"),
        ({"alpha": float("nan")}, "alpha: must be a number from 0 to 1e\\+06, not nan"),
        ({"beta": float("inf")}, "beta"),
        ({"beta": -1}, "beta"),
        ({"threshold": 1.1}, "threshold: must be a number from 0 to 1, not 1.1"),
        ({"average_weight": "0.5"}, "average_weight"),
        ({"early_stopping_range": -0.1}, "early_stopping_range"),
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


@pytest.mark.parametrize(
    "name", ("", " a", "a ", ".a", "..", "a.", "-a", "a,b", "a/b", "a\nb", "a" * 65, "é", "a\n", 5)
)
def test_impossible_attribute_names_are_refused(name):
    with pytest.raises(ValueError, match="cannot be a name; at most 64 letters"):
        NetworkOptions([name])


def test_options_are_written_to_json_and_read_unchanged(tmp_path):
    given = NetworkOptions(**OTHERS)
    assert NetworkOptions.from_dict(json.loads(json.dumps(given.to_dict()))) == given
    assert NetworkOptions(lmdb=tmp_path).to_dict()["lmdb"] == str(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        given.batch = 8
    for change, words in (({"bacth": 4}, "no option 'bacth'; did you mean batch"), ({"batch": 3}, "even")):
        with pytest.raises(ValueError, match=words):
            NetworkOptions.from_dict({**given.to_dict(), **change})
    with pytest.raises(ValueError, match="'beta' is missing"):
        NetworkOptions.from_dict({key: value for key, value in given.to_dict().items() if key != "beta"})
    with pytest.raises(ValueError, match="must be a dict"):
        NetworkOptions.from_dict(None)


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


def run_generator(*arguments):
    command = [sys.executable, "-m", "models.generate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=str(REPOSITORY))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--batch", "3"], "batch: .* even"),
        (["--attributes", "a/b"], "attributes: 'a/b' cannot be a name"),
        (["--solver", "casade.max_iter=3"], "casade.max_iter: unknown stage 'casade'; did you mean cascade"),
    ],
)
def test_mistakes_on_the_command_line_are_reported_in_one_line(tmp_path, arguments, words):
    done = run_generator("--out", tmp_path / "run", *arguments)
    assert done.returncode != 0 and re.match(f"error: {words}", done.stderr) and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_command_line_writes_nets_for_custom_attributes(tmp_path):
    done = run_generator("--out", tmp_path / "run", "--attributes", "Wears mask,Male", "--lmdb", tmp_path / "none")
    assert done.returncode == 0, done.stderr
    for net in NETWORKS:
        text = (tmp_path / "run" / net / "train_val.prototxt").read_text()
        assert text == network(net, NetworkOptions(["Wears mask", "Male"], lmdb=tmp_path / "none"))
    assert sorted(path.name for path in (tmp_path / "run/region").iterdir()) == [
        "deploy.prototxt",
        "solver.prototxt",
        "train_val.prototxt",
    ]


def test_the_generator_reads_attributes_and_form_from_the_manifest(tmp_path):
    manifest.write(tmp_path, manifest.Manifest(attributes=["Wears_mask"], form="compact"))
    done = run_generator("--out", tmp_path / "run", "--lmdb", tmp_path)
    assert done.returncode == 0, done.stderr
    options = NetworkOptions(["Wears_mask"], lmdb=tmp_path, form="compact")
    assert (tmp_path / "run/region/train_val.prototxt").read_text() == network("region", options)
    done = run_generator("--out", tmp_path / "other", "--lmdb", tmp_path, "--attributes", "Male")
    assert done.returncode and "holds ['Wears_mask'], not ['Male']" in done.stderr


def test_nothing_is_written_for_an_impossible_change(tmp_path):
    with pytest.raises(ValueError, match="max_itr"):
        generate.write(tmp_path / "run", NetworkOptions(), {"max_itr": 3})
    assert not (tmp_path / "run").exists()


def test_most_attributes_fit_into_caffes_largest_blob():
    assert options.MOST_ATTRIBUTES * 384 * 384 * 9 < 2**31 <= (options.MOST_ATTRIBUTES + 1) * 384 * 384 * 9
