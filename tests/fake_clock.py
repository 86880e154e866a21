"""A wall clock that tests set, for processes started while it is in the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# Debian's package faketime.
_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

SetClock = Callable[[int], None]


def fake_clock(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """What sets the clock of processes started from now on to so many seconds from the real one.

    Their monotonic clock is left alone, as by the system. Skips where libfaketime is missing.
    """
    if not _LIBRARIES:
        pytest.skip("libfaketime is not here: apt-get install faketime")
    file = scratch / "clock"

    def set_clock(seconds: int) -> None:
        part = file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(file)

    set_clock(0)
    monkeypatch.setenv("LD_PRELOAD", str(_LIBRARIES[0]))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    return set_clock
