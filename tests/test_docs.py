"""README and docs: links lead somewhere; commands, files and messages exist; README's commands print what it shows."""

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess

import pytest
from command_line import ATTRIBUTES, REPOSITORY

import tools.predict
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.synthetic import synthetic_faces
from tools import cli

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
LARGEST_README = 8000  # bytes

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MESSAGE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)  # first cell of a table of messages


def text_of(name):
    return (REPOSITORY / name).read_text()


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def blocks(text, language):
    return [body for name, body in FENCE.findall(text) if name == language]


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    for target in LINK.findall(FENCE.sub("", text_of(name))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        assert linked.exists(), f"{name}: {target} leads nowhere"
        assert not anchor or anchor in anchors(linked.read_text()), f"{name}: no heading for {target}"


def check_face_cascade(words, complete):
    """Parse a command line as face-cascade does. complete: else its positional arguments are left out."""
    name, *rest = words
    assert name in cli.COMMANDS, f"face-cascade has no command {name}"
    module, _, caffe = cli.COMMANDS[name]
    parser = cli.Parser(prog=f"face-cascade {name}")
    importlib.import_module(module).add_arguments(parser)
    if caffe == "run":
        parser.add_argument("--caffe")
    if not complete:
        options = {option for action in parser._actions for option in action.option_strings}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= options, shlex.join(words)
        return
    try:
        parser.parse_args(rest)
    except SystemExit as ended:
        assert ended.code == 0, f"face-cascade {shlex.join(words)}: options or values that it does not know"


def check_make(words):
    """Make knows the targets and settings of a command line; nothing is run."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-n", *words], cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"make {shlex.join(words)}: {done.stderr}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name):
    """Those of sh blocks as they stand, and the names and options of those in inline code."""
    text = text_of(name)
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    found = [(line, True) for line in lines] + [(code, False) for code in INLINE.findall(FENCE.sub("", text))]
    for line, complete in found:
        if not re.match(r"(face-cascade|make|\S*python -m) +[a-z]", line):
            continue
        program, *rest = shlex.split(line, comments=True)
        if program == "make":
            check_make(rest)
        elif program == "face-cascade":
            check_face_cascade(rest, complete)
        else:
            assert importlib.util.find_spec(rest[1]), f"there is no module {rest[1]}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    """Inline code that is a path of the repository."""
    tops = {path.partition("/")[0] for path in tracked() if "/" in path}
    for code in INLINE.findall(FENCE.sub("", text_of(name))):
        if re.fullmatch(r"[\w./-]+", code) and code.partition("/")[0] in tops and "/" in code:
            assert (REPOSITORY / code).exists(), f"{name}: there is no {code}"


def test_readme_is_short_and_lists_every_page():
    text = text_of("README.md")
    assert len(text.encode()) <= LARGEST_README
    for name in NAMES[1:]:
        assert name in text, f"README does not list {name}"


def test_listed_messages_exist_in_the_code():
    name = "docs/troubleshooting.md"
    paths = [path for path in tracked() if re.match(r"(Makefile|(data_prep|models|tools|engine)/.*\.py)$", path)]
    # The parts of a text that goes over several lines are one.
    sources = re.sub(r'"\s+f?"', "", "\n".join(map(text_of, paths)))
    messages = MESSAGE.findall(text_of(name))
    assert len(messages) >= 5
    for part in "...".join(messages).split("..."):
        assert part in sources, f"{name}: no message says {part!r}"


def test_prediction_page_has_the_example_that_is_executed():
    """tests/predict/test_prediction_command.py executes the one in the docstring."""
    example = tools.predict.__doc__.partition("\n\n")[2].partition("\n\nRun it")[0]
    lines = [line.removeprefix("    ") for line in example.splitlines()]
    assert "\n".join(lines) + "\n" in blocks(text_of("docs/prediction.md"), "python")


def test_pictures_are_drawn_by_their_script():
    for name, draw in runpy.run_path(str(REPOSITORY / "docs/draw.py"))["PICTURES"].items():
        assert text_of(f"docs/{name}") == draw(), f"docs/{name} is older than docs/draw.py; run it"


# README's commands as they stand there, on synthetic faces --------------------------------------------------

ANY_NUMBER = re.compile(r"\d[\d.,]*")


def tasks():
    """Number of a task in README -> (its command lines, the lines of output that README shows)."""
    text = text_of("README.md").partition("## Five tasks")[2].partition("\n## ")[0]
    found = {}
    for part in text.split("\n**")[1:]:
        parts = dict(FENCE.findall(part))
        found[int(part[0])] = parts["sh"].replace("\\\n", " ").splitlines(), parts["text"].splitlines()
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
    synthetic_faces.generate(faces, 60, 4, dict.fromkeys(PAPER_ATTRIBUTES, 0.24))
    for path in filter(lambda path: (REPOSITORY / path).is_file(), tracked()):
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / path, clone / path)
    for environment in (".caffe", ".venv"):
        (clone / environment).symlink_to(REPOSITORY / environment)
    text = text_of("README.md").partition("## With Caffe's own commands")[2].partition("\n## ")[0]
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
