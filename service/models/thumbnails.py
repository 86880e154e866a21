"""Small JPEGs of pictures."""

from __future__ import annotations

import cv2

from cam_engine.results import RgbImage


def jpeg_thumbnail(pixels: RgbImage, size: int) -> bytes:
    """JPEG of (H, W, 3) pixels, at most `size` px on its longer side and never enlarged."""
    height, width = pixels.shape[:2]
    scale = min(1.0, size / max(height, width))
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return data.tobytes()
