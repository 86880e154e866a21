"""What image decoders print by themselves, which is no part of what a command says."""

from __future__ import annotations

import ctypes
import warnings


def silence_decoders() -> None:
    """Let OpenCV, Pillow and its libtiff print nothing on standard error, for this process.

    What is wrong with an image is said by the error that it is refused with.
    """
    import cv2  # noqa: PLC0415 (late, so that --help answers at once)
    from PIL import _imaging  # noqa: PLC0415

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        # Pillow has no setting for it. Its module's own handle also finds what it is linked to.
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # built otherwise: then libtiff's lines stay
