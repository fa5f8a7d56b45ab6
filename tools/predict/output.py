"""What a call of prediction leaves in its folder: predictions.jsonl, predictions.csv, and an overlay per photo.

The folder's predictions are those of one call, which locks it: what an earlier call left there is removed first, by its
names and nothing else; without predictions.jsonl there was no such call. Lines are written whole, as they come.
"""

import collections
import contextlib
import csv
import io
import json
import pathlib
import re
import sys

from tqdm import tqdm

from data_prep.errors import one_line
from data_prep.pictures import write_image
from tools.errors import ToolError
from tools.locking import locked
from tools.predict import cards
from tools.predict.inputs import OVERLAY
from tools.predict.photo import COLUMNS

LINES, TABLE = "predictions.jsonl", "predictions.csv"
# Bytes of an overlay's name without number and ending: file systems take 255 in all, and writing it whole adds some.
NAME_BYTES = 180
# What an earlier call leaves in a folder, also if it was killed: no other is at work, because the folder is locked.
EARLIER = re.compile(rf"{LINES}|{TABLE}|.*{re.escape(OVERLAY)}|\..+\.\d+\.partial")
# Texts that begin like this are formulas for a spreadsheet, which may run programs, unless an apostrophe comes first.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_whole(file, text):
    """Write text at the end of an unbuffered file, all of it or nothing. Raises OSError."""
    end, data = file.tell(), text.encode()
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        file.truncate(end)
        raise


class Predictions:
    """The files of one call, a context manager: `add` writes a Photo to them.

    out: the folder; style: of the overlays, see cards.Style, None: none is written. Problems are one line each on
    standard error: a photo without a face is one, and a video without a face in any frame. Raises ToolError where the
    folder cannot be written or another call works on it; what was written until then stays.
    Attributes: photos, faces, problems, their numbers; frames: dict of the name of a video to the number of its frames
    """

    def __init__(self, out, style=None):
        self.out, self.style = pathlib.Path(out), style
        self.photos = self.faces = self.problems = 0
        self.frames, self.seen, self.taken = collections.Counter(), set(), set()

    def __enter__(self):
        with contextlib.ExitStack() as stack, self._writing():
            stack.enter_context(locked(self.out, wait=0))
            earlier = [path for path in self.out.iterdir() if EARLIER.fullmatch(path.name) and not path.is_dir()]
            if earlier and not (self.out / LINES).exists() and any(path.suffix != ".partial" for path in earlier):
                name = earlier[0].name
                raise ToolError(f"{self.out}: has {name}, but no {LINES} of an earlier call; give another --out")
            for path in earlier:
                path.unlink()
            self.lines, self.table = (
                stack.enter_context(open(self.out / name, "wb", buffering=0)) for name in (LINES, TABLE)
            )
            write_whole(self.table, csv_text([COLUMNS]))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind, *_):
        self.stack.close()
        for name in [] if kind else sorted(self.frames.keys() - self.seen):
            self._complain(name, "no face found in any frame")

    def add_all(self, photos, total, unit):
        """Write the answers for Photos as they come, with a progress bar. total: how many they are, 0 if unknown."""
        for photo in tqdm(photos, total=total or None, unit=unit, disable=None):
            self.add(photo)

    def add(self, photo):
        """Write the answers for a Photo."""
        if photo.time is not None:
            self.frames[photo.name] += 1
        elif not photo.problem and not photo.faces:
            photo.problem = "no face found"
        if photo.problem:
            self._complain(photo.name, photo.problem)
        elif photo.time is None:
            self.photos += 1
        if photo.faces:
            self.seen.add(photo.name)
        overlay = file_name(photo, self.taken) if self.style and photo.faces else None
        with self._writing():
            # The line comes first: what it names can be removed by the next call, whatever happens to this one.
            write_whole(self.lines, json.dumps(photo.to_dict(overlay), allow_nan=False) + "\n")
            write_whole(self.table, csv_text(photo.rows()))
            self.faces += len(photo.faces)
            if overlay:
                write_image(self.out / overlay, cards.overlay(photo, self.style), among_many=True)

    def _complain(self, name, problem):
        self.problems += 1
        tqdm.write(f"error: {one_line(name)}: {problem}", file=sys.stderr)

    def kept(self):
        """Where the answers until now are, in words; empty while there are none."""
        return f"; the answers until then are in {self.out / LINES}" if self.photos or self.frames else ""

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            raise ToolError(f"{self.out}: cannot be written ({error.strerror or error}){self.kept()}")


def csv_text(rows):
    """Rows as text of a CSV file that spreadsheets take for no formula."""
    text = io.StringIO()
    csv.writer(text).writerows(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row] for row in rows
    )
    return text.getvalue()


def file_name(photo, taken):
    """Name of the overlay for a photo, not among those taken, in capitals or not; it is entered there."""
    stem = pathlib.PurePath(pathlib.PurePath(photo.name).name).stem
    stem += "" if photo.time is None else f"_{photo.time:.2f}"
    stem = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in stem)
    stem = stem.encode()[:NAME_BYTES].decode(errors="ignore")
    found, number = stem, 2
    while found.casefold() in taken:
        found, number = f"{stem}_{number}", number + 1
    taken.add(found.casefold())
    return found + OVERLAY
