"""The commands of README, "With Caffe's own commands", as they stand there, in a fresh copy of the repository.

The only changes: the data set, an aligned picture, solvers of few iterations, and few faces for the average region.
"""

import re
import shlex
import shutil
import subprocess

import pytest
from command_line import ATTRIBUTES, REPOSITORY
from test_docs import FENCE, tracked

from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.store import manifest
from data_prep.synthetic import synthetic_faces
from models import generate
from models.options import NetworkOptions
from tools.train import before

HEADING = "## With Caffe's own commands"
ENVIRONMENTS = {"torch": ".venv", "bvlc": ".caffe"}
FEW = {"max_iter": 2, "stepsize": 1, "test_interval": 2, "test_iter": 1, "display": 1, "snapshot": 2}
NARROW = 'make models BATCH=2 ARGS="--width 1/16 --test-batch 6"'


def readme_commands():
    """The command lines below README's heading, those for any data and networks first, then the card's."""
    text = (REPOSITORY / "README.md").read_text().partition(HEADING)[2].partition("\n## ")[0]
    (block,) = (body for language, body in FENCE.findall(text) if language == "sh")
    return [line for line in block.replace("\\\n", " ").splitlines() if line]


class Clone:
    """A copy of what git tracks, with the installed environments of this one, and faces in which each of the paper's
    twenty attributes occurs."""

    def __init__(self, folder):
        self.folder, self.faces = folder / "clone", folder / "faces"
        synthetic_faces.generate(self.faces, 60, 4, dict.fromkeys(PAPER_ATTRIBUTES, 0.24), workers=1)
        for path in tracked():
            if (REPOSITORY / path).is_file():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / path, self.folder / path)
        for environment in ENVIRONMENTS.values():
            (self.folder / environment).symlink_to(REPOSITORY / environment)

    def run(self, line, caffe="bvlc"):
        """Run a line of README on one Caffe, with solvers of few iterations; returns its output."""
        for path in (self.folder / "solver").glob("*.prototxt"):
            text = path.read_text()
            for field, value in FEW.items():
                text = re.sub(rf"^{field}: \d+", f"{field}: {value}", text, flags=re.MULTILINE)
            path.write_text(text)
        picture = next((self.faces / "img_align_celeba").glob("*.jpg"))
        line = line.partition("  #")[0].replace("/path/to/CelebA", shlex.quote(str(self.faces)))
        line = line.replace(".caffe/bin", f"{ENVIRONMENTS[caffe]}/bin").replace("face.jpg", shlex.quote(str(picture)))
        line = line.replace("iter_30000", f"iter_{FEW['max_iter']}")
        if line == "make average":
            line += ' ARGS="--faces 4"'
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{(done.stdout + done.stderr)[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A Clone after `make lmdb`, whose networks have a width that README names as an option."""
    clone = Clone(tmp_path_factory.mktemp("card"))
    first, *_ = readme_commands()
    assert first.startswith("make lmdb ")
    clone.run(first)
    assert "next: " in clone.run(NARROW)
    return clone


@pytest.mark.parametrize("caffe", ENVIRONMENTS)
def test_the_commands_of_readme_work_as_they_stand(caffe, narrow):
    shutil.rmtree(narrow.folder / "build", ignore_errors=True)
    for line in readme_commands()[1:]:
        if caffe == "bvlc" or line != "make caffe":
            output = narrow.run(line, caffe)
    answers = output.strip().splitlines()[-20:]
    assert len(answers) == 20
    for line in answers:
        assert re.fullmatch(r"\w+: probability [01]\.\d{3}, region( \d+){4}", line), line
    assert sorted(path.name for path in (narrow.folder / "build").glob("*.caffemodel")) == [
        "average.caffemodel",
        "cascade_iter_2.caffemodel",
        "region_iter_2.caffemodel",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("caffe", ENVIRONMENTS)
def test_the_commands_of_readme_work_at_full_size(caffe, tmp_path):
    clone = Clone(tmp_path)
    for line in readme_commands():
        clone.run(line, caffe)


def by_hand(folder, attributes=ATTRIBUTES, width=1 / 16):
    """Write the networks and solvers of Caffe's own commands, on data/lmdb, into a folder."""
    options = NetworkOptions(attributes, batch=2, width=width)
    generate.write(folder, options, places=generate.in_repository)


@pytest.mark.parametrize("caffe", ENVIRONMENTS)
def test_a_training_without_data_ends_in_one_line_with_the_remedy(caffe, tmp_path):
    by_hand(tmp_path)
    program = REPOSITORY / ENVIRONMENTS[caffe] / "bin/caffe"
    words = [program, "train", "-solver", "solver/region.prototxt"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0 and len(errors) == 1, done.stderr[-2000:]
    assert "data/lmdb/manifest.json: missing; face-cascade data (make lmdb) writes it" in errors[0]
    assert "Check failed" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "solver, attributes, width, form, words",
    [
        ("region", ["Male"], 1 / 16, "compact", "data/lmdb holds Eyeglasses, Male, and the net is for Male"),
        ("region", ATTRIBUTES, 1 / 16, "stream", "data/lmdb holds the stream form, and the net reads the compact one"),
        (
            "cascade",
            ATTRIBUTES,
            1 / 16,
            "compact",
            "build/average.caffemodel: no such file to start from; make av",
        ),
        ("whole_face", ATTRIBUTES, 1 / 8, "compact", "weights of another net, of other attributes or another width"),
    ],
)
def test_what_does_not_fit_is_told_before_bvlc_caffe_starts(
    solver, attributes, width, form, words, small_lmdb, small_run, tmp_path, monkeypatch
):
    """Once it ended with a stack trace. The engine tells by itself: tests/on_caffe and engine/tests."""
    by_hand(tmp_path, attributes, width)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    if form == "compact":
        (tmp_path / "data/lmdb").symlink_to(small_lmdb)
    else:
        (tmp_path / "data/lmdb").mkdir()
        manifest.write(tmp_path / "data/lmdb", manifest.Manifest(ATTRIBUTES, form=form))
    weights = str(small_run / "average/average.caffemodel") if solver == "whole_face" else ""
    with pytest.raises((ValueError, OSError), match=re.escape(words)):
        before.check(f"solver/{solver}.prototxt", weights, "")
    assert (tmp_path / "build").is_dir()
