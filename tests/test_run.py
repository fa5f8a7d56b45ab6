"""The record of a run: writing and reading, errors for damage, inputs of stages, locks."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from data_prep.store import manifest
from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.train import estimate, plan, stages

ATTRIBUTES = ["Eyeglasses", "Male"]


@pytest.fixture
def lmdb(tmp_path):
    """A folder with a manifest only."""
    folder = tmp_path / "lmdb"
    folder.mkdir()
    manifest.write(folder, manifest.Manifest(attributes=ATTRIBUTES, form="compact"))
    return folder


@pytest.fixture
def run(lmdb, tmp_path):
    """A run with a stage of each state that has weights."""
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
    stage = record.Stage(plan.normal(made.inputs(name)), "done", f"{name}/{path.name}", runs.files.sha256(path), 7)
    made.stages[name] = stage


def test_a_record_is_read_as_it_was_written(run):
    again = runs.Run.read(run.folder)
    assert (again.data, again.settings, again.stages) == (run.data, run.settings, run.stages)
    assert again.attributes == ATTRIBUTES and again.data.form == "compact" and os.path.isabs(again.data.lmdb)
    assert again.weights("region").read_bytes() == b"weights"
    assert again.solver_fields("region")["max_iter"] == 7 and again.images("region") == 7 * 4


def change(path, value):
    """A record with one entry changed: path of keys, and the value; ... deletes it."""

    def changed(record):
        inner = record
        for key in path[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        return json.dumps(record)

    return changed


DAMAGE = {
    "empty": (lambda record: "", "not readable as JSON"),
    "cut": (lambda record: json.dumps(record)[:99], "not readable as JSON"),
    "list": (lambda record: "[]", "must hold a JSON object, not list"),
    "null": (lambda record: "null", "must hold a JSON object, not null"),
    "no version": (change(["version"], ...), "key 'version' is missing"),
    "other version": (change(["version"], 99), "written by another version"),
    "no data": (change(["data"], ...), "key 'data' is missing"),
    "no attributes": (change(["data", "attributes"], []), "'attributes' must be a list of names"),
    "number as attribute": (change(["data", "attributes"], [1]), "'attributes' must be a list of names"),
    "engine": (change(["settings", "engine"], "caffe2"), "'engine' must be one of bvlc, torch"),
    "threads": (change(["settings", "threads"], "two"), "'threads' must be a number, not \"two\""),
    "snapshots": (change(["settings", "keep_snapshots"], -1), "'keep_snapshots' must be at least 0"),
    "unknown key": (change(["settings", "colour"], 1), "unknown key 'colour'"),
    "min_firings": (change(["settings", "average", "min_firings"], None), "'min_firings' must be a number, not null"),
    "stage": (change(["stages", "regoin"], {}), "unknown stage"),
    "state": (change(["stages", "region", "state"], "finished"), "'state' must be one of"),
    "done without weights": (change(["stages", "region", "weights"], None), "needs 'weights'"),
    "true as number": (change(["stages", "region", "iterations"], True), "'iterations' must be a number, not true"),
    "not a number": (lambda record: json.dumps(change(["stages"], {})(record)).replace("1", "NaN", 1), "damaged"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported_in_one_line_with_file_and_key(run, kind):
    path = run.folder / runs.NAME
    damage, words = DAMAGE[kind]
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(ToolError, match=words) as raised:
        runs.Run.read(run.folder)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_missing_or_changed_weights_are_not_used(run):
    path = run.weights("region")
    path.write_bytes(b"others")
    with pytest.raises(ToolError, match="changed since region was done.*--restart"):
        run.weights("region")
    path.unlink()
    with pytest.raises(ToolError, match="missing, though run.json says that region is done"):
        run.weights("region")
    with pytest.raises(ToolError, match="stage cascade is not begun.*face-cascade train cascade --run"):
        run.weights("cascade")


def test_a_missing_record_and_changed_data_are_reported(run, lmdb, tmp_path):
    with pytest.raises(ToolError, match="no run in it .*face-cascade train"):
        runs.Run.read(tmp_path / "nowhere")
    run.check_data()
    manifest.write(lmdb, manifest.Manifest(attributes=ATTRIBUTES, form="stream"))
    with pytest.raises(ToolError, match="the data changed since"):
        run.check_data()


@pytest.mark.parametrize(
    "field, value, changed",
    [
        ("batch", 8, {"region", "cascade", "whole_face"}),
        ("l1", "linear", {"region", "cascade"}),
        ("beta", 2.0, {"cascade", "whole_face"}),
        ("task_two_loss", 0.5, {"cascade"}),
        ("average_weight", 0.0, {"cascade"}),
        ("threshold", 0.4, {"cascade", "average"}),
        ("test_batch", 5, set()),
    ],
)
def test_a_stage_depends_on_its_own_options_only(run, field, value, changed):
    names = ("region", "average", "cascade", "whole_face")
    before = {name: run.inputs(name) for name in names}
    run.settings.network[field] = value
    assert {name for name in names if run.inputs(name) != before[name]} == changed


def test_solver_fields_for_display_only_do_not_invalidate_a_stage(run):
    before = run.inputs("region")
    run.settings.solver["region"].update(display="1", snapshot="5", test_interval="3", average_loss="2")
    assert run.inputs("region") == before
    run.settings.solver["region"]["base_lr"] = "0.002"
    assert plan.differences(before, run.inputs("region")) == ["solver.base_lr was 0.01, now 0.002"]


def test_plan_names_the_difference_and_the_remedy(run):
    assert plan.actions(run, ["region"]) == [("region", "done")]
    assert plan.actions(run, ["region"], restart=True) == [("region", "start")]
    assert plan.actions(run, ["region", "average", "cascade"])[1:] == [("average", "start"), ("cascade", "start")]
    run.settings.solver["region"]["max_iter"] = "9"
    with pytest.raises(ToolError, match="region was made with other settings: solver.max_iter was 7, now 9.*--restart"):
        plan.actions(run, ["region"])
    with pytest.raises(ToolError, match="cascade starts from average, which is not begun; run: face-cascade average"):
        plan.actions(run, ["cascade"])


def test_a_stage_made_from_earlier_weights_is_not_done(run):
    done(run, "average")
    assert plan.actions(run, ["average"]) == [("average", "done")]
    done(run, "region", b"trained anew")
    with pytest.raises(ToolError, match="average was made with other settings: weights of region differs"):
        plan.actions(run, ["average"])
    run.stages["region"].state = "interrupted"
    with pytest.raises(ToolError, match="average was made with other settings"):
        plan.actions(run, ["region", "average"])


HOLD = """
import sys, time
from tools import run
with run.locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held(folder):
    """Another process holds the lock of a folder meanwhile; yields a pattern of the error that others get."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        yield f"process {holder.pid} works on this run"
    finally:
        holder.kill()
        holder.wait()


def test_a_second_training_in_a_run_is_refused(tmp_path):
    with held(tmp_path) as refusal, pytest.raises(ToolError, match=refusal), runs.locked(tmp_path):
        pass
    with runs.locked(tmp_path) as descriptor:
        assert descriptor is not None
        with runs.locked(tmp_path) as inner:  # what a command starts does not wait for it
            assert inner is None


def test_a_refused_command_leaves_the_lock_of_a_folder_without_a_record(tmp_path):
    """As the demo, which renders faces before there is a run."""
    folder = tmp_path / "new"
    with held(folder) as refusal:
        for _ in range(2):
            with pytest.raises(ToolError, match=refusal), runs.locked(folder):
                pass
    with runs.locked(folder):
        pass
    assert not folder.exists()


def test_the_cascade_does_not_start_from_an_average_region_of_other_settings(run):
    done(run, "average")
    assert plan.actions(run, ["cascade"]) == [("cascade", "start")]
    run.settings.average.rectangles = "theoretical"
    wanted = "average region.*average.rectangles was measured, now theoretical.*face-cascade average --run .* --restart"
    with pytest.raises(ToolError, match=wanted):
        plan.actions(run, ["cascade"])
    run.settings.average.rectangles = "measured"
    done(run, "region", b"trained anew")
    with pytest.raises(ToolError, match="weights of region differs"):
        plan.actions(run, ["cascade"], restart=True)


def test_a_training_without_a_record_is_not_discarded(run):
    snapshot = run.place("cascade") / "cascade_iter_20000.caffemodel"
    snapshot.parent.mkdir()
    snapshot.write_bytes(b"weights")
    done(run, "average")
    with pytest.raises(ToolError, match="cascade: holds files of a training that .*run.json does not know.*--restart"):
        plan.actions(run, ["cascade"])
    assert plan.actions(run, ["cascade"], restart=True) == [("cascade", "start")]
    snapshot.unlink()
    assert plan.actions(run, ["cascade"]) == [("cascade", "start")]
    # A folder of something else, such as models/.
    (run.folder / runs.NAME).unlink()
    run.stages = {}
    (run.place("region") / "train_val.prototxt").write_text("layer {}")
    with pytest.raises(ToolError, match="region: holds files of a training"):
        plan.actions(run, ["region"])


def test_no_stage_of_other_data_stays_in_a_run(run, lmdb, monkeypatch):
    for name in ("average", "cascade"):
        done(run, name)
    run.stages["evaluate"] = record.Stage({"data": run.data.checksum}, "done")
    run.place("evaluate").mkdir()
    run.write()
    manifest.write(lmdb, manifest.Manifest(attributes=["Smiling", "Young"], form="compact"))
    run.data = runs.read_data(lmdb)
    with pytest.raises(ToolError, match="stages of other data than .*: average, cascade; name them too"):
        stages.train(run, ["region"], None, restart=True)
    assert runs.Run.read(run.folder).attributes == ATTRIBUTES and run.weights("cascade").exists()

    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train_stage", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.train(run, ["region", "average", "cascade"], None, restart=True)
    left = runs.Run.read(run.folder)
    assert left.attributes == ["Smiling", "Young"] and not left.stages
    assert not left.place("cascade").exists() and not left.place("evaluate").exists()


def test_images_of_gradients_added_over_several_passes_are_counted(run):
    once, work = run.images("region"), estimate.work(run, "region")
    run.settings.solver["region"]["iter_size"] = "4"
    assert run.images("region") == 4 * once and run.images_of("region", 3) == 3 * 4 * 4
    assert estimate.work(run, "region") == 4 * work
