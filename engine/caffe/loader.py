"""Batches of records, decoded ahead by threads, and kept decoded on the device where a data set fits.

    database -> one thread that reads and orders -> a pool that decodes -> a queue of batches -> the device

On the GPU batches travel as bytes, from pinned memory, on a stream of their own; what is the same for all pixels
is computed there.
"""

import concurrent.futures
import os
import queue
import threading
import time

import torch

from . import context, glog
from .errors import CaffeError

# Seconds batches were waited for, over all loaders: a step's time without data.
waited = 0.0


class Batch:
    """Images (N, H, W, C), uint8 or float32, with labels (N,); places: where they are still to be cut, or None."""

    def __init__(self, images, labels, places=None):
        self.images, self.labels, self.places = images, labels, places
        self.arrived = None

    def to_device(self, stream):
        """Begin to copy to the GPU on a stream."""
        with torch.cuda.stream(stream):
            self.images = self.images.to(context.device(), non_blocking=True)
            self.labels = self.labels.to(context.device(), non_blocking=True)
            self.arrived = stream.record_event()

    def wait(self):
        """Let the current stream wait for the copy."""
        if self.arrived is not None:
            current = torch.cuda.current_stream()
            current.wait_event(self.arrived)
            for tensor in (self.images, self.labels):
                tensor.record_stream(current)


def cut(images, places):
    """The parts of images (N, H, W, C) at places, all of one size, where the images are."""
    tops, lefts, (height, *_), (width, *_), mirrored = zip(*places)
    if (height, width) == tuple(images.shape[1:3]) and not any(mirrored):
        return images
    device = images.device
    rows = torch.tensor(tops, device=device)[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(len(places), width)
    columns = torch.where(torch.tensor(mirrored, device=device)[:, None], width - 1 - columns, columns)
    columns = columns + torch.tensor(lefts, device=device)[:, None]
    images_index = torch.arange(len(places), device=device)[:, None, None]
    return images[images_index, rows[:, :, None], columns[:, None, :]]


class DecodedCache:
    """The decoded records of one pass, in the order they are read, on the device."""

    def __init__(self, count):
        self.count, self.filled = count, 0
        self.images = self.labels = None

    def complete(self):
        return self.filled >= self.count

    def add(self, batch):
        """Add a batch's uncut images; the last one of a pass may begin the next."""
        if self.images is None:
            self.images = batch.images.new_empty((self.count, *batch.images.shape[1:]))
            self.labels = batch.labels.new_empty(self.count)
        taken = min(len(batch.labels), self.count - self.filled)
        self.images[self.filled : self.filled + taken] = batch.images[:taken]
        self.labels[self.filled : self.filled + taken] = batch.labels[:taken]
        self.filled += len(batch.labels)

    def batch(self, size, draws, transformer):
        """The next records, again and again."""
        numbers = (torch.arange(size) + self.filled) % self.count
        self.filled += size
        numbers = numbers.to(self.images.device)
        images = self.images[numbers]
        places = [transformer.place(draw, images.shape[1:]) for draw in draws]
        return Batch(images, self.labels[numbers], places)


class Loader:
    """An endless source of batches of a Database.

    size: records per batch; ahead: batches kept ready; skip: records to leave out at first
    rank, ranks, run: of every `ranks` runs of `run` records this reader takes the one numbered `rank`
    budget: bytes the decoded data set may take on the device; 0 keeps nothing
    """

    def __init__(self, database, transformer, size, ahead, skip=0, rank=0, ranks=1, run=1, budget=0):
        self.database, self.transformer, self.size = database, transformer, size
        self.order = {"skip": skip, "rank": rank, "ranks": ranks, "run": run}
        self.budget = budget
        self.queue = queue.Queue(max(ahead, 1))
        self.stopped = threading.Event()
        self.thread = None
        # Whole images are cached only where every pass reads the same ones in the same order.
        can_cache = budget and database.count % (ranks * run) == 0 and transformer.mean is None
        self.cache = DecodedCache(database.count // ranks) if can_cache else None

    def close(self):
        """Stop the threads and wait for them: one still at work in C++ when Python ends takes the process down."""
        self.stopped.set()
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join()

    def next(self):
        """The next Batch, cut. Raises what the reader raised."""
        if self.cache is not None and self.cache.complete():
            self.close()
            draws = [self.transformer.draw() for _ in range(self.size)]
            batch = self.cache.batch(self.size, draws, self.transformer)
        else:
            batch = self._take()
            batch.wait()
            if self.cache is not None and batch.places is None:
                self.cache = None
            elif self.cache is not None:
                self.cache.add(batch)
        if batch.places is not None:
            batch.images = cut(batch.images, batch.places)
        return batch

    def _take(self):
        global waited
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True, name="caffe data reader")
            self.thread.start()
        begin = time.perf_counter()
        while True:
            try:
                batch = self.queue.get(timeout=1)
                break
            except queue.Empty:
                if not self.thread.is_alive():
                    raise CaffeError(f"{self.database.path}: the thread that reads it has ended")
        waited += time.perf_counter() - begin
        if isinstance(batch, Exception):
            raise batch
        return batch

    # In the reader's thread -------------------------------------------------------------------------------

    def _put(self, item):
        while not self.stopped.is_set():
            try:
                return self.queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _run(self):
        try:
            stream = torch.cuda.Stream() if context.on_gpu() else None
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                records = self.database.records(**self.order)
                while not self.stopped.is_set():
                    batch = self._assemble([next(records) for _ in range(self.size)], pool)
                    if stream is not None:
                        batch.to_device(stream)
                    self._put(batch)
        except Exception as error:
            self._put(error)

    def _assemble(self, records, pool):
        """A batch of these records; uncut where it goes into the cache."""
        transformer = self.transformer
        # Crops and mirrors are sampled in the order of the records, whatever the threads do.
        draws = [transformer.draw() for _ in records]
        _, first = self.database.image(records[0], transformer.decode)
        place = transformer.place(draws[0], first.shape)
        whole = self._caches(first)
        sample = torch.from_numpy((first if whole else transformer.cut(first, place)).copy())
        images = torch.empty((self.size, *sample.shape), dtype=sample.dtype, pin_memory=context.on_gpu())
        array = images.numpy()
        places, labels = [None] * self.size, torch.empty(self.size)

        def work(index):
            datum, image = self.database.image(records[index], transformer.decode)
            places[index] = transformer.place(draws[index], image.shape)
            part = image if whole else transformer.cut(image, places[index])
            if part.shape != array.shape[1:]:
                raise CaffeError(
                    f"{self.database.path}: images of one batch differ in size: {part.shape[1::-1]} and "
                    f"{array.shape[2:0:-1]}; use crop_size"
                )
            array[index] = part
            labels[index] = datum.label

        list(pool.map(work, range(self.size)))
        return Batch(images, labels, places if whole else None)

    def _caches(self, image):
        """Whether images like this one are cached: all of them must fit, and be bytes."""
        if self.cache is None or self.cache.complete():
            return False
        total = self.cache.count * image.nbytes
        if total > self.budget or image.dtype != "uint8":
            glog.info(
                f"{self.database.path}: {total >> 20} MiB decoded, more than the budget; it is read again and again"
            )
            self.budget = 0
            return False
        return bool(self.budget)
