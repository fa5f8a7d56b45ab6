"""LMDBs of Caffe's Datum messages: written in order, in parallel, and taken up again where a killed build stopped."""

import collections
import concurrent.futures
import itertools

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from tqdm import tqdm

ENCODINGS = ("jpg", "png", "raw")
JPEG_QUALITY = 95  # OpenCV's own choice, and so convert_imageset's
# Records in one transaction: what a kill can cost, and where a build taken up again goes on.
COMMIT = 256
# Images that one task of a worker thread holds.
TASK = 16


def image_datum(image, encoding, label=None):
    """A serialised Datum of an image (height, width, 3): encoded, or raw in Caffe's channel order."""
    datum = caffe_pb2.Datum()
    if encoding == "raw":
        datum.height, datum.width, datum.channels = image.shape
        datum.data = image.transpose(2, 0, 1).tobytes()
    else:
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if encoding == "jpg" else []
        datum.data = cv2.imencode(f".{encoding}", image, quality)[1].tobytes()
        datum.encoded = True
    if label is not None:
        datum.label = label
    return datum.SerializeToString()


def encoded_datum(data):
    """A serialised Datum of already encoded bytes."""
    return caffe_pb2.Datum(data=data, encoded=True).SerializeToString()


def label_datum(labels):
    """A serialised Datum of an image's labels (A,), 0 or 1, one a channel."""
    data = np.asarray(labels, dtype=np.uint8).tobytes()
    return caffe_pb2.Datum(channels=len(labels), height=1, width=1, data=data).SerializeToString()


def key(number):
    """The key of a record: Caffe reads in key order, so numbers are zero-padded."""
    return f"{number:08d}".encode()


def open_lmdb(path, **options):
    """An LMDB for reading. Raises OSError when there is none, or a damaged one."""
    try:
        return lmdb.open(str(path), readonly=True, lock=False, subdir=True, **options)
    except lmdb.Error as error:
        raise OSError(f"{path}: no readable LMDB ({error})")


def count(path):
    """Number of records of an LMDB; 0 where there is none yet."""
    if not (path / "data.mdb").exists():
        return 0
    try:
        with open_lmdb(path) as environment:
            return environment.stat()["entries"]
    except OSError:  # killed while it was made
        return 0


def datums(path, start=0):
    """The (key, Datum) of an LMDB in key order. Raises OSError."""
    with open_lmdb(path) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        if cursor.set_range(key(start)):
            for name, value in cursor:
                yield name, caffe_pb2.Datum.FromString(value)


def decoded(datum):
    """The image of a Datum, uint8 (height, width, 3) B G R, or None where it does not decode."""
    data = np.frombuffer(datum.data, dtype=np.uint8)
    if datum.encoded:
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return data.reshape(datum.channels, datum.height, datum.width).transpose(1, 2, 0)


def read_labels(path):
    """All labels of a labels LMDB, (N, A) bool. Raises OSError."""
    return np.array([np.frombuffer(datum.data, dtype=np.uint8) for _, datum in datums(path)]) == 1


def write_lmdb(path, values, total, title):
    """Append serialised records to an LMDB, made if need be, under zero-padded numbers; progress bar.

    values: iterable of the records that it does not hold yet; total: how many there are in the end
    Raises OSError on a full disk.
    """
    try:
        # A map grows by doubling: its size is a bound of the address space, not of the disk.
        size = 1 << 28
        data = path / "data.mdb"
        while data.exists() and data.stat().st_size > size:
            size *= 2
        with lmdb.open(str(path), map_size=size, meminit=True) as environment:
            done = environment.stat()["entries"]
            bar = tqdm(values, initial=done, total=total, desc=title, unit="image", disable=None, smoothing=0.05)
            records = enumerate(bar, done)
            while chunk := list(itertools.islice(records, COMMIT)):
                while not write_chunk(environment, chunk):
                    environment.set_mapsize(2 * environment.info()["map_size"])
                del chunk  # not two of them at a time
                # Map anew: pages of the file, seen once, would stay mapped and grow with it.
                environment.set_mapsize(environment.info()["map_size"])
    except lmdb.Error as error:
        raise OSError(f"{path}: {error}")


def write_chunk(environment, chunk):
    """Write (number, value) pairs in one transaction; False when the map is full."""
    try:
        with environment.begin(write=True) as transaction:
            for number, value in chunk:
                transaction.put(key(number), value, append=True)
    except lmdb.MapFullError:
        return False
    return True


def in_order(function, items, workers):
    """Results of `function` in the order of `items` (a sequence), by worker threads, few held at a time.

    Threads, because OpenCV leaves them free to run side by side, and no image needs to be sent anywhere.
    """
    cv2.setNumThreads(1)  # the threads here keep all cores busy already

    def run(start):
        return [function(item) for item in items[start : start + TASK]]

    pool = concurrent.futures.ThreadPoolExecutor(workers)
    starts = iter(range(0, len(items), TASK))
    try:
        # Enough tasks to keep the workers busy while a transaction is committed.
        waiting = collections.deque(pool.submit(run, start) for start in itertools.islice(starts, 8 * workers))
        while waiting:
            yield from waiting.popleft().result()
            for start in itertools.islice(starts, 1):
                waiting.append(pool.submit(run, start))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
