"""Pages, docstrings, comments, names and literal texts use the field's terms and none of the words below."""

import ast
import io
import re
import tokenize

import pytest
from test_docs import FENCE, INLINE, NAMES, REPOSITORY, tracked

BANNED = (
    r"(is|are|was|were) right on",
    r"(mean|average|largest|share of) overlap",
    r"(centre|hits?) in the box\)",
    r"share of (it|the box) covered",
    r"drawn (faces?|images?|samples?)",
    r"in turns",
    r"tak(e|es|ing) turns",
    r"a tenth of the rate",
    r"the (linear|log) form of eq",
    r"the proof of",
    r"hard to get wrong",
    r"what gives no answer",
    r"the same command goes on",
    r"oddit(y|ies)",
    r"quiet machine",
    r"nothing else on it",
    r"(?<!worked out )by hand",
    r"told",
    r"spoilt",
    r"--(sure|searched|smallest|least)",
    r"serves_tensors",
)
# Ordinary words in a source text, where pages have other ones.
BANNED_IN_PAGES = (r"overlap\w*", r"(of|in) the points", r"by hand")
KINDS = (".py", ".prototxt", ".html", ".js", ".css", ".ipynb", "Makefile")
EXCEPT = ("caffe_pb2.py", "tests/test_words.py")  # a generated module, and the list above
SOURCES = [path for path in tracked() if path.endswith(KINDS) and not path.endswith(EXCEPT)]


def banned(text, words=BANNED):
    """Each banned phrase of a text, with the words around it."""
    text = " ".join(text.split())
    pattern = rf"(?<![\w-])({'|'.join(words)})(?!\w)"
    found = re.finditer(pattern, text, re.IGNORECASE)
    return [f"{match[0]!r} in {text[max(0, match.start() - 40) : match.end() + 40]!r}" for match in found]


def comments(source):
    """The comments of a module, those of successive lines as one: pairs (line, text)."""
    blocks, last = [], -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, text = token.start[0], token.string.lstrip("#! ")
            if line == last + 1:
                blocks[-1] = blocks[-1][0], f"{blocks[-1][1]} {text}"
            else:
                blocks.append((line, text))
            last = line
    return blocks


def python_texts(source):
    """What a person reads in a module: pairs (line, text) of literals, names of functions and classes, comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.lineno, node.name.replace("_", " ")
    yield from comments(source)


def texts(path):
    """What a person reads in a file of the repository: pairs (line, text). Texts other than Python's are one."""
    source = (REPOSITORY / path).read_text()
    if path.endswith(".py"):
        return python_texts(source)
    return [(1, re.sub(r"^\s*(#|\*|//)\s", "", source, flags=re.MULTILINE))]


@pytest.mark.parametrize("name", NAMES)
def test_pages_use_the_terms_of_the_field(name):
    prose = INLINE.sub("", FENCE.sub("", (REPOSITORY / name).read_text()))
    assert not banned(prose, BANNED + BANNED_IN_PAGES)


@pytest.mark.parametrize("folder", sorted({path.split("/")[0] for path in SOURCES}))
def test_sources_use_the_terms_of_the_field(folder):
    paths = [path for path in SOURCES if path.split("/")[0] == folder]
    found = {f"{path}:{line}: {hit}" for path in paths for line, text in texts(path) for hit in banned(text)}
    assert not found, "\n".join(sorted(found))


def test_a_phrase_is_found_over_the_end_of_a_line_and_in_a_name():
    source = 'def drawn_faces():\n    """Faces taking\n    turns."""\n    # one quiet\n    # machine\n'
    found = [hit for _, text in python_texts(source) for hit in banned(text)]
    for hit, words in zip(found, ("drawn faces", "taking turns", "quiet machine"), strict=True):
        assert hit.startswith(repr(words))
    assert not banned("boxes that overlap, worked out by hand, are untold")
