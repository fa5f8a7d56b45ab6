"""Damage the input files of every reader at random, and verify that it rejects them in one line or accepts them.

    .venv/bin/python tests/robustness/fuzz.py --mutations 5000 --seed 1
    .venv/bin/python tests/robustness/fuzz.py --only "run.json" --mutations 500 --list
    .venv/bin/python tests/robustness/fuzz.py --only "run.json" --seed 1 --again 17 --keep build/fuzz

A reader promises certain exceptions, each with a message of one line that names the file. Anything else is a finding:
another exception, a message of several lines or with control characters, a crash, a hang, memory above a limit,
impossible values, output on standard error. Damaged inputs that are accepted are counted; --list shows them. Findings
are written to --keep; reader, seed and number identify a mutation, and --again repeats it. The exit status is 1 if
there are findings.
"""

import argparse
import collections
import contextlib
import gc
import io
import math
import os
import pathlib
import sys
import tempfile

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # workers are forked, and threads do not survive a fork
os.environ.setdefault("GLOG_minloglevel", "3")

import cv2  # noqa: E402
import originals  # noqa: E402
import readers_of_nets  # noqa: E402
import readers_of_records  # noqa: E402
import torch  # noqa: E402
import workers  # noqa: E402

READERS = [*readers_of_nets.READERS, *readers_of_records.READERS]


def batches(readers, mutations, start=0):
    """Mutations spread over readers by their shares: list of (reader, indices)."""
    total = sum(reader.share for reader in readers)
    made = []
    for reader in readers:
        count = math.ceil(mutations * reader.share / total)
        made += [
            (reader, range(start + first, start + min(first + workers.BATCH, count)))
            for first in range(0, count, workers.BATCH)
        ]
    return made


def table(outcomes):
    """Lines: counts per reader."""
    counts = collections.defaultdict(collections.Counter)
    for outcome in outcomes:
        counts[outcome.reader][outcome.kind if outcome.kind in workers.FINE else "findings"] += 1
    titles = (*workers.FINE, "findings")
    yield f"{'reader':30s}" + "".join(f"{title:>22s}" for title in titles)
    for name, found in [*counts.items(), ("together", sum(counts.values(), collections.Counter()))]:
        yield f"{name:30s}" + "".join(f"{found[title]:22d}" for title in titles)


def keep(outcomes, folder, source, seed):
    """Write the damaged files of findings."""
    named = {reader.name: reader for reader in READERS}
    for outcome in outcomes:
        reader = named[outcome.reader]
        file, data = workers.mutation(reader, source / reader.folder, seed, outcome.index)
        place = folder / f"{outcome.reader} {seed} {outcome.index}"
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(data)
        (place / "finding.txt").write_text(f"{outcome.kind}: {outcome.words}\n", errors="backslashreplace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--mutations",
        type=int,
        default=1000,
        metavar="N",
        help="The number of mutations, over all readers (default: 1000).",
    )
    add("--seed", type=int, default=0, help="The seed of the mutations (default: 0).")
    add(
        "--jobs",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="The number of parallel processes (default: one per core).",
    )
    add(
        "--only",
        action="append",
        choices=[reader.name for reader in READERS],
        help="The reader to test; may be repeated (default: all).",
    )
    add("--again", type=int, metavar="INDEX", help="Repeat one mutation of the reader given with --only.")
    add("--list", action="store_true", help="Also list damaged inputs that were accepted.")
    add(
        "--keep",
        type=pathlib.Path,
        metavar="FOLDER",
        help="The folder for the damaged files of findings (default: none).",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    readers = [reader for reader in READERS if not given.only or reader.name in given.only]
    listed = set(workers.FINE) if given.again is not None else {workers.ACCEPTED} if given.list else set()
    outcomes, findings = [], []

    def heard(outcome):
        outcomes.append(outcome)
        if outcome.kind not in workers.FINE:
            findings.append(outcome)
        if outcome.kind in listed or outcome.kind not in workers.FINE:
            where = f"{outcome.reader!r} {outcome.file} --seed {given.seed} --again {outcome.index}"
            print(f"{outcome.kind}: {where}: {outcome.words!r}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "originals"
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            originals.make(source)
        gc.collect()
        gc.freeze()  # so that garbage collection in the workers takes no time
        todo = batches(readers, given.mutations) if given.again is None else [(readers[0], [given.again])]
        workers.run(todo, source, given.seed, given.jobs, heard)
        if given.keep:
            keep(outcomes if given.again is not None else findings, given.keep, source, given.seed)
    print("\n".join(table(outcomes)))
    print(f"{len(outcomes):,} mutations, seed {given.seed}: {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
