"""From a decoded picture to the network's input: local contrast, size, normalisation.

Decoding is in `cam_engine.decoding`, which needs no torch; its names are offered here as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cam_engine.decoding import IMAGE_SUFFIXES, ImageLimits, decode_image, read_image
from cam_engine.errors import InvalidOption
from cam_engine.results import RgbImage

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SUFFIXES",
    "ImageLimits",
    "Preprocessing",
    "decode_image",
    "enhance",
    "read_image",
    "resize_for_network",
    "to_batch",
]

Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)

_CLAHE_CLIP_LIMIT = 2.0
_CLAHE_TILES = (8, 8)
_RGB = 3


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How the network was trained to see an image.

    input_size: (height, width) in pixels. mean, std: of R, G and B on the scale 0..1.
    """

    input_size: tuple[int, int] = (224, 224)
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuse sizes and deviations that are not positive and finite. Raises InvalidOption."""
        if len(self.input_size) != 2 or min(self.input_size) < 1:
            raise InvalidOption(
                f"input_size must be a positive height and width, got {self.input_size}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != _RGB or not all(map(math.isfinite, values)):
                raise InvalidOption(f"{name} must be three finite numbers, got {values}")
        if min(self.std) <= 0:
            raise InvalidOption(f"std must be above 0 in each channel, got {self.std}")


def enhance(image: RgbImage) -> RgbImage:
    """CLAHE (Zuiderveld 1994) on L of LAB, clip limit 2.0, 8x8 tiles: (H, W, 3) uint8 -> the same.

    Any size from 1x1 up; safe in any thread.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    # Made anew each time: the object holds work space, which two threads must not share.
    clahe = cv2.createCLAHE(clipLimit=_CLAHE_CLIP_LIMIT, tileGridSize=_CLAHE_TILES)
    lab[..., 0] = clahe.apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def resize_for_network(image: RgbImage, preprocessing: Preprocessing) -> RgbImage:
    """Resize as torchvision's `Resize((h, w))` resizes a PIL image: bilinear, antialiased.

    (H, W, 3) uint8 -> (h, w, 3) uint8; `image` itself where it already has that size.
    """
    height, width = preprocessing.input_size
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def to_batch(
    images: Sequence[RgbImage], preprocessing: Preprocessing, device: torch.device | str
) -> Tensor:
    """N images -> (N, 3, h, w) float32 on `device`: (x / 255 - mean) / std, channels_last.

    Images of another size are resized first. The bytes travel to the device as they are, a quarter
    of what the floats would be.
    """
    height, width = preprocessing.input_size
    stacked = np.empty((len(images), height, width, _RGB), np.uint8)
    for index, image in enumerate(images):
        stacked[index] = resize_for_network(image, preprocessing)
    batch = torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).to(torch.float32)
    mean = torch.tensor(preprocessing.mean, device=device).view(1, _RGB, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(1, _RGB, 1, 1)
    return batch.div_(255.0).sub_(mean).div_(std)
