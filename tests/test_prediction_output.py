"""The files that a prediction writes to its folder, and its errors if it cannot write."""

import dataclasses
import errno
import json

import numpy as np
import pytest

from data_prep import pictures
from tools.errors import ToolError
from tools.predict import cards, output, photos
from tools.predict.predictor import Answer, Face, Prediction

STYLE = cards.Style(0.8, True, False)


def prediction(name, faces=1):
    """A Prediction of a photo with some faces."""
    answers = {"Male": Answer("present", 0.9, (1.0, 2.0, 3.0, 4.0)), "Young": Answer("uncertain", 0.5)}
    found = [Face((0.0, 0.0, 30.0, 30.0), 0.99, -3.0, answers, "blurred")] * faces
    image = np.full((40, 60, 3), 100, np.uint8)
    photo = photos.Photo(name, None, None)
    return Prediction(photo, image, image.shape, found, [image] * faces, [{"Male": np.array([0, 0, 1, 1])}] * faces)


def write(results, out, total, style=STYLE):
    return output.write(results, out, total, style)


def lines(folder):
    return [json.loads(line) for line in (folder / output.LINES).read_text().splitlines()]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_lines_and_table_have_the_expected_content(tmp_path, capsys):
    assert write([prediction("a.jpg"), prediction("b\n.jpg", 0)], tmp_path, 2) == (1, 1)
    face = {
        **{"box": [0.0, 0.0, 30.0, 30.0], "score": 0.99, "rotation": -3.0, "warning": "blurred"},
        "attributes": {
            "Male": {"answer": "present", "probability": 0.9, "region": [1.0, 2.0, 3.0, 4.0]},
            "Young": {"answer": "uncertain", "probability": 0.5},
        },
    }
    assert lines(tmp_path) == [
        {"photo": "a.jpg", "width": 60, "height": 40, "overlay": "a.png", "faces": [face]},
        {"photo": "b\n.jpg", "problem": "no face found"},
    ]
    assert (tmp_path / output.TABLE).read_text().splitlines() == [
        "photo,face,attribute,answer,probability,x1,y1,x2,y2,score,rotation,warning",
        "a.jpg,1,Male,present,0.9,1.0,2.0,3.0,4.0,0.99,-3.0,blurred",
        "a.jpg,1,Young,uncertain,0.5,,,,,0.99,-3.0,blurred",
    ]
    assert "error: b\\n.jpg: no face found\n" in capsys.readouterr().err


def test_predictions_of_two_calls_never_mix(tmp_path):
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "b.txt").write_bytes(b"mine")
    write([prediction("a.jpg"), prediction("b.jpg")], tmp_path, 2)
    assert names(tmp_path) == ["a.png", "b.png", "b.txt", "mine.png", "predictions.csv", "predictions.jsonl"]
    write([prediction("c.jpg")], tmp_path, 1)
    assert names(tmp_path) == ["b.txt", "c.png", "mine.png", "predictions.csv", "predictions.jsonl"]
    assert [line["photo"] for line in lines(tmp_path)] == ["c.jpg"]
    write([prediction("d.jpg")], tmp_path, 1, style=None)
    assert names(tmp_path) == ["b.txt", "mine.png", "predictions.csv", "predictions.jsonl"]


@pytest.mark.parametrize(
    "line",
    (
        '{"overlay": "../mine.png"}',
        '{"overlay": "inner/mine.png"}',
        '{"overlay": "/etc/mine.png"}',
        '{"overlay": "mine.txt"}',
        '{"overlay": ["mine.png"]}',
        '{"overlay": null}',
        '"overlay"',
        "[" * 100_000,
        "not JSON",
        '{"overlay": "a\\u0000.png"}',
    ),
    ids=range(10),
)
def test_only_pictures_of_the_same_folder_are_removed(tmp_path, line):
    out = tmp_path / "out"
    (out / "inner").mkdir(parents=True)
    kept = (tmp_path / "mine.png", out / "inner" / "mine.png", out / "mine.txt", out / "mine.png")
    for path in kept:
        path.write_bytes(b"mine")
    (out / output.LINES).write_text(line + "\n")
    write([], out, 0)
    assert all(path.read_bytes() == b"mine" for path in kept)


def test_files_of_other_programs_are_not_overwritten(tmp_path):
    (tmp_path / "A.png").write_bytes(b"mine")
    (tmp_path / "b.png").mkdir()
    (tmp_path / output.LINES).write_text('{"overlay": "b.png"}\n')
    write([prediction("a.jpg"), prediction("b.jpg")], tmp_path, 2)
    assert (tmp_path / "A.png").read_bytes() == b"mine" and (tmp_path / "b.png").is_dir()
    assert [line["overlay"] for line in lines(tmp_path)] == ["a_2.png", "b_2.png"]


def test_overlays_of_equal_and_long_names_do_not_collide(tmp_path):
    stem = "x" * 251
    given = [
        f"{stem}.jpg",
        f"other/{stem}.jpg",
        "a/b.jpg",
        "a/B.png",
        "c/b.jpg",
        "é" * 125 + ".jpg",
        "clip.mp4#1.00",
        ".jpg",
    ]
    write(map(prediction, given), tmp_path, len(given))
    overlays = [line["overlay"] for line in lines(tmp_path)]
    assert len({name.casefold() for name in overlays}) == len(given)
    assert overlays[2:5] == ["b.png", "B_2.png", "b_3.png"] and overlays[6] == "clip_1.00.png"
    assert all((tmp_path / name).stat().st_size for name in overlays)
    assert all(len(name.encode()) < 200 for name in overlays)
    assert [name for name in names(tmp_path) if not name.startswith("predictions")] == sorted(overlays)


def test_names_of_overlays_have_no_control_characters():
    assert output.file_name("a\x1b[31m\n*.jpg", set()) == "a_[31m__.png"


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_ends_the_call_and_keeps_what_is_written(tmp_path, monkeypatch):
    written = []

    def write_image(path, picture):
        if written:
            full()
        written.append(path)
        pictures.write_image(path, picture)

    monkeypatch.setattr(output, "write_image", write_image)
    with pytest.raises(ToolError, match=r"cannot be written \(No space left on device\); the answers until then"):
        write(map(prediction, ("a.jpg", "b.jpg", "c.jpg")), tmp_path, 3)
    assert [line["photo"] for line in lines(tmp_path)] == ["a.jpg", "b.jpg"]
    assert names(tmp_path) == ["a.png", "predictions.csv", "predictions.jsonl"]


def test_a_folder_that_cannot_be_created_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match=r"file/out: cannot be written \(Not a directory\)$"):
        write([], tmp_path / "file" / "out", 0)


def test_no_partial_line_is_left_on_a_full_disk(tmp_path):
    class Disk:
        """A file on a disk with room for eight more bytes."""

        def __init__(self, file):
            self.file, self.tell, self.truncate = file, file.tell, file.truncate

        def write(self, data):
            return self.file.write(data[:8]) if self.file.tell() < 16 else full()

    whole = output.WholeLines(tmp_path / "lines")
    whole.write("0123456\n")
    with whole:
        file, whole.file = whole.file, Disk(whole.file)
        with pytest.raises(OSError, match="No space left"):
            whole.write("a line of more than eight bytes\n")
        whole.file = file
    assert (tmp_path / "lines").read_text() == "0123456\n"


def test_predictions_hold_no_nan(tmp_path):
    broken = prediction("a.jpg")
    broken.faces[0] = dataclasses.replace(broken.faces[0], score=float("nan"))
    with pytest.raises(ValueError):
        write([broken], tmp_path, 1)
    assert (tmp_path / output.LINES).read_text() == ""
