"""The files that a prediction writes to its folder, and its errors if it cannot write."""

import csv
import errno
import fcntl
import os
import re

import pytest
from command_line import REPOSITORY
from mutations import full_disk
from predicted_photos import STYLE, frame, lines, photo

from data_prep import pictures
from tools.errors import ToolError
from tools.predict import output
from tools.predict.photo import COLUMNS


def write(photos, out, style=STYLE):
    with output.Predictions(out, style) as written:
        for predicted in photos:
            written.add(predicted)
    return written


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_every_photo_is_a_line_with_all_fields_and_every_answer_a_row(tmp_path, capsys):
    clip = [frame(0.1, (5, 0.9)), frame(0.2)]
    written = write([photo("a.jpg"), photo("b\n.jpg", 0), *clip], tmp_path, None)
    assert (written.faces, written.photos, written.problems, dict(written.frames)) == (2, 1, 1, {"clip": 2})
    found = lines(tmp_path)
    answers = {
        "Male": {"answer": "present", "probability": 0.9, "region": [1.0, 2.0, 3.0, 4.0]},
        "Young": {"answer": "uncertain", "probability": 0.5, "region": None},
    }
    found_face = {"box": [0.0, 0.0, 30.0, 30.0], "score": 0.99, "rotation": 0.0, "warning": "blurred", "track": None}
    assert found[0] == {
        **{"version": 2, "width": 60, "height": 40, "overlay": None, "photo": "a.jpg", "time": None, "problem": None},
        "faces": [{**found_face, "attributes": answers}],
    }
    assert [(line["photo"], line["time"], line["problem"], len(line["faces"])) for line in found[1:]] == [
        ("b\n.jpg", None, "no face found", 0),
        ("clip", 0.1, None, 1),
        ("clip", 0.2, None, 0),
    ]
    assert "-0.0" not in (tmp_path / output.LINES).read_text()
    with open(tmp_path / output.TABLE, newline="") as file:
        assert list(csv.reader(file)) == [
            list(COLUMNS),
            ["a.jpg", "", "1", "Male", "present", "0.9", "1.0", "2.0", "3.0", "4.0", "0.99", "0.0", "blurred", ""],
            ["a.jpg", "", "1", "Young", "uncertain", "0.5", "", "", "", "", "0.99", "0.0", "blurred", ""],
            ["b\n.jpg", *[""] * 12, "no face found"],
            ["clip", "0.1", "1", "Male", "present", "0.9", "5.0", "0.0", "55.0", "50.0", "0.99", "0.0", "", ""],
            ["clip", "0.2", *[""] * 12],
        ]
    assert "error: b\\n.jpg: no face found\n" in capsys.readouterr().err
    assert write(clip[1:], tmp_path, None).problems == 1
    assert capsys.readouterr().err == "error: clip: no face found in any frame\n"


def test_the_documented_fields_are_those_that_are_written():
    text = (REPOSITORY / "docs/prediction.md").read_text()
    table = text.partition("## Fields of the answers")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    documented += re.findall(r"`(\w+)`", table.partition("are the region: ")[2].partition(".")[0])
    line = photo("a.jpg").to_dict()
    inner = line["faces"][0]
    assert documented == [*line, *inner, *inner["attributes"]["Male"], *COLUMNS]
    assert f"version {line['version']}" in table


def test_texts_that_spreadsheets_take_for_formulas_are_escaped(tmp_path):
    given = ['=HYPERLINK("http://x")', "+1", "-1", "@a", "\tb", "c=1"]
    write([photo(name, 0, problem="-") for name in given], tmp_path)
    with open(tmp_path / output.TABLE, newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == [*("'" + name for name in given[:-1]), "c=1"]
    assert {row[-1] for row in rows} == {"'-"}
    assert [line["photo"] for line in lines(tmp_path)] == given


def test_predictions_of_two_calls_never_mix(tmp_path):
    """What an earlier call left goes, also if it was killed, and nothing else, whatever its lines name."""
    mine = ["b.txt", "mine.png", ".mine.partial", "xanswers.png", "predictions.jsonl.old"]
    (tmp_path / output.TABLE).write_text("of another program")
    with pytest.raises(
        ToolError, match="has predictions.csv, but no predictions.jsonl of an earlier call; give another"
    ):
        write([photo("a.jpg")], tmp_path)
    (tmp_path / output.LINES).write_text('{"overlay": "mine.png"}\nnot JSON')
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "inner.answers.png").mkdir()
    write([photo("a.jpg"), photo("b.jpg")], tmp_path)
    kept = [*mine, "inner.answers.png", output.LINES, output.TABLE]
    assert names(tmp_path) == sorted([*kept, "a.answers.png", "b.answers.png"])
    for left in (".a.answers.png.123.partial", ".predictions.csv.7.partial"):  # of a call that was killed
        (tmp_path / left).write_bytes(b"half")
    write([photo("c.jpg")], tmp_path)
    assert names(tmp_path) == sorted([*kept, "c.answers.png"])
    assert all((tmp_path / name).read_bytes() == b"mine" for name in mine)
    assert [line["photo"] for line in lines(tmp_path)] == ["c.jpg"]


def test_a_second_call_into_the_same_folder_is_refused(tmp_path):
    write([photo("a.jpg")], tmp_path)
    with open(tmp_path / ".lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        with pytest.raises(ToolError, match="works on it; wait for it, stop it, or use another folder"):
            write([photo("b.jpg")], tmp_path)
    assert [line["photo"] for line in lines(tmp_path)] == ["a.jpg"]


def test_names_of_overlays_do_not_collide(tmp_path):
    stem = "x" * 251
    given = ["a.jpg", "A.png", f"{stem}.jpg", f"other/{stem}.jpg", "a/b.jpg", "c/b.png", "é" * 125 + ".jpg", ".jpg"]
    write([*map(photo, given), photo("clip.mp4", time=1.0), photo("a\x1b[31m\n*.jpg")], tmp_path)
    overlays = [line["overlay"] for line in lines(tmp_path)]
    assert len({name.casefold() for name in overlays}) == len(given) + 2
    assert [overlays[place].removesuffix(".answers.png") for place in (0, 1, 4, 5, 8, 9)] == [
        *("a", "A_2", "b", "b_2", "clip_1.00", "a_[31m__")
    ]
    assert all((tmp_path / name).stat().st_size and len(name.encode()) < 200 for name in overlays)


def test_a_full_disk_ends_the_call_and_keeps_and_names_what_is_written(tmp_path, monkeypatch):
    written = []

    def write_image(path, picture, **options):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        pictures.write_image(path, picture, **options)

    monkeypatch.setattr(output, "write_image", write_image)
    words = r"cannot be written \(No space left on device\); the answers until then are in .*predictions.jsonl$"
    with pytest.raises(ToolError, match=words):
        write(map(photo, ("a.jpg", "b.jpg", "c.jpg")), tmp_path / "out")
    assert [line["photo"] for line in lines(tmp_path / "out")] == ["a.jpg", "b.jpg"]
    assert names(tmp_path / "out") == ["a.answers.png", "predictions.csv", "predictions.jsonl"]
    (tmp_path / "file").write_text("")  # before its first answer a call names no file of an earlier one
    with pytest.raises(ToolError, match=r"file/out: cannot be written \((Not a directory|File exists)\)$"):
        write([], tmp_path / "file" / "out")


def test_no_partial_line_is_left_on_a_full_disk(tmp_path):
    with full_disk(16), open(tmp_path / "lines", "wb", buffering=0) as file:
        output.write_whole(file, "0123456\n")
        with pytest.raises(OSError, match="File too large"):
            output.write_whole(file, "a line of more than eight bytes\n")
    assert (tmp_path / "lines").read_text() == "0123456\n"
