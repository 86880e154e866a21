"""Waiting for what must come to pass, with a message that says what did not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

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
