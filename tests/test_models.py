"""The generator: committed files, options, solvers."""

import pathlib
import subprocess
import sys

import pytest

from models import generate

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("net", generate.NETS)
def test_regenerating_gives_what_is_committed(net):
    options = generate.Options()
    folder = REPOSITORY / "models" / net
    assert (folder / "train_val.prototxt").read_text() == generate.network(net, options)
    assert (folder / "deploy.prototxt").read_text() == generate.network(net, options, deploy=True)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"batch": 3}, "even"),
        ({"batch": 0}, "even"),
        ({"attributes": ["Eyeglases"]}, "Eyeglases"),
        ({"attributes": []}, "no attribute"),
        ({"attributes": ["Male", "Male"]}, "twice"),
        ({"l1": "square"}, "log, linear"),
        ({"roi_gradient": "hard"}, "none, soft"),
    ],
)
def test_impossible_options_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        generate.Options(**arguments)


def test_solver_changes_apply_to_all_stages_or_one(tmp_path):
    changes = {"base_lr": "0.5", "region.max_iter": "7", "iter_size": "2"}
    generate.write(tmp_path, generate.Options(attributes=["Male"]), changes)
    region = (tmp_path / "region/solver.prototxt").read_text().splitlines()
    cascade = (tmp_path / "cascade/solver.prototxt").read_text().splitlines()
    assert "max_iter: 7" in region and "max_iter: 7" not in cascade
    for lines in (region, cascade):
        assert sum(line.startswith("base_lr: 0.5") for line in lines) == 1 and "iter_size: 2" in lines
    assert f'net: "{(tmp_path / "region").as_posix()}/train_val.prototxt"' in region


def test_gradients_are_clipped_at_half_the_root_of_the_number_of_attributes():
    assert "clip_gradients: 1 " in generate.solver("region", "out", {}, 4)
    assert "clip_gradients: 2.24 " in (REPOSITORY / "solver/region.prototxt").read_text()
    assert "clip_gradients: 7 " in generate.solver("region", "out", {"clip_gradients": "7"}, 4)


def test_odd_batch_on_the_command_line_is_one_clear_line(tmp_path):
    command = [sys.executable, "-m", "models.generate", "--batch", "3", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode != 0 and done.stderr.startswith("error: batch") and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
