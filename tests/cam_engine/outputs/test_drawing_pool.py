"""Drawing in other processes: the same files, and what becomes of one that dies at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import OutputNotWritable
from cam_engine.outputs.drawing_pool import DrawingPool, PooledWriter, drawing_processes
from cam_engine.outputs.figure_writer import FigureWriter
from cam_engine.outputs.files import make_folder
from processes.eventually import eventually
from tests.cam_engine.outputs.figures import figure
from tests.cam_engine.outputs.test_drawing_process import tree
from tests.run_facts import run_facts

FACTS = run_facts()


@pytest.fixture
def pool() -> Iterator[DrawingPool]:
    with closing(DrawingPool(2)) as made:
        yield made


def writer(pool: DrawingPool, folder: Path) -> PooledWriter:
    make_folder(folder)
    return PooledWriter(pool, FACTS, ConfinedFolder(folder))


def test_files_and_rows_are_those_of_this_process(pool: DrawingPool, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    make_folder(plain)
    figures = [figure(f"x{number}", number) for number in range(8)]
    rows = [FigureWriter(FACTS, ConfinedFolder(plain)).write(one) for one in figures]
    pooled = writer(pool, tmp_path / "pooled")
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pooled.write, figures)) == rows
    assert tree(tmp_path / "pooled") == tree(plain) != {}
    assert 1 <= len(pool.pids) <= 2


def test_an_image_whose_process_dies_is_drawn_by_another(pool: DrawingPool, tmp_path: Path) -> None:
    pooled = writer(pool, tmp_path / "out")
    pooled.write(figure())
    (first,) = pool.pids
    os.kill(first, signal.SIGSTOP)  # it takes the image and does nothing
    thread = threading.Timer(0.5, os.kill, (first, signal.SIGKILL))
    thread.start()
    row = pooled.write(figure("y"))
    thread.join()
    assert row.name == "y"
    assert first not in pool.pids
    assert (tmp_path / "out/improved_gradcam_y.png").is_file()


def test_one_that_kills_every_process_fails_alone(pool: DrawingPool, tmp_path: Path) -> None:
    pooled = writer(pool, tmp_path / "out")
    ended = threading.Event()

    def kill_all() -> None:
        while not ended.wait(0.01):
            for pid in pool.pids:
                with_pid(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(RuntimeError, match=r"3 processes ended while they drew it|not start"):
            pooled.write(figure())
    finally:
        ended.set()
        killer.join()
    assert pooled.write(figure("y")).name == "y"


def with_pid(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def test_an_error_is_that_of_this_process_and_costs_no_process(
    pool: DrawingPool, tmp_path: Path
) -> None:
    pooled = writer(pool, tmp_path / "out")
    pooled.write(figure())
    before = pool.pids
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/components").write_text("in the way")
    blocked = PooledWriter(pool, FACTS, ConfinedFolder(tmp_path / "blocked"))
    for _ in range(3):
        with pytest.raises(OutputNotWritable, match="components"):
            blocked.write(figure())
    assert pool.pids == before


def test_none_outlives_the_process_that_made_it(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from cam_engine.outputs.drawing_pool import DrawingPool\n"
        "pool = DrawingPool(2)\n"
        "pool.start()\n"
        "print(*pool.pids, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2
    eventually(f"{pids} are gone", lambda: not any(map(is_there, pids)), seconds=60)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize(
    ("device", "cores", "processes"),
    [("cpu", 64, 0), ("cuda", 2, 0), ("cuda", 3, 0), ("cuda", 4, 3), ("cuda", 16, 15)],
)
def test_processes_draw_beside_a_gpu_that_has_cores(
    device: str, cores: int, processes: int
) -> None:
    assert drawing_processes(device, cores) == processes
    assert drawing_processes("cuda", 500) == 32
