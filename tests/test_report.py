"""The report of an evaluation: whole, safe against hostile words, and refused where what it shows has changed."""

import dataclasses
import html.parser
import shutil

import evaluation_files
import pytest

from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import results
from tools.report import page, report

HOSTILE = """"><img src=x onerror=alert(1)><b>'&amp;<!--"""


class Tags(html.parser.HTMLParser):
    """All tags of a page in order, with the names of their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found, self.shown = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, sorted(name for name, _ in attributes)))

    def handle_data(self, data):
        self.shown += data


def log(word):
    """A training log in which an output of the network has a word as its name."""
    name = word.replace(" ", "")
    return f"""I0210 13:39:22.381027 25210 solver.cpp:204] Iteration 0, loss = 1.5
I0210 13:39:22.381027 25210 solver.cpp:204]     Train net output #0: loss{name} = 0.5 (* 1 = 0.5 loss)
I0210 13:39:22.381027 25210 solver.cpp:204] Iteration 10, Testing net (#0)
I0210 13:39:22.381027 25210 solver.cpp:204]     Test net output #0: accuracy_attribute_each = 0.5
I0210 13:39:22.381027 25210 solver.cpp:204]     Test net output #1: accuracy_attribute_each = 0.75
"""


def made(folder, word):
    """A report whose every free string holds a word."""
    attributes, names = [f"Male{word}", f"Young{word}"], [f"one{word}", f"two{word}"]
    evaluation, _ = evaluation_files.make(folder, attributes, names, word)
    stage = folder / f"stage{word}"
    stage.mkdir()
    (stage / "train.log").write_text(log(word))
    return report.make(evaluation, folder)


def test_hostile_words_are_shown_and_make_no_tags(tmp_path):
    """Today's defect: engine, network, paths and names of evaluation.json came through as tags."""
    plain, hostile = Tags(made(tmp_path / "plain", "plain")), Tags(made(tmp_path / "hostile", HOSTILE))
    assert hostile.found == plain.found
    assert hostile.shown.count("onerror") >= 10
    for start in ("engine ", "cpu ", "source ", "Male", "one", "stage", "loss", "lmdb "):
        assert start + HOSTILE.replace(" ", "" if start == "loss" else " ") in hostile.shown, start


def test_every_piece_of_a_page_escapes():
    pieces = page.tiles([(HOSTILE, HOSTILE)]) + page.facts({HOSTILE: HOSTILE})
    pieces += page.table([{HOSTILE: HOSTILE}]) + page.page(HOSTILE, HOSTILE, {HOSTILE: "<p>text</p>"})
    assert not {"img", "b "} & {tag for tag, _ in Tags(pieces).found}
    assert HOSTILE.replace("&amp;", "&") not in pieces and "<img" not in pieces


@pytest.fixture
def evaluation(tmp_path):
    return evaluation_files.make(tmp_path, ["Male", "Smiling"], ["region", "cascade"])


def test_sections_and_words(evaluation):
    folder, result = evaluation
    text = report.make(folder)
    for heading in ("Results", "Attributes", "Regions", "Groups", "Best and worst", "Model card"):
        assert f"<h2>{heading}</h2>" in text
    assert "<h2>Training</h2>" not in text  # there are no logs
    mean = results.rows(result.networks["cascade"])[-1]
    assert f"<b>{100 * mean.accuracy:.1f} %</b>" in text
    for words in ("IoU", "pointing-game accuracy", "box coverage", "balanced accuracy", "women", "synthetic faces"):
        assert words in text
    for words in ("drawn faces", "overlap", "covered", ">hit<"):
        assert words not in text


@pytest.mark.parametrize("lost", ("manifest", "weights", "arrays", "images", "no weights"))
def test_what_changed_since_is_refused_in_one_line(evaluation, lost):
    folder, result = evaluation
    lmdb = folder.parent / "lmdb plain"
    if lost == "manifest":
        (lmdb / "manifest.json").write_text('{"attributes": ["Male", "Smiling"], "form": "stream"}')
        words = "the data changed since"
    elif lost == "images":
        shutil.rmtree(lmdb / "test_images")
        words = "test_images"
    elif lost == "arrays":
        path = folder / "region.npz"
        path.write_bytes(path.read_bytes()[:-20])
        words = "region.npz: damaged"
    else:
        path = folder.parent / "cascade plain.caffemodel"
        path.unlink() if lost == "no weights" else path.write_bytes(path.read_bytes() + b"")
        if lost == "weights":
            path.write_bytes(b"others")
        words = "missing, though it was evaluated" if lost == "no weights" else "changed since it was evaluated"
    with pytest.raises(ToolError, match=words) as error:
        report.make(folder)
    assert "\n" not in str(error.value)


def test_report_of_a_run_is_of_the_weights_it_has_now(evaluation):
    folder, result = evaluation
    run = runs.Run(
        folder.parent, record.Data("lmdb", "x", ["Male", "Smiling"], "stream"), record.Settings(engine="torch")
    )
    inputs = {}
    for name in ("region", "cascade"):
        run.stages[name] = record.Stage({}, "done", f"{name} plain.caffemodel", result.networks[name].checksum)
        inputs[f"weights of {name}"] = result.networks[name].checksum
    run.write()
    with pytest.raises(ToolError, match="not evaluated yet; run: face-cascade evaluate --run"):
        report.report(run.folder)
    run.stages["evaluate"] = record.Stage(inputs, "done")
    run.write()
    out = report.report(run.folder)
    assert out == run.folder / "report.html" and "Model card" in out.read_text()
    run.stages["cascade"] = dataclasses.replace(run.stages["cascade"], checksum="another")
    run.write()
    with pytest.raises(ToolError, match="cascade was trained after it was evaluated"):
        report.report(run.folder)
    assert report.report(run.folder, evaluation=folder).exists()  # bare folders are read as they are
