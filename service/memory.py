"""Gives memory that is free back to the system, where the C library keeps it."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache

_ROUND_SECONDS = 15.0


async def keep_trimmed(executor: Executor) -> None:
    """Trim now and then, for as long as the task lives; costs some milliseconds of a thread.

    Large images and batches of changing size leave holes in glibc's heaps, which it keeps.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_ROUND_SECONDS)
        await loop.run_in_executor(executor, trim)


def trim() -> None:
    """Give back what is free; does nothing where the C library is not glibc."""
    function = _malloc_trim()
    if function is not None:
        function(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int
    found: Callable[[int], int] = function
    return found
