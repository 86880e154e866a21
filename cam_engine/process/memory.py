"""How the C library's allocator treats large blocks; does nothing where it is not glibc."""

from __future__ import annotations

import ctypes
from functools import cache

# Parameters of mallopt(3).
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8

_LARGE = 2**30


def reuse_large_blocks() -> None:
    """Keep freed activations for the next pass instead of giving them back after each layer.

    By default glibc maps blocks of megabytes anew each time, and the kernel clears every page of
    them: a tenth of a pass. One heap for all threads, since those of single threads stay small.
    For the start of a process, before its threads; `trim` gives back what is free.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (
            (_ARENA_MAX, 1),
            (_MMAP_THRESHOLD, _LARGE),
            (_TRIM_THRESHOLD, _LARGE),
        ):
            mallopt(parameter, value)


def trim() -> None:
    """Give back to the system what is free; takes milliseconds."""
    malloc_trim = getattr(_c_library(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


@cache
def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # no such handle on Windows
        return None
