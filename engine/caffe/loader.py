"""Batches of records, decoded in advance by threads; a decoded data set that fits is kept on the device.

    database -> a thread that reads records in order -> a pool that decodes -> a queue of batches -> the device

Batches are copied to a GPU from pinned memory, on a separate stream, and as bytes, which are a quarter of the size of
floats. Mean values and scale are therefore applied on the device, by the Data layer.
"""

import concurrent.futures
import os
import queue
import threading

import torch

from . import context, glog
from .errors import CaffeError


class Batch:
    """A batch: images (N, H, W, C), uint8 or float32, and labels (N,), float32.

    windows: a crop window per image if the images are still to be cropped (see Transformer.window), otherwise None
    """

    def __init__(self, images, labels, windows=None):
        self.images, self.labels, self.windows = images, labels, windows
        self.arrived = None

    def to_device(self, stream):
        """Start to copy the batch to the GPU on a stream."""
        with torch.cuda.stream(stream):
            self.images = self.images.to(context.device(), non_blocking=True)
            self.labels = self.labels.to(context.device(), non_blocking=True)
            self.arrived = stream.record_event()

    def wait(self):
        """Make the current stream wait for the copy."""
        if self.arrived is not None:
            current = torch.cuda.current_stream()
            current.wait_event(self.arrived)
            for tensor in (self.images, self.labels):
                tensor.record_stream(current)


def crop_images(images, windows):
    """Crop and mirror images (N, H, W, C) at windows of one size, on the device where the images are."""
    tops, lefts, (height, *_), (width, *_), mirrored = zip(*windows)
    if (height, width) == tuple(images.shape[1:3]) and not any(mirrored):
        return images
    device = images.device
    rows = torch.tensor(tops, device=device)[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(len(windows), width)
    columns = torch.where(torch.tensor(mirrored, device=device)[:, None], width - 1 - columns, columns)
    columns = columns + torch.tensor(lefts, device=device)[:, None]
    images_index = torch.arange(len(windows), device=device)[:, None, None]
    return images[images_index, rows[:, :, None], columns[:, None, :]]


class DecodedCache:
    """The decoded records of one pass over a database, in the order of reading, on the device.

    count: number of records of a pass; filled: number of records added, and then read, so far
    """

    def __init__(self, count):
        self.count, self.filled = count, 0
        self.images = self.labels = None

    def complete(self):
        """Whether it contains all records of a pass."""
        return self.filled >= self.count

    def add(self, batch):
        """Add the uncropped images of a batch. Those after the end of the pass are already in the cache."""
        if self.images is None:
            self.images = batch.images.new_empty((self.count, *batch.images.shape[1:]))
            self.labels = batch.labels.new_empty(self.count)
        taken = min(len(batch.labels), self.count - self.filled)
        self.images[self.filled : self.filled + taken] = batch.images[:taken]
        self.labels[self.filled : self.filled + taken] = batch.labels[:taken]
        self.filled += len(batch.labels)

    def batch(self, size, samples, transformer):
        """The Batch of the next `size` records, pass after pass; samples: one of Transformer.sample per record."""
        numbers = (torch.arange(size) + self.filled) % self.count
        self.filled += size
        numbers = numbers.to(self.images.device)
        images = self.images[numbers]
        windows = [transformer.window(sample, images.shape[1:]) for sample in samples]
        return Batch(images, self.labels[numbers], windows)


class Loader:
    """An endless source of batches of a Database.

    size: records per batch; ahead: batches decoded in advance; skip: records to skip once, at the start
    rank, ranks, block: the records are divided into blocks of `block` records, and of every `ranks` blocks this loader
        reads number `rank`
    budget: the most bytes of the decoded data set to keep on the device, 0 for none; image: the first one, decoded
    """

    def __init__(self, database, transformer, size, ahead, image, skip=0, rank=0, ranks=1, block=1, budget=0):
        self.database, self.transformer, self.size, self.shape = database, transformer, size, image.shape
        self.order = {"skip": skip, "rank": rank, "ranks": ranks, "block": block}
        self.queue = queue.Queue(max(ahead, 1))
        self.stopped = threading.Event()
        self.thread = None
        # Images are cached only if every pass reads the same records in the same order. A mean image makes them floats.
        count, self.cache = database.count // ranks, None
        if budget and database.count % (ranks * block) == 0 and transformer.mean is None and image.dtype == "uint8":
            if count * image.nbytes <= budget:
                self.cache = DecodedCache(count)
            else:
                glog.info(f"{database.path}: {count * image.nbytes >> 20} MiB decoded, which is not kept")
        self.reads_for_cache = self.cache is not None  # of the reading thread; `next` drops the cache

    def close(self):
        """Stop the threads, and have the main thread wait for them: those that run C++ code while Python exits can
        crash the process. The garbage collector may call this in one of these threads, which must not wait for itself.
        """
        self.stopped.set()
        if self.thread is not None and threading.current_thread() is threading.main_thread():
            self.thread.join()

    def next(self):
        """The next Batch, cropped. Raises the exception of the reading thread, if there was one."""
        if self.cache is not None and self.cache.complete():
            self.close()
            samples = [self.transformer.sample() for _ in range(self.size)]
            batch = self.cache.batch(self.size, samples, self.transformer)
        else:
            batch = self._take()
            batch.wait()
            if batch.windows is None:
                self.cache = None
            elif self.cache is not None:
                self.cache.add(batch)
        if batch.windows is not None:
            batch.images = crop_images(batch.images, batch.windows)
        return batch

    def _take(self):
        """The next batch of the queue. Raises CaffeError if the reading thread has ended."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True, name="caffe data reader")
            self.thread.start()
        while True:
            try:
                batch = self.queue.get(timeout=1)
                break
            except queue.Empty:
                if not self.thread.is_alive():
                    raise CaffeError(f"{self.database.path}: the thread that reads it has ended")
        if isinstance(batch, Exception):
            raise batch
        return batch

    # In the reading thread -------------------------------------------------------------------------------

    def _put(self, item):
        """Append to the queue, unless the loader is closed while the queue is full."""
        while not self.stopped.is_set():
            try:
                return self.queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _run(self):
        """Read and decode batches until the loader is closed; an exception becomes the last item of the queue."""
        try:
            stream = torch.cuda.Stream() if context.state.gpu else None
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
        """The Batch of these records; not cropped if it is to be cached. Raises CaffeError for images of two sizes."""
        # Crops and mirroring are sampled here, in the order of the records, and so do not depend on the threads.
        samples = [self.transformer.sample() for _ in records]
        if self.reads_for_cache:
            batch, other = self._fill(records, samples, False, pool)
            if other is None and batch.images.shape[1:] == self.shape:
                return batch
            glog.info(f"{self.database.path}: images of different sizes, which are not kept decoded")
            self.reads_for_cache = False
        batch, other = self._fill(records, samples, True, pool)
        if other is not None:
            raise CaffeError(
                f"{self.database.path}: images of one batch differ in height, width or channels: {tuple(other)} and "
                f"{tuple(batch.images.shape[1:])}; use crop_size, or force_color for the channels"
            )
        return batch

    def _fill(self, records, samples, cropped, pool):
        """A Batch of these records, and the shape of an image that does not fit into it because it differs, or None.

        samples: a Transformer.sample per record; cropped: whether to crop the images
        """
        transformer = self.transformer

        def read(index):
            datum, image = self.database.image(records[index], transformer.decode)
            window = transformer.window(samples[index], image.shape)
            return (transformer.crop(image, window) if cropped else image), window, datum.label

        first = torch.from_numpy(read(0)[0].copy())
        images = torch.empty((self.size, *first.shape), dtype=first.dtype, pin_memory=context.state.gpu)
        array, windows, labels = images.numpy(), [None] * self.size, torch.empty(self.size)

        def work(index):
            part, windows[index], labels[index] = read(index)
            if part.shape != array.shape[1:]:
                return part.shape
            array[index] = part
            return None

        others = [shape for shape in pool.map(work, range(self.size)) if shape is not None]
        return Batch(images, labels, None if cropped else windows), others[0] if others else None
