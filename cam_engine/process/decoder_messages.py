"""What image decoders print by themselves, which is no part of what a command says."""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


class _Heard(threading.local):
    """Complaints of libtiff in this thread, while somebody listens."""

    complaints: list[str] | None = None


_heard = _Heard()


def silence_decoders() -> None:
    """Let OpenCV, Pillow and its libtiff print nothing on standard error, for this process.

    What is wrong with an image is said by the error that it is refused with.
    """
    import cv2  # noqa: PLC0415 (late, so that --help answers at once)

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _listen()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What Pillow's libtiff finds wrong in this thread meanwhile: some of its decoders go on."""
    before, heard = _heard.complaints, list[str]()
    _heard.complaints = heard
    _listen()
    try:
        yield heard
    finally:
        _heard.complaints = before


def _take_complaint(_module: bytes | None, words: bytes | None, _values: int | None) -> None:
    if _heard.complaints is not None and words is not None:
        _heard.complaints.append(words.decode(errors="replace"))


_on_complaint = _HANDLER(_take_complaint)  # kept: libtiff calls it as long as the process lives


@cache
def _listen() -> None:
    """Have libtiff tell us instead of printing, once in a process."""
    from PIL import _imaging  # noqa: PLC0415 (late, as above)

    try:
        # Pillow has no setting for it. Its module's own handle also finds what it is linked to.
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(_on_complaint)
    except (AttributeError, OSError):
        return  # built otherwise: then libtiff's lines stay
