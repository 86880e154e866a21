"""What glibc's allocator keeps and gives back, as the kernel counts it in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from cam_engine.process.memory import reuse_large_blocks, trim

MIB = 2**20
BLOCK = 64 * MIB

# Prints resident bytes: before, with a block that is written to, after it is freed, after `trim`.
# Small blocks stay: without them a block at the heap's end would be given back in any case.
_BLOCKS = f"""
import ctypes, json, os, sys
from pathlib import Path
from cam_engine.process.memory import reuse_large_blocks, trim
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = library.memset.argtypes = None
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
if sys.argv[1] == "reuse":
    reuse_large_blocks()
resident()
seen = [resident()]
block = library.malloc(ctypes.c_size_t({BLOCK}))
library.memset(ctypes.c_void_p(block), 1, ctypes.c_size_t({BLOCK}))
seen.append(resident())
library.free(ctypes.c_void_p(block))
seen.append(resident())
trim()
seen.append(resident())
print(json.dumps([size - seen[0] for size in seen]))
"""

# Prints whether a thread's small block lies in the heap of the process.
_THREADS = """
import ctypes, re, sys, threading
from pathlib import Path
from cam_engine.process.memory import reuse_large_blocks
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "reuse":
    reuse_large_blocks()
found = []
thread = threading.Thread(target=lambda: found.append(library.malloc(ctypes.c_size_t(5000))))
thread.start()
thread.join()
line, = (line for line in Path("/proc/self/maps").read_text().splitlines() if "[heap]" in line)
first, last = (int(end, 16) for end in line.split()[0].split("-"))
print(first <= found[0] < last)
"""

glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other allocators have no such settings"
)


def said(code: str, how: str) -> str:
    own = ("MALLOC_", "GLIBC_TUNABLES")  # settings of the allocator by the environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    ended = subprocess.run(
        [sys.executable, "-c", code, how],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@glibc_only
def test_a_freed_block_is_kept_for_the_next_until_it_is_trimmed() -> None:
    _, held, freed, trimmed = json.loads(said(_BLOCKS, "reuse"))
    assert held > 0.9 * BLOCK
    assert freed > 0.9 * BLOCK
    assert trimmed < 0.1 * BLOCK


@glibc_only
def test_by_default_it_would_be_given_back() -> None:
    """Else the test above would say nothing."""
    _, held, freed, _ = json.loads(said(_BLOCKS, "default"))
    assert held > 0.9 * BLOCK
    assert freed < 0.1 * BLOCK


@glibc_only
@pytest.mark.parametrize(("how", "shared"), [("reuse", "True"), ("default", "False")])
def test_threads_share_one_heap(how: str, shared: str) -> None:
    assert said(_THREADS, how).strip() == shared


def test_where_there_is_no_such_allocator_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from cam_engine.process import memory

    for library in (None, object()):
        monkeypatch.setattr(memory, "_c_library", lambda library=library: library)
        reuse_large_blocks()
        trim()


def test_what_is_there_for_good_is_not_walked_over_again_and_what_comes_later_is() -> None:
    code = (
        "import gc, json, time, weakref\n"
        "import torch, torchvision\n"
        "from cam_engine.process.memory import settle\n"
        "def seconds():\n"
        "    start = time.perf_counter(); gc.collect(); return time.perf_counter() - start\n"
        "gc.collect()\n"
        "before = min(seconds() for _ in range(3))\n"
        "settle()\n"
        "after = min(seconds() for _ in range(3))\n"
        "class Loop: pass\n"
        "loop = Loop(); loop.itself = loop; seen = weakref.ref(loop); del loop\n"
        "gc.collect()\n"
        "print(json.dumps([before, after, seen() is None]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    before, after, is_collected = json.loads(done.stdout)
    assert after < before / 5
    assert is_collected
