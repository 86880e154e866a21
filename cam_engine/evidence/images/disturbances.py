"""What a laboratory does to a crop without changing the cell: a good map should hardly notice.

Each is a change of an (H, W, 3) uint8 image and, where the change moves pixels, the way back of a
map (H, W), with the mask of pixels that were in sight all along.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_engine.results import FloatMap, RgbImage

_QUALITY = 85
_SHIFT = 2
_DEGREES = 5.0
_SHARE = 0.1
_IN_SIGHT = 0.99  # of a pixel

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """change: of the image. matrix: (2, 3), where pixels go to by its size; None: they stay."""

    change: Callable[[RgbImage], RgbImage]
    matrix: Callable[[tuple[int, int]], Matrix] | None = None

    def undone(
        self, values: FloatMap, size: tuple[int, int] | None = None
    ) -> tuple[FloatMap, NDArray[np.bool_]]:
        """The map of the changed image where the image was, and which pixels were in sight.

        size: (H, W) of the image that was changed, where the map is of another: an image that was
        moved by 2 px and then enlarged has moved by more. None: that of the map.
        """
        if self.matrix is None:
            return values, np.ones(values.shape, bool)
        height, width = values.shape
        seen = size or (height, width)
        enlarged = _enlarged(height / seen[0], width / seen[1])
        moved_by = np.vstack([self.matrix(seen), [0.0, 0.0, 1.0]])
        back = np.linalg.inv(enlarged @ moved_by @ np.linalg.inv(enlarged))[:2]
        moved = cv2.warpAffine(values, back, (width, height), flags=cv2.INTER_LINEAR)
        sight = cv2.warpAffine(np.ones_like(values), back, (width, height))
        return np.asarray(moved, np.float32), np.asarray(sight > _IN_SIGHT, np.bool_)


def _enlarged(down: float, right: float) -> Matrix:
    """(3, 3), where the middles of pixels go to in an image of so many times the size."""
    return np.array([[right, 0.0, (right - 1) / 2], [0.0, down, (down - 1) / 2], [0.0, 0.0, 1.0]])


def _jpeg(image: RgbImage) -> RgbImage:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_QUALITY)
    return np.array(Image.open(file), np.uint8)


def _levels(gain: float, offset: float) -> Callable[[RgbImage], RgbImage]:
    def change(image: RgbImage) -> RgbImage:
        return np.asarray(np.clip(image * gain + offset, 0, 255).round(), np.uint8)

    return change


def _contrast(gain: float) -> Callable[[RgbImage], RgbImage]:
    def change(image: RgbImage) -> RgbImage:
        mean = image.mean()
        return np.asarray(np.clip((image - mean) * gain + mean, 0, 255).round(), np.uint8)

    return change


def _moved(matrix: Callable[[tuple[int, int]], Matrix]) -> Disturbance:
    def change(image: RgbImage) -> RgbImage:
        height, width = image.shape[:2]
        made = cv2.warpAffine(
            image,
            matrix((height, width)),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(made, np.uint8)

    return Disturbance(change, matrix)


def _shift(_: tuple[int, int]) -> Matrix:
    return np.array([[1.0, 0.0, _SHIFT], [0.0, 1.0, _SHIFT]])


def _rotation(size: tuple[int, int]) -> Matrix:
    centre = ((size[1] - 1) / 2, (size[0] - 1) / 2)
    return np.asarray(cv2.getRotationMatrix2D(centre, _DEGREES, 1.0), np.float64)


DISTURBANCES: Mapping[str, Disturbance] = MappingProxyType(
    {
        "JPEG of quality 85": Disturbance(_jpeg),
        "10% brighter": Disturbance(_levels(1 + _SHARE, 0.0)),
        "10% darker": Disturbance(_levels(1 - _SHARE, 0.0)),
        "10% more contrast": Disturbance(_contrast(1 + _SHARE)),
        "10% less contrast": Disturbance(_contrast(1 - _SHARE)),
        "moved by 2 px": _moved(_shift),
        "turned by 5 degrees": _moved(_rotation),
    }
)
