"""Waiting for what must come to pass, with a message that says what did not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

_T = TypeVar("_T")


def eventually(
    awaited: str,
    look: Callable[[], _T | None],
    *,
    seconds: float = 30.0,
    pause: float = 0.05,
    not_yet: type[Exception] | tuple[type[Exception], ...] = (),
    evidence: Callable[[], object] | None = None,
) -> _T:
    """The first value of `look` that is true; it looks every `pause` seconds.

    awaited: what is waited for, in words. not_yet: errors of `look` that mean "not yet"; others
    are raised at once. evidence: what else the message shows, a log for one. Raises TimeoutError
    after so many seconds, with what was awaited and seen last.
    """
    until = time.monotonic() + seconds
    while True:
        seen: object
        try:
            value = look()
            if value:
                return value
            seen = value
        except not_yet as error:
            seen = error
        if time.monotonic() >= until:
            more = f"\n{evidence()}" if evidence is not None else ""
            raise TimeoutError(f"not within {seconds:g} s: {awaited}; last seen: {seen!r}{more}")
        time.sleep(pause)


def eventually_answers(
    url: str,
    process: subprocess.Popen[Any],
    *,
    seconds: float = 60.0,
    evidence: Callable[[], object] | None = None,
) -> None:
    """Until a process that was just started answers there, whatever its status is below 400.

    Raises AssertionError where the process ends, else as `eventually`.
    """

    def look() -> bool:
        said = evidence() if evidence is not None and process.poll() is not None else ""
        assert process.poll() is None, f"ended with {process.returncode}\n{said}"
        return not httpx.get(url).is_error

    eventually(
        f"{url} answers", look, seconds=seconds, not_yet=httpx.TransportError, evidence=evidence
    )
