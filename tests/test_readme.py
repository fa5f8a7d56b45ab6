"""README's tasks as commands: each is run as it stands there, on synthetic faces, and prints what README shows."""

import re
import shlex
import shutil

import pytest
from command_line import ATTRIBUTES
from test_docs import FENCE, REPOSITORY

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


@pytest.mark.parametrize("number", (1, 3, 4, 5))  # training, task 2, is the fixture small_run
def test_task_of_the_readme_prints_what_it_shows(number, folder, small_faces, monkeypatch, cascade):
    monkeypatch.chdir(folder)
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
