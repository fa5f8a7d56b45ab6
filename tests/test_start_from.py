"""`face-cascade train --start-from`: first weights from a training on other data."""

import json
import shutil

import numpy as np
import pytest
from caffe import wire
from command_line import face_cascade

STATE = {"balanced_data", "early_stopping", "region_mapper"}
STILL = "max_iter=1,snapshot=10,display=1,test_interval=10,base_lr=1e-12,weight_decay=0"


def layers(path):
    return dict(wire.read_weights(path))


def train(run, lmdb, start, stage="region", engine="torch", **options):
    words = ["train", stage, "--run", run, "--lmdb", lmdb, "--start-from", start, "--caffe", engine]
    return face_cascade(*words, "--batch", 2, f"--solver={STILL}", **options)


@pytest.fixture(scope="module")
def start(small_run, tmp_path_factory):
    """A copy of the weights of a trained cascade."""
    path = tmp_path_factory.mktemp("start") / "other.caffemodel"
    record = json.loads((small_run / "run.json").read_text())
    shutil.copyfile(small_run / record["stages"]["cascade"]["weights"], path)
    return path


@pytest.mark.parametrize("engine", ("torch", "bvlc"))
def test_a_stage_starts_from_the_weights_but_not_from_their_state(engine, start, small_lmdb, tmp_path):
    done = train(tmp_path / "run", small_lmdb, start, engine=engine)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = layers(start), layers(tmp_path / "run/region/region_iter_1.caffemodel")
    learned = [name for name in after if name not in STATE and after[name]]
    assert {"conv1", "conv7"} <= set(learned)
    for name in learned:
        for old, new in zip(before[name], after[name]):
            np.testing.assert_allclose(new, old, atol=1e-6, err_msg=name)
    assert after["balanced_data"][0].tolist() == [1, 0, 0, 0]
    assert after["early_stopping"][1][:, 1].tolist() == [1, 1]  # losses observed
    inputs = json.loads((tmp_path / "run/run.json").read_text())["stages"]["region"]["inputs"]
    assert len(inputs["initial weights"]) == 64


def test_other_first_weights_need_a_restart(start, small_lmdb, tmp_path):
    run = tmp_path / "run"
    assert train(run, small_lmdb, start).returncode == 0
    again = face_cascade("train", "region", "--run", run)
    assert again.returncode == 0 and "already done" in again.stdout
    other = tmp_path / "other.caffemodel"
    shutil.copyfile(run / "region/region_iter_1.caffemodel", other)
    refused = train(run, small_lmdb, other)
    assert refused.returncode != 0 and "initial weights differs" in refused.stderr and "--restart" in refused.stderr


def test_unusable_first_weights_are_named(start, small_lmdb, tmp_path):
    missing = train(tmp_path / "a", small_lmdb, tmp_path / "nowhere.caffemodel")
    assert missing.returncode != 0 and "--start-from" in missing.stderr and "no such file" in missing.stderr
    broken = tmp_path / "broken.caffemodel"
    broken.write_bytes(start.read_bytes()[:-1000])
    cut = train(tmp_path / "b", small_lmdb, broken)
    assert cut.returncode != 0 and "not a .caffemodel, or cut short" in cut.stderr
    assert cut.stderr.count("\n") == 1
