"""How the threads of libraries share the cores with those that draw pictures."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# Rounds of its waiting loop, some microseconds. libgomp's own default, 300,000, takes milliseconds.
_SPIN_COUNT = "1000"
_AUTOGROUP = Path("/proc/self/autogroup")


def share_cores_with_pictures() -> None:
    """Let threads that decode and draw have a core as soon as a thread of the network waits.

    For processes that do both at once, in bulk. Where the network has the cores to itself, in
    single images above all, waking up costs more than waiting; so this is not for the service.
    For the start of a process: libgomp reads it when torch is imported. What the environment
    says already holds. Other OpenMP libraries take no notice.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def keep_opencv_to_its_thread() -> None:
    """Let OpenCV work in the thread that calls it, for processes with a pool of such threads.

    Its own pool, with a thread for each core, gains nothing on crops of cells, and on many cores
    its threads spend more time in waiting than in work.
    """
    import cv2  # noqa: PLC0415 (late, so that --help answers at once)

    cv2.setNumThreads(1)


def let_others_first(niceness: int) -> None:
    """Let other processes of the machine have the cores, and the discs, before this thread.

    niceness: 0 to 19; threads that this one starts have it, too, and so have processes. One that is
    higher already stays. The kernel derives the order at the discs from it.

    Linux may share the cores out by sessions first, whatever the niceness of what runs in them
    (sched(7), "autogroup"). A session that our parent began is ours, and gets the same niceness; in
    another one, a terminal's, there may be more than us.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(before, niceness))
    if os.getsid(0) == os.getppid():
        with suppress(OSError):  # there is no such thing everywhere
            _AUTOGROUP.write_text(str(niceness))


def usable_cores() -> int:
    """Cores that this process may use, which a container or taskset may have bounded."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
