"""What a process keeps in memory: the C library's large blocks, and Python's objects for good."""

from __future__ import annotations

import ctypes
import gc
from functools import cache

# Parameters of mallopt(3).
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8

_LARGE = 2**30


def reuse_large_blocks(most_bytes: int = _LARGE) -> None:
    """Keep freed activations for the next pass instead of giving them back after each layer.

    By default glibc maps blocks of megabytes anew each time, and gives back what is free at the
    heap's end from 128 KiB on; the kernel then clears every page once more: a tenth of a pass, 40%
    of a crop's decoding. One heap for all threads, since those of single threads stay small.
    For the start of a process, before its threads; `trim` gives back what is free. Does nothing
    where the library is not glibc.

    most_bytes: of blocks that are kept, and of what stays free at the heap's end.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (
            (_ARENA_MAX, 1),
            (_MMAP_THRESHOLD, most_bytes),
            (_TRIM_THRESHOLD, most_bytes),
        ):
            mallopt(parameter, value)


def trim() -> None:
    """Give back to the system what is free; takes milliseconds."""
    malloc_trim = getattr(_c_library(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def settle() -> None:
    """Take all objects that there are now out of later garbage collections.

    For a process that has imported what it needs and loaded nothing yet. Beside torch a full
    collection walks over half a million objects that stay for good, and all threads wait for it:
    45 ms, every few hundred requests. What is made later is collected as before.
    """
    gc.collect()
    gc.freeze()


@cache
def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # no such handle on Windows
        return None
