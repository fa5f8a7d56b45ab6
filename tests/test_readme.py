"""README's commands as they stand there, on synthetic faces: they work, and the tasks print what README shows."""

import re
import shlex
import shutil
import subprocess

import pytest
from command_line import ATTRIBUTES, REPOSITORY
from test_docs import FENCE, tracked

from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.synthetic import synthetic_faces

ANY_NUMBER = re.compile(r"\d[\d.,]*")


def tasks():
    """Number of a task in README -> (its command lines, the lines of output that README shows)."""
    text = (REPOSITORY / "README.md").read_text().partition("## Five tasks")[2].partition("\n## ")[0]
    found = {}
    for part in text.split("\n**")[1:]:
        blocks = dict(FENCE.findall(part))
        found[int(part[0])] = blocks["sh"].replace("\\\n", " ").splitlines(), blocks["text"].splitlines()
    return found


def pattern(line):
    """A line of output that README shows, as a regular expression for any numbers, and the test's attributes."""
    text = re.escape(line.replace("Eyeglasses, Wearing_Hat, Male", ", ".join(ATTRIBUTES)))
    return ANY_NUMBER.sub(lambda _: r"[\d.,]+", text.replace(re.escape("..."), ".*"))


@pytest.fixture(scope="module")
def folder(small_faces, small_run, tmp_path_factory):
    """A user's folder: pictures, and a trained run in build/run."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(small_run, folder / "build/run")
    (folder / "holiday").mkdir()
    one, other = sorted((small_faces / "img_align_celeba").glob("*.jpg"))[:2]
    shutil.copy(one, folder / "portrait.jpg")
    shutil.copy(other, folder / "holiday")
    return folder


def test_the_tasks_of_the_readme_print_what_it_shows(folder, small_faces, monkeypatch, cascade):
    monkeypatch.chdir(folder)
    for number in (1, 3, 4, 5):  # training, task 2, is the fixture small_run
        lines, shown = tasks()[number]
        printed = ""
        for line in lines:
            words = shlex.split(line.replace("/path/to/CelebA", shlex.quote(str(small_faces))))
            words = [",".join(ATTRIBUTES) if word == "Eyeglasses,Wearing_Hat,Male" else word for word in words]
            status, out, error = cascade(*words[1:])
            assert words[0] == "face-cascade" and status == 0, f"{line}: {error}"
            printed += out
        missing = [line for line in shown if not re.search(pattern(line), printed)]
        assert not missing, f"README shows {missing}, but the commands print\n{printed}"


# With Caffe's own commands ----------------------------------------------------------------------------------

MODELS = 'make models {} --solver max_iter=2,stepsize=1,test_interval=2,test_iter=1,display=1,snapshot=2"'


@pytest.mark.parametrize(
    "caffe, models",
    [
        (".caffe", MODELS.format('BATCH=2 ARGS="--width 1/16 --test-batch 6')),
        pytest.param(".caffe", MODELS.format('ARGS="'), marks=pytest.mark.slow),
        pytest.param(".venv", MODELS.format('ARGS="'), marks=pytest.mark.slow),
    ],
    ids=("bvlc", "bvlc-full-size", "torch-full-size"),
)
def test_caffes_own_commands_work_in_a_fresh_copy_of_the_repository(caffe, models, tmp_path):
    """models: the command that shortens the solvers."""
    clone, faces = tmp_path / "clone", tmp_path / "faces"
    synthetic_faces.generate(faces, 60, 4, dict.fromkeys(PAPER_ATTRIBUTES, 0.24), workers=1)
    for path in filter(lambda path: (REPOSITORY / path).is_file(), tracked()):
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / path, clone / path)
    for environment in (".caffe", ".venv"):
        (clone / environment).symlink_to(REPOSITORY / environment)
    text = (REPOSITORY / "README.md").read_text().partition("## With Caffe's own commands")[2].partition("\n## ")[0]
    text = dict(FENCE.findall(text))["sh"].replace("\\\n", " ").replace("iter_30000", "iter_2")
    text = text.replace("/path/to/CelebA", str(faces)).replace("make average", 'make average ARGS="--faces 4"')
    text = text.replace("face.jpg", str(faces / "img_align_celeba/000001.jpg")).replace(".caffe/bin", f"{caffe}/bin")
    data, *lines = text.splitlines()
    for line in (data, models, *lines):
        done = subprocess.run(["bash", "-c", line], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{(done.stdout + done.stderr)[-3000:]}"
    answers = done.stdout.strip().splitlines()[-20:]
    assert len(answers) == 20
    for line in answers:
        assert re.fullmatch(r"\w+: probability [01]\.\d{3}, region( \d+){4}", line), line
    weights = sorted(path.stem for path in (clone / "build").glob("*.caffemodel"))
    assert weights == ["average", "cascade_iter_2", "region_iter_2"]
