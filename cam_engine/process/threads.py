"""How the threads of libraries share the cores with those that draw pictures."""

from __future__ import annotations

import os

# Rounds of its waiting loop, some microseconds. libgomp's own default, 300,000, takes milliseconds.
_SPIN_COUNT = "1000"


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
