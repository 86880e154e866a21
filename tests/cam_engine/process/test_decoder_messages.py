"""What decoders print by themselves: heard where somebody listens, and never seen."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from cam_engine.process.decoder_messages import complaints
from tests.cam_engine.images.test_decoding import encoded


def cut_fax() -> bytes:
    """A fax TIFF whose data end too early, of which libtiff complains and goes on."""
    lines = np.cumsum(np.random.default_rng(31).integers(-1, 2, (300, 400)), 1) % 7 > 3
    data = encoded(Image.fromarray(lines), "TIFF", compression="group3")
    with Image.open(io.BytesIO(data)) as opened:
        assert isinstance(opened, TiffImageFile)
        place, size = opened.tag_v2[273][-1], opened.tag_v2[279][-1]
    half = place + size // 2
    return data[:half] + bytes(place + size - half) + data[place + size :]


def read(data: bytes) -> None:
    with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
        warnings.simplefilter("ignore")
        try:
            image.load()
        except (OSError, SyntaxError):
            return


def test_a_complaint_is_heard_and_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with complaints() as said:
        read(cut_fax())
    assert said
    assert all(isinstance(line, str) and line for line in said)
    assert capfd.readouterr().err == ""


def test_a_sound_picture_is_complained_of_by_nobody() -> None:
    out = io.BytesIO()
    Image.new("1", (8, 8)).save(out, "TIFF", compression="group4")
    with complaints() as said:
        read(out.getvalue())
    assert said == []


def test_nobody_listens_any_more_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with complaints() as outer:
        with complaints() as inner:
            read(cut_fax())
        heard = len(inner)
        read(cut_fax())
    read(cut_fax())
    assert heard > 0
    assert len(inner) == heard
    assert len(outer) == heard
    assert capfd.readouterr().err == ""


def test_each_thread_hears_its_own() -> None:
    heard: list[list[str]] = []

    def listen() -> None:
        with complaints() as said:
            heard.append(said)

    with complaints() as mine:
        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        read(cut_fax())
    assert mine
    assert heard == [[]]


def test_a_process_that_silenced_them_prints_nothing() -> None:
    code = (
        "import io, sys, cv2, numpy as np\n"
        "from PIL import Image\n"
        "if sys.argv[1] == 'silent':\n"
        "    from cam_engine.process.decoder_messages import silence_decoders\n"
        "    silence_decoders()\n"
        "data = sys.stdin.buffer.read()\n"
        "Image.open(io.BytesIO(data)).load()\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, how], input=cut_fax(), capture_output=True, check=False
        ).stderr
        for how in ("loud", "silent")
    ]
    assert b"Fax" in said[0]
    assert b"Fax" not in said[1]
