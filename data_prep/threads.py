"""Work on many images in several threads."""

import collections
import concurrent.futures
import itertools

import cv2

TASK = 16  # items in one task of a thread


def in_order(function, items, workers):
    """Yield the results of `function` in the order of `items` (a sequence), from worker threads, few in memory at once.

    Threads suffice, because OpenCV releases Python's lock, and images need not be copied between processes.
    """

    def run(start):
        return [function(item) for item in items[start : start + TASK]]

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads here already use all cores
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
        cv2.setNumThreads(threads)
