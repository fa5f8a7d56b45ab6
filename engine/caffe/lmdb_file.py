"""Checks that an LMDB file is complete and consistent, before LMDB maps it.

LMDB maps its file into memory and trusts it: a file that was cut short ends the process with SIGBUS, damaged pages with
SIGSEGV. So the pages that a reader would follow are checked first, in the layout of LMDB 0.9 (lmdb.h, mdb.c): two meta
pages, of which the one with the larger transaction number is valid, then a tree of branch and leaf pages. Values larger
than half a page have pages of their own, which are not read here; only their presence in the file is checked.

data_prep/store/lmdb_file.py is a link to this file: the engine is a package by itself, and data_prep also runs with
BVLC Caffe.
"""

import os
import struct

import numpy as np

_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, end of the node offsets, start of the nodes
# Magic number, version, address, map size; then page size or padding, flags, depth, branch, leaf and overflow pages,
# entries, root, once for the free list and once for the records; last page, transaction.
_META = struct.Struct("<IIQQ" + 2 * "IHHQQQQQ" + "QQ")
_MAGIC, _VERSION, _NO_PAGE = 0xBEEFC0DE, 1, 2**64 - 1
_BRANCH, _LEAF, _META_PAGE = 1, 2, 8
_LARGE = 1  # node flag: the value is on pages of its own


class Damage(ValueError):
    """An LMDB file is damaged; the message says how."""


def check_file(path):
    """Check the meta, branch and leaf pages of an LMDB file. Raises ValueError with the fault, OSError."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        meta, page_size = _meta(file.fileno())
        *_, flags, depth, _, _, _, entries, root, last, _ = meta
        if (last + 1) * page_size > size:
            raise Damage(f"cut short: {size:,} of {(last + 1) * page_size:,} bytes are there")
        if flags:
            raise Damage(f"its flags {flags} are not those of a Caffe database")
        if depth == 0 and root == _NO_PAGE and entries == 0:
            return
        if not 1 <= depth <= 32:  # LMDB's own limit
            raise Damage(f"its tree of pages has depth {depth}")
        pages = np.array([root], dtype=np.uint64)
        seen = 0
        for level in range(depth):
            seen += len(pages)
            if seen > last:
                raise Damage("its tree of pages has a loop")
            kind = _LEAF if level == depth - 1 else _BRANCH
            counts, below = zip(*(_nodes(file.fileno(), int(page), page_size, last, kind) for page in pages))
            pages = np.concatenate(below)
        if sum(counts) != entries:
            raise Damage(f"{sum(counts):,} of {entries:,} records are there")


def _meta(file):
    """The fields of the newer meta page, and the page size."""
    first = os.pread(file, _PAGE.size + _META.size, 0)
    metas = [_fields(first, "first")]
    page_size = metas[0][4]
    if page_size not in (1 << power for power in range(9, 17)):
        raise Damage(f"it has a page size of {page_size}")
    metas.append(_fields(os.pread(file, _PAGE.size + _META.size, page_size), "second"))
    if metas[1][4] != page_size:
        raise Damage("its first two pages name different page sizes")
    return max(metas, key=lambda meta: meta[-1]), page_size


def _fields(data, which):
    if len(data) < _PAGE.size + _META.size:
        raise Damage(f"cut short in its {which} page")
    flags = _PAGE.unpack_from(data)[2]
    meta = _META.unpack_from(data, _PAGE.size)
    if not flags & _META_PAGE or meta[0] != _MAGIC or meta[1] != _VERSION:
        raise Damage(f"the {which} page is not that of an LMDB")
    return meta


def _nodes(file, page, page_size, last, kind):
    """Check a branch or leaf page. Returns its number of nodes and the child pages, which a leaf does not have."""
    if not 2 <= page <= last:
        raise Damage(f"page {page} is outside of the file")
    data = os.pread(file, page_size, page * page_size)
    number, _, flags, lower, upper = _PAGE.unpack_from(data)
    if number != page or flags & 0xFF != kind or not _PAGE.size <= lower <= upper <= page_size or lower % 2:
        raise Damage(f"page {page} is damaged")
    nodes = np.frombuffer(data, "<u2", (lower - _PAGE.size) // 2, _PAGE.size).astype(np.int64)
    if not len(nodes) or nodes.min() < upper or nodes.max() + 8 > page_size or (nodes % 2).any():
        raise Damage(f"page {page} is damaged")
    words = np.frombuffer(data, "<u2").astype(np.int64)
    low, high, node_flags, key_size = (words[nodes // 2 + word] for word in range(4))
    if kind == _BRANCH:
        if (nodes + 8 + key_size).max() > page_size:
            raise Damage(f"page {page} is damaged")
        return len(nodes), (low | high << 16 | node_flags << 32).astype(np.uint64)
    large = node_flags == _LARGE
    length = low | high << 16
    end = nodes + 8 + key_size + np.where(large, 8, length)
    if (node_flags[~large] != 0).any() or end.max() > page_size:
        raise Damage(f"page {page} is damaged")
    starts = (nodes + 8 + key_size)[large]
    places = starts[:, np.newaxis] + np.arange(8)
    first = np.frombuffer(data, np.uint8)[places].copy().view("<u8").ravel()
    count = (length[large] + _PAGE.size + page_size - 1) // page_size
    # The numbers are compared one by one, so that no sum overflows.
    if (first < 2).any() or (first > last).any() or (first.astype(np.int64) + count > last + 1).any():
        raise Damage(f"page {page} names a value outside of the file")
    return len(nodes), np.empty(0, np.uint64)
