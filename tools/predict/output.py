"""What a call of prediction leaves in its folder: predictions.jsonl, predictions.csv, and an overlay per photo.

The folder's predictions are those of one call: what an earlier call left there, by its own predictions.jsonl, is
removed first, and nothing else is. Lines are written whole, as they come.
"""

import csv
import hashlib
import io
import json
import os
import pathlib
import sys

from tqdm import tqdm

from data_prep.pictures import write_image
from tools.errors import ToolError
from tools.predict import cards
from tools.predict.photos import shown

LINES, TABLE = "predictions.jsonl", "predictions.csv"
COLUMNS = ["photo", "face", "attribute", "answer", "probability", "x1", "y1", "x2", "y2"]
COLUMNS += ["score", "rotation", "warning"]
# Bytes of an overlay's name without number and ending: file systems take 255 in all, and writing it whole adds some.
NAME_BYTES = 180


class WholeLines:
    """A new file of lines of which each is written whole or not at all, as soon as it is there. Raises OSError."""

    def __init__(self, path):
        self.file = open(path, "wb", buffering=0)

    def write(self, line):
        end, data = self.file.tell(), line.encode()
        try:
            while data:
                data = data[self.file.write(data) :]
        except OSError:
            self.file.truncate(end)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def write(results, out, total, style=None, unit="photo"):
    """Write a stream of Prediction to folder `out` as they come: number of faces, number of problems.

    total: how many they are, None if unknown; style: of the overlays, see cards.Style, None: none is written; unit:
    "photo", or "frame", which may have no face. Problems are one line each on
    standard error. Raises ToolError where the folder cannot be written; what was written
    until then stays.
    """
    try:
        return _write(results, out, total, style, unit)
    except OSError as error:
        kept = f"; the answers until then are in {LINES}" if os.path.exists(out / LINES) else ""
        raise ToolError(f"{shown(out)}: cannot be written ({error.strerror or error}){kept}")


def _write(results, out, total, style, unit):
    out.mkdir(parents=True, exist_ok=True)
    remove_earlier(out)
    # What is left there is somebody else's: it is not written over.
    taken = {path.stem.casefold() for path in out.iterdir() if path.suffix.lower() == ".png"}
    faces = problems = 0
    with WholeLines(out / LINES) as lines, WholeLines(out / TABLE) as table:
        table.write(rows([COLUMNS]))
        for result in tqdm(results, total=total, unit=unit, disable=None):
            if result.photo.problem or (unit == "photo" and not result.faces):
                problem = result.photo.problem or "no face found"
                result = result._replace(photo=result.photo._replace(problem=problem))
                problems += 1
                tqdm.write(f"error: {shown(result.photo.name)}: {problem}", file=sys.stderr)
            overlay = file_name(result.photo.name, taken) if style and result.faces else None
            # The line comes first: what it names can be removed by the next call, whatever happens to this one.
            lines.write(json.dumps(record(result, overlay), allow_nan=False) + "\n")
            table.write(rows(csv_rows(result)))
            faces += len(result.faces)
            if overlay:
                picture = cards.overlay(result.view, result.shape, result.faces, result.aligned, result.shares, style)
                write_image(out / overlay, picture)
    return faces, problems


def remove_earlier(out):
    """Remove the overlays that an earlier predictions.jsonl in a folder names, and the file itself. Raises OSError."""
    try:
        with open(out / LINES, encoding="utf-8", errors="replace") as file:
            overlays = list(filter(None, map(overlay_of, file)))
    except FileNotFoundError:
        return
    for name in overlays:
        remove(out / name)
    for name in (TABLE, LINES):
        remove(out / name)


def overlay_of(line):
    """The overlay that a line of predictions.jsonl names, None where it names no picture in its own folder."""
    try:
        name = json.loads(line)["overlay"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    plain = isinstance(name, str) and name.endswith(".png") and os.path.basename(name) == name and "\0" not in name
    return name if plain else None


def remove(path):
    """Remove a file or a link; a folder of that name is somebody else's, and stays."""
    if path.is_symlink() or path.is_file():
        path.unlink()


def record(result, overlay=None):
    """A line of predictions.jsonl as a dict. overlay: name of the picture, in the same folder."""
    photo = result.photo
    if photo.problem:
        return {"photo": photo.name, "problem": photo.problem}
    found = {"photo": photo.name, "width": result.shape[1], "height": result.shape[0], "overlay": overlay}
    return {**found, "faces": [face.to_dict() for face in result.faces]}


def csv_rows(result):
    """Rows of predictions.csv, one per face and attribute."""
    for number, face in enumerate(result.faces, 1):
        for name, answer in face.attributes.items():
            region = answer.region or [""] * 4
            found = [face.score, face.rotation, face.warning]
            yield [result.photo.name, face.track or number, name, answer.answer, answer.probability, *region, *found]


def rows(values):
    """Rows as text of a CSV file."""
    text = io.StringIO()
    csv.writer(text).writerows(values)
    return text.getvalue()


def file_name(name, taken):
    """Name of the overlay for a photo, not among those taken, in capitals or not; it is entered there."""
    stem, _, moment = pathlib.PurePath(name).name.partition("#")
    stem = pathlib.PurePath(stem).stem + (f"_{moment}" if moment else "")
    stem = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in stem)
    if len(stem.encode()) > NAME_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        stem = stem.encode()[:NAME_BYTES].decode(errors="ignore") + f"_{digest}"
    found, number = stem, 2
    while found.casefold() in taken:
        found, number = f"{stem}_{number}", number + 1
    taken.add(found.casefold())
    return f"{found}.png"
