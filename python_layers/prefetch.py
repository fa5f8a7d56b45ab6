"""Worker processes that prepare faces in advance; BalancedData takes its mini-batches from them.

Processes are needed because Caffe's own program holds the interpreter lock of its embedded Python while it computes, so
that threads would never run. A worker is a new interpreter that gets requests through a pipe and writes pixels into
anonymous shared memory. However this process ends, the pipes close, the workers exit, and the memory is released.

A worker is this module, run as a program by Pool.
"""

import collections
import json
import mmap
import os
import struct
import subprocess
import sys
import weakref

import cv2
import lmdb
import numpy as np

from data_prep import start
from data_prep.geometry import PATCH_SIZE, framed, patch
from data_prep.plan.balance import SAMPLE
from data_prep.store.environment import key, open_lmdb

IMAGE = 3 * PATCH_SIZE * PATCH_SIZE  # bytes
_REQUEST = struct.Struct("<II")  # place of the first image, samples that follow
_REPLY = struct.Struct("<I")  # bytes of an error that follow; 0: done


class PrefetchError(RuntimeError):
    """A face could not be prepared; the message says which, and why."""

    def __init__(self, message):
        super().__init__(f"BalancedData: {message}")


class Pool:
    """Worker processes that crop the faces of an LMDB.

    path: LMDB of encoded faces; batch: images per request; workers: number of processes, None for as many as usual;
    ahead: number of requests that may be pending; frame: positions of the eyes in the images, as in geometry.framed
    pixels: the memory of all batches, (ahead + 1, batch, 3, 224, 224) uint8
    Raises PrefetchError when a worker cannot be started.
    """

    def __init__(self, path, batch, workers, ahead, frame=None):
        self.batch, self.slots = batch, ahead + 1
        workers = workers or usual_workers(batch)
        memory = os.memfd_create("faces")
        try:
            os.ftruncate(memory, self.slots * batch * IMAGE)
            self._map = mmap.mmap(memory, self.slots * batch * IMAGE)
            self._workers = [_start(path, batch, self.slots, memory, frame) for _ in range(workers)]
        finally:
            os.close(memory)
        self.pixels = np.frombuffer(self._map, np.uint8).reshape(self.slots, batch, 3, PATCH_SIZE, PATCH_SIZE)
        self._waiting = collections.deque()  # (slot, samples), in the order of the requests
        self._asked = 0
        self.close = weakref.finalize(self, _stop, self._workers)

    def __len__(self):
        """The number of pending requests."""
        return len(self._waiting)

    def ask(self, samples):
        """Request a batch: (batch,) of SAMPLE. Each worker prepares an equal part of it."""
        slot = self._asked % self.slots
        bounds = [len(samples) * index // len(self._workers) for index in range(len(self._workers) + 1)]
        for worker, first, end in zip(self._workers, bounds, bounds[1:]):
            try:  # if the worker has ended, `take` reports it
                worker.stdin.write(_REQUEST.pack(slot * self.batch + first, end - first))
                worker.stdin.write(samples[first:end].tobytes())
                worker.stdin.flush()
            except OSError:
                pass
        self._waiting.append((slot, samples))
        self._asked += 1

    def take(self):
        """The samples of the oldest request and their pixels (batch, 3, 224, 224) uint8, valid until the next `ask`.

        Raises PrefetchError.
        """
        slot, samples = self._waiting.popleft()
        errors = [error for error in map(_answer, self._workers) if error]
        if errors:
            raise PrefetchError(errors[0])
        return samples, self.pixels[slot]

    def forget(self):
        """Discard all pending requests."""
        while self._waiting:
            self.take()


def usual_workers(batch):
    """The number of workers for batches of so many images: one per core, 2 to 16, and no more than 1 for 16 images."""
    return max(2, min(len(os.sched_getaffinity(0)), 16, batch // 16))


def interpreter():
    """The path of a Python of this version. Under Caffe's own program sys.executable does not name one."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    beside = [os.path.join(prefix, "bin", version) for prefix in (sys.prefix, sys.exec_prefix)]
    embedded = getattr(sys, "argv", [""]) == [""]
    candidates = [*beside, sys.executable] if embedded else [sys.executable, *beside]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), version)


def _start(path, batch, slots, memory, frame):
    program = interpreter()
    command = start.command(program, "python_layers.prefetch", path, json.dumps(frame), batch, slots, memory)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[memory],
            # In a session of its own, so that Ctrl-C reaches Caffe, which takes its snapshot, but not the workers.
            start_new_session=True,
            env=dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
        )
    except OSError as error:
        raise PrefetchError(f"cannot start {program}: {error.strerror}")


def _answer(worker):
    """Wait for a worker to finish its oldest request; returns the message of an error, "" for none."""
    size = worker.stdout.read(_REPLY.size)
    if len(size) < _REPLY.size:
        return _gone(worker)
    (length,) = _REPLY.unpack(size)
    return worker.stdout.read(length).decode()


def _gone(worker):
    code = worker.wait()
    how = f"killed by signal {-code}" if code < 0 else f"exit {code}"
    return f"a worker process ended ({how}); see its messages above"


def _stop(workers):
    for worker in workers:
        try:
            worker.stdin.close()
        except OSError:  # it ended already
            pass
    for worker in workers:
        worker.stdout.close()
        worker.wait()


def encoded(value):
    """The field `data` of a serialised Datum with an encoded image. Caffe's classes would import all of Caffe."""
    place = 0
    while place < len(value):
        tag, place = _varint(value, place)
        number, place = _varint(value, place)
        if tag == 0x22:  # field 4, bytes
            return value[place : place + number]
        if tag & 7 == 2:
            place += number
    raise ValueError("no image in it")


def _varint(value, place):
    number, shift = 0, 0
    while True:
        byte = value[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place


def cut(transaction, samples, frame, pixels):
    """Fill pixels (n, 3, 224, 224) uint8 with the patches of samples (n,) of SAMPLE.

    frame: as in geometry.framed. Raises ValueError that names the record.
    """
    for sample, target in zip(samples, pixels):
        number, _, dx, dy, mirror = sample.item()
        value = transaction.get(key(number))
        if value is None:
            raise ValueError(f"record {number:08d} is missing")
        try:
            image = cv2.imdecode(np.frombuffer(encoded(value), np.uint8), cv2.IMREAD_COLOR)
        except (ValueError, IndexError, cv2.error):
            image = None
        if image is None:
            raise ValueError(f"record {number:08d} is not a readable image")
        cv2.split(patch(framed(image, frame), dx, dy, mirror), list(target))


def serve(path, frame, batch, slots, memory):
    """The main loop of a worker: reads requests from standard input and writes replies, until the pipe closes."""
    cv2.setNumThreads(1)
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    try:
        shared = mmap.mmap(memory, slots * batch * IMAGE)
        pixels = np.frombuffer(shared, np.uint8).reshape(slots * batch, 3, PATCH_SIZE, PATCH_SIZE)
        environment, broken = open_lmdb(path), ""
    except (OSError, ValueError) as error:
        broken = str(error)
    while True:
        request = requests.read(_REQUEST.size)
        if len(request) < _REQUEST.size:
            return
        place, count = _REQUEST.unpack(request)
        samples = np.frombuffer(requests.read(count * SAMPLE.itemsize), SAMPLE)
        failure = broken
        if not broken:
            try:
                with environment.begin(buffers=True) as transaction:
                    cut(transaction, samples, frame, pixels[place : place + count])
            except (ValueError, lmdb.Error) as error:
                failure = f"{path}: {error}"
        try:
            replies.write(_REPLY.pack(len(failure.encode())) + failure.encode())
            replies.flush()
        except OSError:  # the training has ended
            return


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]), *map(int, sys.argv[3:6]))
