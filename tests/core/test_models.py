"""The generator: committed files, options and their effects, paths, and the solvers of a run with their changes."""

import contextlib
import dataclasses

import pytest
from caffe.proto import caffe_pb2
from command_line import REPOSITORY
from google.protobuf import text_format

from data_prep.store import manifest
from models import generate, solvers
from models.networks import attributes_of, network
from models.options import FIELDS_OF, NETWORKS, NetworkOptions

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


def parsed_solver(text):
    return text_format.Parse(text, caffe_pb2.SolverParameter())


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


@pytest.mark.parametrize("width", (1 / 2, 1 / 16))
def test_a_width_scales_all_channels_but_those_of_the_image_and_of_scores(width):
    layers, full = (
        {(layer.name, layer.type): layer for layer in parsed(network("cascade", NetworkOptions(width=share))).layer}
        for share in (width, 1)
    )
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv4-t2", "conv5-t2"):
        wide = full[name, "Convolution"].convolution_param.num_output
        assert layers[name, "Convolution"].convolution_param.num_output == wide * width
    for name, scores in (("conv7", 40), ("conv6-t2", 20), ("head", 20)):
        assert layers[name, "Convolution"].convolution_param.num_output == scores
    std = layers["conv7", "Convolution"].convolution_param.weight_filler.std
    assert std == pytest.approx(0.02 / width**0.5, rel=0.01)
    reshape = layers["per_attribute", "Reshape"].reshape_param
    assert list(reshape.shape.dim) == [4, 20 * 256 * width, 13, 13]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"width": 0}, "width: must be above 0 and at most 1, which is the paper's table 1, not 0"),
        ({"width": 1 / 64}, "layer conv1 would have 1.5 channels; widths are 1, 1/2"),
        ({"batch": 3}, "batch: must be an even number of at least 2, not 3"),
        ({"batch": 384}, "batch: must be at most 383: a blob of Caffe holds"),  # 20 x 384 x 96 x 54 x 54 > 2^31
        ({"attributes": []}, "at least one name"),
        ({"attributes": ["Male", "Male"]}, "Male is given twice"),
        ({"lmdb": ""}, "lmdb: must be the path of a folder"),
        ({"lmdb": "a\udcff"}, "not valid UTF-8"),
    ],
)
def test_an_error_for_an_impossible_option_lists_the_accepted_values(arguments, words):
    with pytest.raises(ValueError, match=words):
        NetworkOptions(**arguments)


def test_names_of_attributes_are_accepted_or_refused():
    names = ("5_o_Clock_Shadow", "Wears mask", "age-18.5", "_x", "a" * 64)
    assert NetworkOptions(list(names)).attributes == names
    for name in ("", " a", "a ", ".a", "..", "a.", "-a", "a,b", "a/b", "a\nb", "a" * 65, "é", "a\n"):
        with pytest.raises(ValueError, match="cannot be a name; at most 64 letters"):
            NetworkOptions([name])


@pytest.mark.parametrize("net", NETWORKS)
def test_table_of_options_says_what_changes_which_network(net):
    assert set(OTHERS) == {field.name for field in dataclasses.fields(NetworkOptions)}
    text = network(net, NetworkOptions())
    changing = {key for key, value in OTHERS.items() if network(net, NetworkOptions(**{key: value})) != text}
    assert changing == set(FIELDS_OF[net]) and len(FIELDS_OF[net]) == len(changing)


def test_networks_are_written_for_the_attributes_of_the_data(tmp_path, monkeypatch, cascade, fails):
    manifest.write(tmp_path, manifest.Manifest(attributes=["Wears_mask", "Male"], form="compact"))
    words = ["models", "--lmdb", tmp_path, "--batch", 8, "--width", "1/4", "--solver", "region.max_iter=7", "--seed", 3]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver/region.prototxt").touch()
    fails(*words, "--attributes", "Male", says=f"{tmp_path} holds Wears_mask, Male, not Male; leave the option")
    assert not (tmp_path / "models").exists()
    status, printed, _ = cascade(*words)
    assert status == 0 and "next: caffe train -solver solver/region.prototxt" in printed
    options = NetworkOptions(["Wears_mask", "Male"], lmdb=tmp_path, batch=8, width=0.25, seed=3)
    for net in NETWORKS:
        assert (tmp_path / f"models/{net}/train_val.prototxt").read_text() == network(net, options)
    solver = parsed_solver((tmp_path / "solver/region.prototxt").read_text())
    assert (solver.max_iter, solver.random_seed, f"{solver.clip_gradients:g}") == (7, 3, "0.71")
    assert attributes_of((tmp_path / "models/region/deploy.prototxt").read_text()) == ["Wears_mask", "Male"]


# Solvers ----------------------------------------------------------------------------------------------------

PLACES = {"solver": "a/solver.prototxt", "net": "a/net.prototxt", "snapshot_prefix": "a/a", "weights": ""}


def solver_of(stage, changes, attributes=20):
    return parsed_solver(solvers.text(stage, PLACES, changes, attributes))


@pytest.mark.parametrize(
    "text, message",
    [
        ("casade.max_iter=3", "casade.max_iter: unknown stage 'casade'; did you mean cascade?"),
        ("region.max_itr=3", "region.max_itr: Caffe's solver has no field 'max_itr'; did you mean max_iter?"),
        ("max_iter", "'max_iter': give solver changes as field=value"),
        ("max_iter=0", "max_iter: must be a whole number of at least 1"),
        ("base_lr=0.1 max_iter: 3", "base_lr: must be a number"),
        ("clip_gradients=0", "clip_gradients: must be a number above 0, or -1 for no clipping, not '0'"),
        ("type=Adm", "type: must be SGD, Nesterov, AdaGrad, RMSProp, AdaDelta or Adam, not 'Adm'; did you mean Ada"),
        ("snapshot_format=HDF5", "snapshot_format: cannot be changed here; a run resumes from binary snapshots"),
        ("max_iter=3,max_iter=4", "max_iter: given twice, as 3 and 4"),
        ("stepvalue=9,stepvalue=3", "region.stepvalue: iterations must increase, not 9 3"),
    ],
)
def test_impossible_changes_are_reported_in_one_line(text, message):
    with pytest.raises(ValueError) as error:
        solvers.parse_changes(text)
    assert str(error.value).startswith(message) and str(error.value).isprintable()


@pytest.mark.parametrize("field", solvers.FIELDS)
def test_every_field_of_caffes_solver_is_checked_or_refused(field):
    accepted, good = [], ("true", "HDF5", "SGD", "step", "L1", "7", "0.5")
    for value in (*good, "nan", "inf", "-7", "", "1 2 x", '"', "$(x)"):
        with contextlib.suppress(ValueError):
            solvers.parse_changes(f"{field}={value}")
            accepted.append(value)
    assert bool(accepted) == (field not in solvers.FIXED) and (field == "power" or set(accepted) <= set(good))
    for value in accepted:
        found = text_format.MessageToString(solver_of("region", {"region": {field: value}}))
        assert any(f"{field}: {written}\n" in found for written in (value, f'"{value}"', f"{value}.0"))


def test_prototxt_of_a_stage_has_its_paths_its_changes_and_the_other_fields():
    """A change for one stage counts more than that for all."""
    text = "region.base_lr=0.25,base_lr=1, region.max_iter=7,type=Adam,stepvalue=3,stepvalue=5,iter_size=2,"
    changes = solvers.parse_changes(text)
    for stage, rate, last in (("region", 0.25, 7), ("cascade", 1, 30000)):
        expected = parsed_solver((REPOSITORY / f"solver/{stage}.prototxt").read_text())
        changed = {"max_iter": last, "base_lr": rate, "type": "Adam", "stepvalue": [3, 5], "iter_size": 2}
        expected.MergeFrom(caffe_pb2.SolverParameter(**changed))
        expected.net, expected.snapshot_prefix = PLACES["net"], PLACES["snapshot_prefix"]
        expected.ClearField("weights")
        assert solver_of(stage, changes) == expected


def test_gradients_are_clipped_at_half_the_root_of_the_number_of_attributes():
    assert solver_of("region", {}, 4).clip_gradients == 1
    for value in (7, -1):
        assert solver_of("region", {"region": {"clip_gradients": value}}, 4).clip_gradients == value


def test_fields_are_typed():
    changes = {"region": {"base_lr": 1e-05, "max_iter": "010", "debug_info": "true", "stepvalue": "3 5"}}
    found = solvers.fields("region", changes, 20)
    assert found["base_lr"] == 1e-05 and found["max_iter"] == 8 and found["stepvalue"] == [3, 5]  # octal in prototxts
    assert found["debug_info"] is True and found["iter_size"] == 1 and found["clip_gradients"] == 2.24
