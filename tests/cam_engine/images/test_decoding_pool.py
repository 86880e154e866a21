"""Decoding in other processes: the same pictures, and what becomes of images that are dear."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cam_engine.errors import CamError, ImageTooLarge, InvalidImage
from cam_engine.images.decoded import facts_from_json
from cam_engine.images.decoding import ImageLimits, decode, decode_image, read_image
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.options import DecodingOptions
from processes.eventually import eventually
from tests.hostile_images import encoded, hostile, png_of_wide_texts

SMALL = encoded("RGB", 16, "PNG")
GONE_SECONDS = 60.0


@pytest.fixture
def pool() -> Iterator[DecodingPool]:
    """Two processes with the usual deadline."""
    with closing(DecodingPool(2)) as made:
        yield made


def is_there(pid: int) -> bool:
    """Whether the process runs; one that waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def are_gone(pids: list[int]) -> bool:
    return eventually(
        f"{pids} are gone", lambda: not any(map(is_there, pids)), seconds=GONE_SECONDS
    )


@pytest.mark.parametrize("name", ["png of 4 million pixels", "webp of 4 million pixels"])
def test_pictures_are_those_of_this_process(pool: DecodingPool, name: str) -> None:
    np.testing.assert_array_equal(pool.decode(hostile(name)).pixels, decode_image(hostile(name)))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="page faults are Linux's to tell")
@pytest.mark.parametrize("side", [224, 1000])
def test_decoding_once_more_needs_no_new_memory(side: int) -> None:
    """What is given back after each image is cleared by the kernel for the next one."""
    pixels = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    with closing(DecodingPool(1)) as pool:
        for _ in range(10):
            pool.decode(file.getvalue())
        before = page_faults(pool.pids[0])
        for _ in range(20):
            pool.decode(file.getvalue())
        # The file in memory is written to anew: the pages of one picture.
        pages = -(-pixels.nbytes // os.sysconf("SC_PAGE_SIZE"))
        assert (page_faults(pool.pids[0]) - before) / 20 < pages + 20


def page_faults(pid: int) -> int:
    """Pages that the process was given so far (proc(5): minflt)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[7])


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (1500, 1100)])
def test_pictures_of_any_size(pool: DecodingPool, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    for _ in range(3):
        np.testing.assert_array_equal(pool.decode(buffer.getvalue()).pixels, pixels)


def test_what_was_done_and_how_to_do_it_travel_along(pool: DecodingPool) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    for options in (DecodingOptions(), DecodingOptions(background="black", depth_bits=12)):
        there = pool.decode(buffer.getvalue(), options=options)
        here = decode(buffer.getvalue(), options=options)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert there.facts == here.facts
        assert there.facts.alpha == options.background


def test_facts_of_another_process_are_not_believed() -> None:
    facts = asdict(decode(SMALL).facts)
    assert facts_from_json(facts) == decode(SMALL).facts
    for wrong in ({"format": "<script>"}, {"alpha": ["white"]}, {"scaling": None}, {"bits": "x"}):
        with pytest.raises((TypeError, ValueError)):
            facts_from_json({**facts, **wrong})
    assert facts_from_json({**facts, "pages": -5, "more": "<b>"}).pages == 0


@pytest.mark.parametrize("data", [b"", b"GIF89a", SMALL[:-30], hostile("tiff of doubles")])
def test_refusals_are_those_of_this_process(pool: DecodingPool, data: bytes) -> None:
    limits = ImageLimits(max_pixels=4_000_000)
    with pytest.raises(CamError) as here:
        decode_image(data, limits)
    with pytest.raises(CamError) as there:
        pool.decode(data, limits)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


def test_limits_are_the_callers(pool: DecodingPool, tmp_path: Path) -> None:
    (tmp_path / "cell.png").write_bytes(SMALL)
    with pytest.raises(ImageTooLarge, match=r"^cell\.png: 16 x 16 pixels are more than the 255"):
        read_image(tmp_path / "cell.png", ImageLimits(max_pixels=255), pool.decode)
    assert read_image(tmp_path / "cell.png", ImageLimits(), pool.decode).shape == (16, 16, 3)


def test_what_takes_too_long_is_ended_and_replaced() -> None:
    with closing(DecodingPool(1, seconds=0.05, clock_seconds=60)) as pool:
        pool.decode(SMALL)
        (first,) = pool.pids
        with pytest.raises(InvalidImage, match=r"decoding it took longer than 0\.05 s; save it"):
            pool.decode(hostile("deep png of 4 million pixels"))
        assert are_gone([first])
        assert pool.decode(SMALL).pixels.shape == (16, 16, 3)
        (second,) = pool.pids
        assert second != first


def test_the_clock_counts_as_well() -> None:
    """A process that gets no processor at all."""
    with closing(DecodingPool(1, clock_seconds=1)) as pool:
        while not decodes(pool):
            pass
        (first,) = pool.pids
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(InvalidImage, match=r"decoding it took longer than 1 s"):
            pool.decode(SMALL)
        assert are_gone([first])


def decodes(pool: DecodingPool) -> bool:
    try:
        return pool.decode(SMALL).pixels.shape == (16, 16, 3)
    except InvalidImage:
        return False


def test_others_are_decoded_meanwhile() -> None:
    with closing(DecodingPool(2, clock_seconds=600)) as pool, ThreadPoolExecutor(2) as threads:
        pool.start()
        stuck = pool.pids[0]
        os.kill(stuck, signal.SIGSTOP)
        decoded = [threads.submit(pool.decode, SMALL) for _ in range(20)]
        in_order = as_completed(decoded)
        for _ in range(19):
            assert next(in_order).result().pixels.shape == (16, 16, 3)
        os.kill(stuck, signal.SIGCONT)
        assert next(in_order).result().pixels.shape == (16, 16, 3)


def test_memory_is_bounded(pool: DecodingPool) -> None:
    """64 MiB where few pixels are allowed; the texts of this PNG would take twice that."""
    data = png_of_wide_texts(16)
    with pytest.raises(ImageTooLarge, match="more memory than the 67,108,864 bytes"):
        pool.decode(data, ImageLimits(len(data), max_pixels=1000))
    assert pool.decode(SMALL).pixels.shape == (16, 16, 3)


def test_a_crash_is_the_images_fault_and_is_said_so(pool: DecodingPool) -> None:
    pool.decode(SMALL)
    (process,) = pool.pids
    os.kill(process, signal.SIGSTOP)
    arguments = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    shared = Path(f"/proc/{process}/fd/{arguments[-2]}")
    with ThreadPoolExecutor(1) as thread:
        crashed = thread.submit(pool.decode, SMALL)
        eventually("the image is handed over", lambda: shared.stat().st_size)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(InvalidImage, match="decoder ended by SIGKILL while it read this image"):
            crashed.result()
    assert pool.decode(SMALL).pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_what_the_terminal_or_a_manager_tells_all_is_not_for_them(
    pool: DecodingPool, told: signal.Signals
) -> None:
    """The process that made them finishes its work, for which it needs them."""
    pool.decode(SMALL)
    (process,) = pool.pids
    os.kill(process, told)
    assert pool.decode(SMALL).pixels.shape == (16, 16, 3)
    assert pool.pids == [process]


def test_one_that_died_while_it_was_idle_is_replaced(pool: DecodingPool) -> None:
    pool.decode(SMALL)
    (first,) = pool.pids
    os.kill(first, signal.SIGKILL)
    assert are_gone([first])
    assert pool.decode(SMALL).pixels.shape == (16, 16, 3)


def test_processes_know_no_secrets_and_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADCAM_API_KEYS", "a-key-of-somebody")
    with closing(DecodingPool(1)) as pool:
        pool.decode(SMALL)
        (process,) = pool.pids
        assert b"a-key-of-somebody" not in Path(f"/proc/{process}/environ").read_bytes()
        assert "torch" not in Path(f"/proc/{process}/maps").read_text()


def test_the_folder_that_one_is_in_is_not_imported_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("numpy", "json", "cv2"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    with closing(DecodingPool(1)) as pool:
        assert pool.decode(SMALL).pixels.shape == (16, 16, 3)


def test_a_closed_pool_leaves_none_behind(pool: DecodingPool) -> None:
    pool.start()
    pids = pool.pids
    assert len(pids) == 2
    pool.close()
    assert are_gone(pids)
    with pytest.raises(RuntimeError, match="closed"):
        pool.decode(SMALL)


def test_none_outlives_the_process_that_made_it() -> None:
    """One that is idle, and one that has not even started, as that process is killed."""
    code = (
        "import os, signal\n"
        "from cam_engine.images.decoding_pool import DecodingPool\n"
        "from tests.hostile_images import encoded\n"
        "pool = DecodingPool(2)\n"
        "pool.decode(encoded('RGB', 16, 'PNG'))\n"
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
    assert are_gone(pids)
