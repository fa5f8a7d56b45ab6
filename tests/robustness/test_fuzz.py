"""A short run of the fuzzer over every reader, and faults that the fuzzer must report."""

import os
import pathlib
import random
import subprocess
import sys
import time

import mutations
import pytest
import reading
import workers

FUZZ = pathlib.Path(__file__).with_name("fuzz.py")
MUTATIONS = 1000  # about 25 per reader


def test_every_reader_rejects_or_accepts_damaged_files():
    """In a separate process: workers are forked, which threads of other tests do not survive."""
    words = [sys.executable, str(FUZZ), "--mutations", str(MUTATIONS), "--seed", "0"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert done.stdout.endswith(": 0 findings\n")


def crash(path):
    os.abort()


def hang(path):
    time.sleep(3600)


def hoard(path):
    return bytes(1 << 40)


def several_lines(path):
    raise ValueError(f"{path}:\nline two")


def nameless(path):
    raise ValueError("damaged")


def other(path):
    raise KeyError(path)


def nonsense(path):
    reading.sane(False, "an impossible value")


FAULTS = {
    crash: workers.CRASH,
    hang: workers.HANG,
    hoard: workers.TRACEBACK,
    several_lines: workers.MESSAGE,
    nameless: workers.MESSAGE,
    other: workers.TRACEBACK,
    nonsense: workers.NONSENSE,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faults_are_reported_and_the_next_mutation_is_run(fault, tmp_path, monkeypatch):
    """Also in a subprocess, through this module's main."""
    done = subprocess.run([sys.executable, __file__, fault.__name__, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split("|")[:-1] == [FAULTS[fault]] * 2, done.stdout + done.stderr


def test_mutations_follow_from_their_seed():
    data, text = bytes(range(256)) * 40, b'{"a": [1, 2.5, "x", {"b": null}], "c": {"d": [true]}}'
    for mutate, original in ((mutations.of_bytes, data), (mutations.of_text, text), (mutations.of_json, text)):
        made = [mutate(random.Random(seed), original, [original]) for seed in range(60)]
        assert made == [mutate(random.Random(seed), original, [original]) for seed in range(60)]
        assert len(set(made)) > 40


def main(name, folder):
    """Two mutations with a reader that has a fault: prints the outcomes."""
    folder = pathlib.Path(folder)
    (folder / "originals/x").mkdir(parents=True)
    (folder / "originals/x/file").write_bytes(b"0123456789" * 20)
    fault = {known.__name__: known for known in FAULTS}[name]

    def read(path):
        return None if path.parent.name.startswith("whole") else fault(path)

    workers.SECONDS = 1.0 if name == "hang" else 60.0
    reader = reading.Reader(name, "x", ("file",), read, (ValueError,))
    workers.run([(reader, range(2))], folder / "originals", 0, 1, lambda outcome: print(outcome.kind, end="|"))


if __name__ == "__main__":
    main(*sys.argv[1:])
