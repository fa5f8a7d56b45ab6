"""The record of a run, runs without a record, inputs and plans of stages, and locks."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys

import pytest
from mutations import attempt, changed, few, records
from tokens import each

from data_prep import files, start
from data_prep.store import manifest
from models import generate
from models.options import NetworkOptions
from tools import locking, record
from tools import run as runs
from tools.errors import ToolError
from tools.train import plan
from tools.train.plan import images, images_of, inputs

ATTRIBUTES = ["Eyeglasses", "Male"]
CASCADE = ["region", "average", "cascade"]


def write_manifest(folder, attributes=ATTRIBUTES):
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder, manifest.Manifest(attributes=attributes, form="compact"))
    return folder


@pytest.fixture
def lmdb(tmp_path):
    """A folder with a manifest only."""
    return write_manifest(tmp_path / "lmdb")


@pytest.fixture
def run(lmdb, tmp_path):
    """A run whose task one is done."""
    made = runs.Run.create(tmp_path / "run", lmdb, record.Settings(engine="torch"))
    made.settings.solver = {"region": {"max_iter": "7"}}
    done(made, "region")
    made.write()
    return made


def done(made, name, content=b"weights"):
    """Make a stage of a run look done."""
    place = made.place(name)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{name}.caffemodel"
    path.write_bytes(content)
    checksum, iterations = files.sha256(path), 7 if name == "region" else 30000
    made.stages[name] = record.Stage(inputs(made, name), "done", f"{name}/{path.name}", checksum, iterations=iterations)


def test_a_record_is_read_as_it_was_written(run):
    again = runs.Run.read(run.folder)
    assert (again.data, again.settings, again.stages) == (run.data, run.settings, run.stages)
    assert again.weights("region").read_bytes() == b"weights"
    assert again.solver_fields("region")["max_iter"] == 7 and images(again, "region", 7) == 7 * 4


@pytest.mark.parametrize(
    "path, value, words",
    [
        (None, "", "not readable as JSON"),
        (["version"], ..., "written by another version of face-cascade (None, not 3)"),
        (["data", "attributes"], ["a/b"], "cannot be a name"),
        (["settings", "solver"], {"region": {"max_itr": 3}}, "no field 'max_itr'"),
        (["settings", "network"], {"bacth": 2}, "describes an impossible network"),
        (["settings", "device"], "cuda:0,", "must be cpu, cuda"),
        (["stages", "region", "checksum"], None, "done without 'weights' and 'checksum'"),
        (["stages", "region", "seconds"], float("inf"), "not readable as JSON"),
    ],
)
def test_a_damaged_record_is_reported_with_its_key(run, path, value, words):
    """Whatever setting or field it is: test_settings.py."""
    record = json.loads((run.folder / runs.NAME).read_text())
    (run.folder / runs.NAME).write_text(value if path is None else json.dumps(changed(record, path, value)))
    with pytest.raises(ToolError) as error:
        runs.Run.read(run.folder)
    assert words in str(error.value) and "\n" not in str(error.value) and runs.NAME in str(error.value)


@few(50, 1000)
def test_records_changed_at_random_are_refused_or_serve(run, examples):
    path = run.folder / runs.NAME

    def check(data):
        path.write_bytes(data)
        found = attempt(lambda: runs.Run.read(run.folder), run.folder)
        if found is not None and found.recorded:
            found.network(), found.answering(), found.evaluated()
            for name in record.TRAINED:
                inputs(found, name), images(found, name, 4), found.solver_fields(name)
                for read in (found.weights, found.deploy):
                    attempt(lambda read=read, name=name: read(name), run.folder)
            with contextlib.suppress(OSError):  # a path that is too long for the system, told by cli.main
                attempt(found.check_data, "")

    each(records(json.loads(path.read_text())), examples, check)


def test_weights_and_networks_are_verified_when_they_are_used(run):
    deploy = run.folder / "region/deploy.prototxt"
    deploy.write_text("name: 'region'")
    run.stages["region"].deploy = files.sha256(deploy)
    assert run.deploy("region") == deploy
    deploy.write_text("name: 'edited'")
    with pytest.raises(ToolError, match="deploy.prototxt: changed since region was done"):
        run.deploy("region")
    (run.folder / "region/region.caffemodel").write_bytes(b"other")
    with pytest.raises(ToolError, match="region.caffemodel: changed since region was done; run face-cascade train"):
        run.weights("region")
    run.stages["region"].weights = "../elsewhere.caffemodel"
    with pytest.raises(ToolError, match="not inside of the run"):
        run.weights("region")
    with pytest.raises(ToolError, match="stage cascade is not begun; run: face-cascade train"):
        run.weights("cascade")


def test_stages_that_started_from_other_weights_are_not_used(run):
    """Once an average region with the old weights of task one was evaluated without a word."""
    for name in ("average", "cascade"):
        done(run, name)
    assert run.evaluated() == {"region": "average", "cascade": "cascade"} and run.answering() == "cascade"
    done(run, "region", b"trained for longer")
    assert run.evaluated() == {"region": "region"} and run.answering() == "region"
    with pytest.raises(ToolError, match="cascade is outdated, because average is; run: .* --restart$"):
        run.weights("cascade")
    with pytest.raises(ToolError, match="weights of region differs. Repeat it first: face-cascade average"):
        plan.actions(run, ["cascade"])


def test_an_iteration_at_which_a_training_ends_is_an_input_where_rates_depend_on_it(run):
    found = []
    for policy in ("step", "poly"):
        run.settings.solver = {"region": {"lr_policy": policy, "max_iter": "7", "power": "1"}}
        found.append("region.max_iter" in inputs(run, "region"))
    assert found == [False, True]


def test_data_are_found_again_when_a_clone_moves(monkeypatch, tmp_path):
    """Once paths were absolute: a renamed clone trained on what lay at its old place, or found nothing."""
    for clone in ("old", "new"):
        write_manifest(tmp_path / clone / "data/lmdb")
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path / "old")
    made = runs.Run.create(tmp_path / "old/build/run", tmp_path / "old/data/lmdb")
    made.write()
    assert made.data.lmdb == "../../data/lmdb" and str(tmp_path) not in (made.folder / runs.NAME).read_text()
    shutil.move(tmp_path / "old/build", tmp_path / "new/build")
    assert runs.Run.read(tmp_path / "new/build/run").lmdb == tmp_path / "new/data/lmdb"
    outside = runs.Run.create(tmp_path / "elsewhere", tmp_path / "old/data/lmdb")
    assert outside.data.lmdb == str(tmp_path / "old/data/lmdb")


# Runs without a record --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", manifest.FORMS)
def test_networks_of_caffes_own_commands_are_a_run(form, tmp_path, lmdb):
    options = NetworkOptions(ATTRIBUTES, lmdb="lmdb", form=form, width=1 / 16)
    generate.write(tmp_path, options, places=generate.in_repository)
    (tmp_path / "build").mkdir()
    for name in ("region_iter_900", "region_iter_1000", "average", "cascade_iter_5"):
        (tmp_path / f"build/{name}.caffemodel").write_bytes(name.encode())
    found = runs.Run.read(tmp_path)
    assert found.attributes == ATTRIBUTES and found.lmdb == lmdb and not found.recorded
    assert found.weights("region").name == "region_iter_1000.caffemodel"
    assert found.evaluated() == {"region": "average", "cascade": "cascade"} and found.answering() == "cascade"
    assert found.deploy("average") == tmp_path / "models/region/deploy.prototxt"
    assert found.place("evaluate") == tmp_path / "build/evaluation"
    assert found.command("average") == "make average"
    found.check_data()
    found.write()
    assert not runs.Run.exists(tmp_path)


def test_a_run_behind_a_link_records_where_its_data_are(tmp_path, monkeypatch):
    """Training works inside of the run, where `..` leads out of the link's target."""
    clone, disk = tmp_path / "clone", tmp_path / "disk/build"
    disk.mkdir(parents=True)
    lmdb = write_manifest(clone / "data/lmdb")
    monkeypatch.setattr(runs, "REPOSITORY", clone)
    assert runs.read_data(lmdb, clone / "build/run").lmdb == "../../data/lmdb"
    (clone / "build").symlink_to(disk)
    assert runs.read_data(lmdb, clone / "build/run").lmdb == str(lmdb)


# Inputs and plans -------------------------------------------------------------------------------------------


def test_a_stage_depends_on_its_own_settings_only(run):
    """test_models.py has the options that each network depends on."""
    before = {name: inputs(run, name) for name in record.STAGES}

    def differing():
        return {name for name in before if inputs(run, name) != before[name]}

    run.settings.network = {"threshold": 0.4, "test_batch": 3}
    assert differing() == {"cascade", "average"}
    run.settings.network, run.settings.seed = {}, 2
    assert run.network().seed == 2 and run.solver_changes()["region"]["random_seed"] == "2"
    assert differing() == {"region", "cascade", "whole_face"}
    run.settings.seed, run.settings.solver = 1, {"region": {"max_iter": "9", "display": "3"}}
    assert not differing()  # a training may be continued


@pytest.mark.parametrize(
    "part, changes, names, expected",
    [
        ("solver", {}, CASCADE, {"region": "done", "average": "start", "cascade": "start"}),
        ("solver", {"region": {"max_iter": "9"}}, ["region"], {"region": "resume"}),
        ("solver", {"region": {"max_iter": "5"}}, ["region"], {"region": "done"}),
        ("solver", {}, ["cascade"], "cascade starts from average, which is not begun; run: face-cascade average"),
        ("network", {"batch": 8}, ["region"], "region was made with other settings: network.batch was 4, now 8. Give "),
        ("network", {"batch": 8}, ["region", "restart"], {"region": "start"}),
    ],
)
def test_plans_say_what_is_done_resumed_and_begun(run, part, changes, names, expected):
    getattr(run.settings, part).update(changes)
    planned = functools.partial(plan.actions, run, names, "restart" in names)
    if isinstance(expected, dict):
        assert planned() == expected
    else:
        with pytest.raises(ToolError, match=expected):
            planned()


def test_a_later_stage_is_not_kept_on_other_weights(run):
    for name in ("average", "cascade"):
        done(run, name)
    run.settings.average.rectangles = "whole"
    with pytest.raises(ToolError, match="average region, which was made with other settings: average.rectangles was"):
        plan.actions(run, ["cascade"])
    run.settings.average.rectangles = "measured"
    # The average region that there is would not be that of the region network trained again.
    everything = dict.fromkeys(CASCADE, "start")
    assert plan.actions(run, ["region", "cascade"], restart=True) == everything
    run.settings.solver["region"] = {"max_iter": "9"}
    with pytest.raises(ToolError, match="Continue region alone: face-cascade train region .*; then repeat average and"):
        plan.actions(run, CASCADE)
    run.settings.solver["region"] = {}
    done(run, "region", b"trained anew")
    with pytest.raises(ToolError, match="weights of region differs"):
        plan.actions(run, ["cascade"], restart=True)
    with pytest.raises(ToolError, match="average was made with other settings: weights of region differs"):
        plan.actions(run, ["region", "average"])


def test_a_training_without_a_record_is_not_discarded(run):
    snapshot = run.place("cascade") / "cascade_iter_20000.caffemodel"
    snapshot.parent.mkdir()
    snapshot.write_bytes(b"weights")
    done(run, "average")
    with pytest.raises(ToolError, match="cascade: holds files of a training that .*run.json does not know.*--restart"):
        plan.actions(run, ["cascade"])
    assert plan.actions(run, ["cascade"], restart=True) == {"cascade": "start"}
    snapshot.unlink()
    assert plan.actions(run, ["cascade"]) == {"cascade": "start"}


def test_images_of_gradients_added_over_several_passes_are_counted(run):
    once = images(run, "region", 7)
    run.settings.solver["region"]["iter_size"] = "4"
    assert images(run, "region", 7) == 4 * once and images_of(run, "region", 3) == 3 * 4 * 4


# Locks ------------------------------------------------------------------------------------------------------

HOLD = 'import sys; from tools.locking import locked\nwith locked(sys.argv[1]): print("held", flush=True); input()'


def test_a_second_command_on_a_run_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    run = tmp_path / "run"
    with locking.locked(run), locking.locked(run):
        pass
    words, pipes = [sys.executable, "-c", HOLD, str(run)], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, cwd=start.REPOSITORY, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ToolError, match=f"process {process.pid} works on it"), locking.locked(run):
            pass
        process.kill()
    with locking.locked(run):
        assert len(locking.DESCRIPTORS) == 1 and (run / ".lock").read_text() == f"{os.getpid()}\n"
        with locking.locked(run), locking.locked(tmp_path / "inner"):
            assert len(locking.DESCRIPTORS) == 2
        assert os.environ[locking.HELD] == str(run)
        (run / "kept").touch()
    assert (run / "kept").exists()
