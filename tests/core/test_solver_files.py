"""Solvers of a run: changes are checked, prototxts are valid, values have their types."""

import pathlib

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from models import solvers

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


PLACES = {"solver": "a/solver.prototxt", "net": "a/net.prototxt", "snapshot_prefix": "a/a", "weights": ""}


def text(stage, changes, attributes=2):
    return solvers.text(stage, PLACES, changes, attributes)


def parsed(text):
    return text_format.Parse(text, caffe_pb2.SolverParameter())


def test_changes_apply_to_all_stages_or_one():
    changes = solvers.parse_changes("base_lr=0.5, region.max_iter=7,iter_size=2,")
    assert changes == {
        "region": {"base_lr": "0.5", "iter_size": "2", "max_iter": "7"},
        "cascade": {"base_lr": "0.5", "iter_size": "2"},
        "whole_face": {"base_lr": "0.5", "iter_size": "2"},
    }
    assert solvers.parse_changes("") == {stage: {} for stage in solvers.STAGES}


@pytest.mark.parametrize("text", ("max_iter=9,cascade.max_iter=7", "cascade.max_iter=7,max_iter=9"))
def test_a_change_of_one_stage_counts_more_than_that_of_all(text):
    changes = solvers.parse_changes(text)
    assert [changes[stage]["max_iter"] for stage in solvers.STAGES] == ["9", "7", "9"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("casade.max_iter=3", "casade.max_iter: unknown stage 'casade'; did you mean cascade?"),
        ("region.max_itr=3", "region.max_itr: Caffe's solver has no field 'max_itr'; did you mean max_iter?"),
        ("xyzzy=3", "xyzzy: Caffe's solver has no field 'xyzzy'; fields are base_lr, max_iter, stepsize, snapshot"),
        ("max_iter", "'max_iter': give solver changes as field=value"),
        ("max_iter=ten", "max_iter: must be a whole number of at least 1, not 'ten'"),
        ("max_iter=0", "max_iter: must be a whole number of at least 1"),
        ("base_lr=nan", "base_lr: must be a number of at least 0, not 'nan'"),
        ("base_lr=0.1 max_iter: 3", "base_lr: must be a number"),
        ("clip_gradients=0", "clip_gradients: must be a number above 0, or -1 for no clipping, not '0'"),
        ("momentum=1", "momentum: must be a number from 0 to 0.999999"),
        ("debug_info=yes", "debug_info: must be true or false, not 'yes'"),
        ("lr_policy=stp", "lr_policy: must be fixed, step, exp, inv, multistep, sigmoid or poly, not 'stp'; did you"),
        ("type=Adm", "type: must be SGD, Nesterov, AdaGrad, RMSProp, AdaDelta or Adam, not 'Adm'; did you mean Ada"),
        ("snapshot_format=HDF5", "snapshot_format: cannot be changed here; a run resumes from binary snapshots"),
        ("max_iter=3,max_iter=4", "max_iter: given twice, as 3 and 4"),
        ("stepvalue=9,stepvalue=3", "region.stepvalue: iterations must increase, not 9 3"),
        ("net=x", "net: cannot be changed here; the run's networks are written from its own options"),
        ("solver_mode=GPU", "solver_mode: cannot be changed here; the device is chosen when training starts"),
    ],
)
def test_impossible_changes_are_reported_in_one_line(text, message):
    with pytest.raises(ValueError) as error:
        solvers.parse_changes(text)
    assert str(error.value).startswith(message) and str(error.value).isprintable()


def accepted(field, values):
    """The values of a field that parse_changes accepts."""
    taken = []
    for value in values:
        try:
            solvers.parse_changes(f"{field}={value}")
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            taken.append(value)
    return taken


def test_every_field_of_caffes_solver_is_checked_or_refused():
    for field in solvers.FIELDS:
        values = accepted(field, ("true", "HDF5", "SGD", "step", "L1", "7", "0.5"))
        assert bool(values) == (field not in solvers.FIXED), field
        assert not accepted(field, ("nan", "inf", "-7", "", "1 2 x", '"', "$(x)")) or field == "power"
        for value in values:
            message = parsed(text("region", {"region": {field: value}}))
            found = text_format.MessageToString(message)
            assert (
                f"{field}: {value}\n" in found or f'{field}: "{value}"\n' in found or f"{field}: {value}.0\n" in found
            )


def test_prototxt_of_a_stage_has_its_paths_its_changes_and_the_other_fields():
    changes = solvers.parse_changes("region.max_iter=7,base_lr=0.25,type=Adam,stepvalue=3,stepvalue=5,iter_size=2")
    expected = parsed((REPOSITORY / "solver/region.prototxt").read_text())
    expected.MergeFrom(caffe_pb2.SolverParameter(max_iter=7, base_lr=0.25, type="Adam", stepvalue=[3, 5], iter_size=2))
    expected.net, expected.snapshot_prefix = PLACES["net"], PLACES["snapshot_prefix"]
    assert parsed(text("region", changes, 20)) == expected
    assert parsed(text("cascade", changes, 20)).max_iter == 30000


def test_comments_of_changed_values_are_left_out_and_others_stay():
    lines = text("region", solvers.parse_changes("base_lr=0.25"), 20).splitlines()
    assert "base_lr: 0.25" in lines and any(line.startswith("stepsize: 22500 #") for line in lines)
    assert lines[1] == "#   caffe train -solver a/solver.prototxt"
    assert solvers.parse_changes("max_iter=010")["region"]["max_iter"] == "8"  # octal in prototxts


def test_gradients_are_clipped_at_half_the_root_of_the_number_of_attributes():
    assert parsed(text("region", {}, 4)).clip_gradients == 1
    for stage in solvers.STAGES:
        committed = parsed((REPOSITORY / f"solver/{stage}.prototxt").read_text())
        assert f"{committed.clip_gradients:g}" == solvers.clipping(20) == "2.24"
    for value in (7, -1):
        assert parsed(text("region", {"region": {"clip_gradients": value}}, 4)).clip_gradients == value


def test_fields_are_typed():
    changes = {"region": {"base_lr": 1e-05, "max_iter": 7, "debug_info": "true", "stepvalue": "3 5"}}
    region, cascade = (solvers.fields(stage, changes, 20) for stage in ("region", "cascade"))
    assert region["base_lr"] == 1e-05 and region["max_iter"] == 7 and region["stepvalue"] == [3, 5]
    assert region["debug_info"] is True and region["test_initialization"] is False
    assert region["snapshot"] == 2500 and region["iter_size"] == 1 and region["lr_policy"] == "step"
    assert region["test_iter"] == 50 and isinstance(region["max_iter"], int) and region["clip_gradients"] == 2.24
    assert cascade["max_iter"] == 30000 and "stepvalue" not in cascade and "net" not in cascade
    with pytest.raises(ValueError, match="unknown stage 'regon'; did you mean region"):
        solvers.fields("regon", {}, 20)
