"""Work on many images in several threads."""

import concurrent.futures
import os

import cv2

AHEAD = 512  # items of which the results may be in memory at once


def in_order(function, items):
    """Yield the results of `function` in the order of `items` (a sequence), from a thread for each core.

    Threads suffice, because OpenCV releases Python's lock, and images need not be copied between processes.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads here already use all cores
    try:
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for start in range(0, len(items), AHEAD):
                yield from pool.map(function, items[start : start + AHEAD])
    finally:
        cv2.setNumThreads(threads)
