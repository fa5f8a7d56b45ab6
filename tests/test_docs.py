"""README and docs: links lead somewhere, and commands, files and messages exist."""

import importlib.util
import os
import pathlib
import re
import runpy
import shlex
import subprocess

import pytest

import tools.predict
from tools import cli

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
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
