"""The commands of README, "With Caffe's own commands", as they stand there, in a fresh copy of the repository.

The only changes: the data set, an aligned picture, solvers of few iterations, and few faces for the average region.
"""

import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from command_line import REPOSITORY
from test_docs import FENCE, tracked

from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.synthetic import synthetic_faces

HEADING = "## With Caffe's own commands"
FEW = {"max_iter": 4, "stepsize": 3, "test_interval": 3, "test_iter": 1, "display": 1, "snapshot": 4}


def readme_commands():
    """The command lines below README's heading, those for any data and networks first, then the card's."""
    text = (REPOSITORY / "README.md").read_text().partition(HEADING)[2].partition("\n## ")[0]
    (block,) = (body for language, body in FENCE.findall(text) if language == "sh")
    return [line for line in block.replace("\\\n", " ").splitlines() if line]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Synthetic faces of which enough have, and have not, each of the paper's twenty attributes."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    synthetic_faces.generate(folder, 60, 4, dict.fromkeys(PAPER_ATTRIBUTES, 0.24), workers=1)
    return folder


@pytest.fixture
def clone(tmp_path):
    """A copy of what git tracks, with the installed environments of this one."""
    folder = tmp_path / "clone"
    for path in tracked():
        if (REPOSITORY / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / path, folder / path)
    for environment in (".venv", ".caffe"):
        (folder / environment).symlink_to(REPOSITORY / environment)
    return folder


def shorten(folder):
    """Give the solvers few iterations."""
    for path in (folder / "solver").glob("*.prototxt"):
        text = path.read_text()
        for field, value in FEW.items():
            text = re.sub(rf"^{field}: \d+", f"{field}: {value}", text, flags=re.MULTILINE)
        path.write_text(text)


def run(folder, command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, shell=True, executable="/bin/bash")
    return done.returncode, done.stdout + done.stderr


def card(clone, faces, caffe, narrow):
    """Run README's commands on one Caffe; returns the output of the last one, the predictions.

    caffe: "bvlc" or "torch"; narrow: whether `make models` gives the networks a width, which README names as an option
    """
    picture = sorted((faces / "img_align_celeba").glob("*.jpg"))[0]
    environment = {"bvlc": ".caffe", "torch": ".venv"}[caffe]
    shorten(clone)
    for line in readme_commands():
        line = line.partition("  #")[0].replace("/path/to/CelebA", shlex.quote(str(faces)))
        line = line.replace(".caffe/bin", f"{environment}/bin").replace("face.jpg", shlex.quote(str(picture)))
        line = line.replace("iter_30000", f"iter_{FEW['max_iter']}")
        if line == "make average":
            line += ' ARGS="--faces 8 --min-firings 1"'
        code, output = run(clone, line)
        assert code == 0, f"{line}\n{output[-3000:]}"
        if line.startswith("make lmdb") and narrow:
            code, output = run(clone, 'make models ARGS="--width 1/16"')
            assert code == 0 and "next: " in output, output
            shorten(clone)
    return output


@pytest.mark.parametrize("caffe", ("torch", "bvlc"))
def test_the_commands_of_readme_work_as_they_stand(caffe, clone, faces):
    lines = card(clone, faces, caffe, narrow=True).strip().splitlines()[-20:]
    assert len(lines) == 20
    for line in lines:
        assert re.fullmatch(r"\w+: probability [01]\.\d{3}, region( \d+){4}", line), line
    assert sorted(path.name for path in (clone / "build").glob("*.caffemodel")) == [
        "average.caffemodel",
        "cascade_iter_4.caffemodel",
        "region_iter_4.caffemodel",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("caffe", ("torch", "bvlc"))
def test_the_commands_of_readme_work_at_full_size(caffe, clone, faces):
    card(clone, faces, caffe, narrow=False)


REMEDIES = {
    "no data": ("region", None, "data/lmdb/manifest.json: missing; face-cascade data (make lmdb) writes it"),
    "other attributes": ("region", "Male", "data/lmdb holds Male, and the net is for Attractive, Bald"),
    "other form": ("region", "--form stream", "data/lmdb holds the stream form, and the net reads the compact one"),
    "no average": ("cascade", "", "build/average.caffemodel: no such file to start from; solver/cascade.prototxt says"),
    "other weights": (
        "cascade",
        "weights",
        "weights of another net, of other attributes or another width: layer conv1",
    ),
}


@pytest.mark.parametrize("kind", REMEDIES)
@pytest.mark.parametrize("caffe", (".venv", ".caffe"))
def test_what_does_not_fit_is_one_line_with_the_remedy(caffe, kind, clone, faces, small_run):
    stage, given, words = REMEDIES[kind]
    if given is not None:
        attributes = f"--attributes {given}" if given == "Male" else given if given.startswith("--") else ""
        code, output = run(clone, f".venv/bin/face-cascade data {shlex.quote(str(faces))} --records 1 {attributes}")
        assert code == 0, output
    if given == "weights":
        (clone / "build").mkdir()
        shutil.copy(small_run / "average/average.caffemodel", clone / "build")
    if given == "weights" and caffe == ".venv":
        words = "parameter 0 has shape (6, 3, 11, 11) in the file, (96, 3, 11, 11) in the net"
    code, output = run(clone, f"{caffe}/bin/caffe train -solver solver/{stage}.prototxt 2>&1")
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code != 0 and len(errors) == 1 and words in errors[0], output[-2000:]
    assert caffe == ".venv" or pathlib.Path(clone / "build").is_dir()
    assert "Check failed" not in output and "Traceback" not in output
