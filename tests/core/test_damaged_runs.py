"""Files of a run, damaged at random: each is refused in one line that names it, or serves, and no answer changes."""

import json
import resource
import shutil

import caffe
import pytest
from mutations import LIMIT, attempt, damaged, each, few, prototxts, records

from tools import model_files, networks
from tools.record import TRAINED
from tools.report import training
from tools.run import Run
from tools.train import caffe_log, snapshots
from tools.train.plan import images, inputs


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run, for one test to change."""
    return Run.read(shutil.copytree(small_run, tmp_path / "run"))


@few(50, 1000)
def test_deploy_prototxts(run, examples):
    """A run's record refuses every other one; without a record, none runs foreign layers or ends in a traceback."""
    path, weights = run.deploy("cascade"), run.weights("cascade")
    whole = path.read_bytes()
    kinds = {layer.type for layer in networks.load(path, weights).layers}

    def check(data):
        path.write_bytes(data)
        recorded = attempt(lambda: run.deploy("cascade"), path)
        assert (recorded is None) == (data != whole)
        net = attempt(lambda: networks.load(path, weights), run.folder)
        if net is not None:
            assert {layer.type for layer in net.layers} <= kinds
            attempt(net.forward, "", (caffe.CaffeError,))

    each(prototxts(whole.decode()), examples, check)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < LIMIT


@few(30, 500)
def test_weights(run, examples):
    path, model = run.weights("cascade"), run.deploy("cascade")
    whole = path.read_bytes()

    def check(data):
        path.write_bytes(data)
        assert (attempt(lambda: run.weights("cascade"), path) is None) == (data != whole)
        for read in (model_files.network_of, lambda path: networks.load(model, path)):
            attempt(lambda read=read: read(path), path.name)

    each(damaged(whole), examples, check)


@few(50, 1000)
def test_records(run, examples):
    path = run.folder / "run.json"

    def check(data):
        path.write_bytes(data)
        found = attempt(lambda: Run.read(run.folder), run.folder)
        if found is not None and found.recorded:
            found.network(), found.answering(), found.evaluated()
            for name in TRAINED:
                inputs(found, name), images(found, name, 4), found.solver_fields(name)
                for read in (found.weights, found.deploy):
                    attempt(lambda read=read, name=name: read(name), run.folder)
            attempt(found.check_data, "")

    each(records(json.loads(path.read_text())), examples, check)


@few(30, 500)
def test_snapshots_to_resume_from(run, examples):
    """With the reader of the tools, which names the fault of a pair and passes over it."""
    folder, net = run.place("region"), run.train_val("region")
    files = {path: path.read_bytes() for path in sorted(folder.glob("region_iter_4.*"))}
    assert len(files) == 2 and snapshots.newest(folder, "region", net) == (4, [])

    for path, whole in files.items():

        def check(data, path=path):
            path.write_bytes(data)
            attempt(lambda: snapshots.check(folder, "region", 4, net), "region_iter_4", (caffe.CaffeError,))

        each(damaged(whole), examples, check)
        path.write_bytes(whole)


@few(30, 500)
def test_logs(run, examples):
    """A log is always read: what is no line of Caffe's is passed over."""
    path = run.place("region") / "train.log"

    def check(data):
        lines = data.decode(errors="replace").splitlines()
        training.stage("region", caffe_log.read(lines))

    each(damaged(path.read_bytes()), examples, check)
