"""Mutations in separate processes: a crash, a hang or a fault of a reader there does not affect the others.

A worker is forked for a batch of mutations of one reader, with limits on its memory and on the time of each mutation.
It reports each one before it begins, so that the parent knows which one killed it; the next worker continues after it.
"""

import collections
import dataclasses
import faulthandler
import gc
import hashlib
import json
import os
import pathlib
import pickle
import random
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback

import mutations
import reading

SECONDS = 30.0  # that one mutation may take; a reader takes milliseconds, but the machine may be busy
BATCH = 50
LONGEST = 1100  # characters of a message, 100 of them for what a command puts before it
# What a mutation can come to. The first three are in order, all others are findings.
REFUSED, UNCHANGED, ACCEPTED = "refused", "taken, same content", "taken, other content"
FINE = (REFUSED, UNCHANGED, ACCEPTED)
CRASH, HANG, TRACEBACK, MESSAGE, NONSENSE = "crash", "hang", "traceback", "message", "nonsense"


@dataclasses.dataclass
class Outcome:
    """What became of mutation `index` of a reader; kind: one of the above; words: the message, or what failed."""

    reader: str
    index: int
    kind: str
    file: str = ""
    words: str = ""


def mutation(reader, folder, seed, index):
    """The file that a mutation damages, below the reader's folder, and the damaged bytes."""
    rng = random.Random(f"{seed} {reader.name} {index}")
    files = reader.matching(folder)
    file = rng.choice(files)
    others = [(folder / other).read_bytes() for other in files]
    return file, reader.mutate(rng, (folder / file).read_bytes(), others)


def message_fault(reader, error, place):
    """What is wrong with the message of a promised exception, or None."""
    words = str(error)
    if len(words.splitlines()) != 1:
        return "a message of several lines, or of none"
    if not all(character.isprintable() for character in words):
        return "control characters in the message"
    if len(words) > LONGEST:
        return f"a message of {len(words)} characters"
    if reader.names and not any(name in words for name in (place.name, place.stem, place.parent.name)):
        return "a message that does not name the file"
    return None


def attempt(reader, path):
    """Call a reader: (kind, words, digest of what it returned)."""
    try:
        value = reader.read(path)
    except (*reader.promised, reading.Refused) as error:
        fault = message_fault(reader, error, path)
        return (MESSAGE, f"{fault}: {error!r}", None) if fault else (REFUSED, str(error), None)
    except reading.Nonsense as error:
        return NONSENSE, str(error), None
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
        where = f"{pathlib.Path(last.filename).name}:{last.lineno}"
        return TRACEBACK, f"{type(error).__name__} at {where}: {str(error)[:300]}", None
    return ACCEPTED, "", hashlib.sha256(pickle.dumps(value)).hexdigest()


def prepare(reader, originals, scratch, name):
    """A copy of the reader's folder in a new folder, which becomes the current one."""
    copy = pathlib.Path(scratch) / name
    leave = shutil.ignore_patterns(*reader.leave)
    shutil.copytree(originals / reader.folder, copy, copy_function=os.link, ignore=leave)
    os.chdir(copy)
    return copy


def work(reader, originals, seed, indices, scratch, say):
    """Try mutations one after the other; say: function that is given an Outcome, or the index of one that begins."""
    limit = address_space() + reader.memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    whole = {}
    for index in indices:
        file, data = mutation(reader, originals / reader.folder, seed, index)
        if file not in whole:
            kind, words, whole[file] = attempt(reader, prepare(reader, originals, scratch, f"whole {index}") / file)
            if whole[file] is None and kind != REFUSED:
                raise SystemExit(f"{reader.name}: {file}: the original is not read: {kind}: {words}")
        say(index)
        copy = prepare(reader, originals, scratch, f"copy {index}")
        (copy / file).unlink()
        (copy / file).write_bytes(data)
        printed = os.lseek(2, 0, os.SEEK_END)
        kind, words, digest = attempt(reader, copy / file)
        sys.stderr.flush()
        if reader.silent and kind in FINE and os.lseek(2, 0, os.SEEK_END) > printed:
            kind, words = MESSAGE, "printed on standard error: " + os.pread(2, 300, printed).decode(errors="replace")
        if kind == ACCEPTED:
            words = mutations.difference((originals / reader.folder / file).read_bytes(), data)
            kind = UNCHANGED if digest == whole[file] else ACCEPTED
        say(Outcome(reader.name, index, kind, str(file), words[:500]))
        os.chdir(scratch)
        gc.collect()  # of databases that an exception's traceback still holds
        shutil.rmtree(copy, ignore_errors=True)


def address_space():
    """Bytes of memory that this process has mapped."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


class Worker:
    """A forked process that tries a batch of mutations; `lines` gets what it says."""

    def __init__(self, reader, originals, seed, indices):
        self.reader, self.indices, self.current = reader, collections.deque(indices), None
        self.scratch = tempfile.mkdtemp(prefix="fuzz-")
        self.since, self.buffer = time.monotonic(), b""
        self.pipe, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._run(originals, seed, writer)
        os.close(writer)

    def _run(self, originals, seed, writer):
        """In the child; never returns."""
        status = 1
        try:
            os.setpgid(0, 0)
            errors = os.open(f"{self.scratch}/stderr", os.O_RDWR | os.O_CREAT)
            os.dup2(errors, 2)
            sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
            faulthandler.enable(2)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

            def say(what):
                record = what if isinstance(what, int) else dataclasses.asdict(what)
                os.write(writer, json.dumps(record).encode() + b"\n")

            work(self.reader, originals, seed, list(self.indices), self.scratch, say)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def hear(self):
        """Outcomes that the worker has reported, and whether it still runs."""
        data = os.read(self.pipe, 1 << 16)
        self.buffer += data
        self.since = time.monotonic()
        *lines, self.buffer = self.buffer.split(b"\n")
        outcomes = []
        for record in map(json.loads, lines):
            if isinstance(record, int):
                self.current = record
            else:
                outcomes.append(Outcome(**record))
                self.indices.remove(record["index"])
                self.current = None
        return outcomes, bool(data)

    def close(self, kind=None):
        """End the worker; the Outcome of its current mutation, if it did not end by itself."""
        if kind:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pipe)
        said = pathlib.Path(self.scratch, "stderr").read_text(errors="replace")
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not self.indices:
            return None
        if self.current is None and not kind:
            raise RuntimeError(f"the fuzzer failed in {self.reader.name}: {said[-2000:]}")
        ended = f"signal {signal.Signals(-code).name}" if (code := os.waitstatus_to_exitcode(status)) < 0 else f"{code}"
        index = self.indices[0] if self.current is None else self.current
        self.indices.remove(index)
        words = f"over {SECONDS:g} s" if kind else f"{ended}: {said[-1500:]}"
        return Outcome(self.reader.name, index, kind or CRASH, "", words)


def run(batches, originals, seed, jobs, heard):
    """Try batches, list of (reader, indices), `jobs` at a time; heard: function that is given each Outcome."""
    waiting, selector = collections.deque(batches), selectors.DefaultSelector()
    while waiting or selector.get_map():
        while waiting and len(selector.get_map()) < jobs:
            worker = Worker(waiting[0][0], originals, seed, waiting[0][1])
            waiting.popleft()
            selector.register(worker.pipe, selectors.EVENT_READ, worker)
        ready = {key.data for key, _ in selector.select(1.0)}
        for worker in [key.data for key in selector.get_map().values()]:
            outcomes, alive = worker.hear() if worker in ready else ([], True)
            for outcome in outcomes:
                heard(outcome)
            hangs = worker not in ready and time.monotonic() - worker.since > SECONDS
            if hangs or not alive:
                selector.unregister(worker.pipe)
                last = worker.close(HANG if hangs else None)
                if last is not None:
                    heard(last)
                if worker.indices:
                    waiting.append((worker.reader, list(worker.indices)))
