"""Kill a training (SIGKILL) at every point of a snapshot's writing, and go on: snapshot_kills.py FOLDER

Every point is a training in a child process that kills itself there: in every write of a file, halfway, and before and
after it is synced and renamed. Prints one line per point: what was done there, and the iteration of the newest whole
snapshot.
Exits non-zero where a snapshot that stood before is gone, where a cut one is taken for whole, or where the resumed
training does not end with the weights of an undisturbed one.
"""

import builtins
import os
import pathlib
import shutil
import signal
import sys

import caffe.solver  # before forking, so that not every child loads PyTorch
from caffe import hdf5, snapshot, wire

SNAPSHOT_TO_KILL_IN = 4


class Killer:
    """Counts the points of snapshot writing that pass, and kills this process at one of them."""

    def __init__(self, point, report):
        self.point, self.passed, self.report, self.active = point, 0, report, False

    def __call__(self, what):
        if not self.active:
            return False
        self.passed += 1
        if self.passed == self.point:
            os.write(self.report, what.encode())
        return self.passed == self.point

    def at(self, what):
        if self(what):
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner, name):
        """Let a function of a module be a point before and a point after."""
        original = getattr(owner, name)

        def wrapped(*arguments, **keywords):
            self.at(f"before {name}")
            result = original(*arguments, **keywords)
            self.at(f"after {name}")
            return result

        setattr(owner, name, wrapped)


def halving_open(killer):
    """The function open, whose files write only half of what they are given where the killer strikes."""

    def opened(path, mode="r"):
        file = builtins.open(path, mode)
        if "w" in mode:
            write = file.write

            class File:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

                def write(self, data):
                    if killer("half of a write"):
                        write(bytes(data)[: len(data) // 2])
                        file.flush()
                        os.kill(os.getpid(), signal.SIGKILL)
                    write(data)

            return File()
        return file

    return opened


def train(state, killer=None):
    """Train from the start or from a state to the end; the killer is active in one snapshot."""
    solver = caffe.get_solver("solver.prototxt")
    if killer is not None:
        wire.open = hdf5.open = halving_open(killer)
        killer.wrap(os, "fsync")
        killer.wrap(os, "replace")
        solver.progress = lambda iteration, loss: setattr(killer, "active", iteration == SNAPSHOT_TO_KILL_IN)
    solver.solve(state)


def in_child(work):
    """Run work in a child process; how it ended, as of os.waitpid."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def final(folder):
    (path,) = folder.glob("tiny_iter_6.caffemodel*")
    return path.read_bytes()


def main():
    # What a killed process has written the system keeps: only a power cut needs the wait for the disk.
    os.fsync = lambda descriptor: None
    start = pathlib.Path.cwd()
    folder = pathlib.Path(sys.argv[1]).resolve()
    whole = start / "undisturbed"
    shutil.copytree(folder, whole)
    os.chdir(whole)
    assert in_child(lambda: train(None)) == 0
    undisturbed = dict(snapshot.states("tiny"))
    assert sorted(undisturbed) == [2, 4, 6]
    point = 0
    while True:
        point += 1
        place = start / f"{point}"
        shutil.copytree(folder, place)
        os.chdir(place)
        read, report = os.pipe()
        killer = Killer(point, report)
        status = in_child(lambda killer=killer: train(None, killer))
        os.close(report)
        with os.fdopen(read) as pipe:
            what = pipe.read()
        if not what:
            assert status == 0, status
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (what, status)
        passed_over = []
        newest = snapshot.newest("tiny", passed_over)
        assert newest is not None and not passed_over, (what, passed_over)
        iteration = snapshot.read(newest).iteration
        assert iteration in (2, SNAPSHOT_TO_KILL_IN), (what, newest)
        assert in_child(lambda newest=newest: train(newest)) == 0
        assert final(place) == final(whole), what
        assert not [path for path in place.iterdir() if "partial" in path.name], list(place.iterdir())
        print(what, iteration, sep="\t", flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
