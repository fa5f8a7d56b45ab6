"""README and docs: links lead somewhere, and commands, files and messages exist."""

import ast
import importlib
import os
import pathlib
import re
import runpy
import shlex
import subprocess

import pytest
from test_architecture import INSIDE, ORDER

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


def text_of(page):
    return page.read_text()


def blocks(text, language):
    return [body for name, body in FENCE.findall(text) if name == language]


def commands(text):
    """Command lines of a page: those in sh blocks, and inline code that begins like one."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    prose = MESSAGE.sub("", FENCE.sub("", text))
    lines += [code for code in INLINE.findall(prose) if re.match(r"(make|face-cascade) [a-z]", code)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parse(name, words):
    """Parse the words of a subcommand as face-cascade does."""
    command = cli.COMMANDS[name]
    module = importlib.import_module(command.module)
    parser = cli.Parser(prog=f"face-cascade {name}")
    module.add_arguments(parser)
    if command.caffe == "run":
        parser.add_argument("--caffe")
    try:
        parser.parse_args(words)
    except SystemExit as ended:
        assert ended.code == 0, f"face-cascade {name} {shlex.join(words)}: options or values that it does not know"


def check_face_cascade(words):
    name, *rest = words
    if name == "COMMAND":
        return
    assert name in cli.COMMANDS, f"face-cascade has no command {name}"
    # Inline code names an option, not a whole command: the positionals may be missing.
    needed = {"data": ["DATA"], "model": ["DATA"], "check": ["LMDB"], "predict": ["PHOTO"]}.get(name, [])
    parse(name, [*rest, *needed] if all(word.startswith("-") for word in rest) else rest)


def check_make(words):
    """Make knows the targets and settings of a command line; nothing is run."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-n", *words], cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"make {shlex.join(words)}: {done.stderr}"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = REPOSITORY / name
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{name}: {target} leads nowhere"
        assert not anchor or anchor in anchors(text_of(linked)), f"{name}: no heading for {target}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name):
    for words in commands(text_of(REPOSITORY / name)):
        program, *rest = words
        if program == "make":
            check_make(rest)
        elif program == "face-cascade":
            check_face_cascade(rest)
        elif program.endswith("python") and rest[0] == "-m":
            place = REPOSITORY / rest[1].replace(".", "/")
            module = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
            assert module.exists(), f"there is no module {rest[1]}"
            assert "__main__" in module.read_text() or place.is_dir(), f"python -m {rest[1]} does nothing"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    """Inline code that is a path of the repository."""
    tops = {path.partition("/")[0] for path in tracked() if "/" in path}
    for code in INLINE.findall(FENCE.sub("", text_of(REPOSITORY / name))):
        if re.fullmatch(r"[\w./-]+", code) and code.partition("/")[0] in tops and "/" in code:
            assert (REPOSITORY / code).exists(), f"{name}: there is no {code}"


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_readme_is_short_and_lists_every_page():
    text = text_of(PAGES[0])
    assert len(text.encode()) <= LARGEST_README
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in text, f"README does not list {page.name}"


def constants(path):
    """Every literal text in a module, the parts of an f-string each."""
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize("name", ["README.md", "docs/troubleshooting.md"])
def test_listed_messages_exist_in_the_code(name):
    sources = [(REPOSITORY / "Makefile").read_text()]
    for path in tracked():
        if path.endswith(".py") and path.split("/")[0] in ("data_prep", "models", "tools", "engine"):
            sources += constants(REPOSITORY / path)
    table = text_of(REPOSITORY / name).partition("Troubleshooting" if name == "README.md" else "# ")[2]
    messages = MESSAGE.findall(table)
    assert len(messages) >= 5
    for message in messages:
        for part in message.split("..."):
            assert any(part in source for source in sources), f"{name}: no message says {part!r}"


def test_prediction_page_has_the_example_that_is_executed():
    """tests/on_caffe/test_prediction.py executes the one in the docstring."""
    example = tools.predict.__doc__.partition("\n\n")[2].partition("\n\nRun it")[0]
    lines = [line.removeprefix("    ") for line in example.splitlines()]
    assert "\n".join(lines) + "\n" in blocks(text_of(REPOSITORY / "docs/prediction.md"), "python")


def test_pictures_are_drawn_by_their_script():
    module = runpy.run_path(str(REPOSITORY / "docs/draw.py"))
    for name, draw in module["PICTURES"].items():
        assert (REPOSITORY / "docs" / name).read_text() == draw(), f"docs/{name} is older than docs/draw.py; run it"


def test_the_picture_of_folders_has_the_order_that_is_tested():
    drawn = dict(runpy.run_path(str(REPOSITORY / "docs/draw.py"))["FOLDERS"])
    assert [name.split()[-1] for name in drawn] == list(reversed(ORDER))
    for folder, order in INSIDE.items():
        for part, words in zip(reversed(drawn[folder]), order):
            assert set(re.findall(r"\w+", part)) <= set(words.split()), f"{folder}: {part} is drawn where {words} are"
