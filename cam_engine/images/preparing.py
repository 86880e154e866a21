"""From a decoded picture to the network's input: local contrast, size, normalisation.

Decoding is in `cam_engine.images.decoding`, which needs no torch; its names are here as well.
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

from cam_engine.errors import InvalidOption
from cam_engine.images.decoding import IMAGE_SUFFIXES, ImageLimits, decode_image, read_image
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
_BYTE = 255
_MOST_UNIT_STD = 4  # none of pixels is above 0.5, but networks are trained with any


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How the network was trained to see an image.

    input_size: (height, width) in pixels. mean, std: of R, G and B on the scale 0..1; where they
    are given on 0..255, they are divided by 255, which divided_by_255 says.
    """

    input_size: tuple[int, int] = (224, 224)
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    divided_by_255: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes and deviations that are not positive and finite, and mixed scales.

        Raises InvalidOption.
        """
        if len(self.input_size) != 2 or min(self.input_size) < 1:
            raise InvalidOption(
                f"input_size must be a positive height and width, got {self.input_size}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != _RGB or not all(map(math.isfinite, values)):
                raise InvalidOption(f"{name} must be three finite numbers, got {values}")
        if min(self.std) <= 0:
            raise InvalidOption(f"std must be above 0 in each channel, got {self.std}")
        self._onto_0_to_1()

    def _onto_0_to_1(self) -> None:
        """Tell the scale on which mean and std are: 0..1, or 0..255 as bytes have it.

        A std of 1 beside a mean above 1 subtracts a mean of bytes, as networks of Caffe do; one of
        255 beside a mean of 0 is the same as none on 0..1.
        """
        if max(map(abs, self.mean)) <= 1 and max(self.std) <= _MOST_UNIT_STD:
            return
        on_bytes = max(self.mean) > 1 or not any(self.mean)
        fits = min(self.mean) >= 0 and max(self.mean) <= _BYTE
        if not (on_bytes and fits and min(self.std) >= 1 and max(self.std) <= _BYTE):
            raise InvalidOption(
                f"mean {self.mean} and std {self.std} are neither both on the scale 0..1 nor both "
                "on 0..255; give both on 0..1"
            )
        object.__setattr__(self, "mean", tuple(value / _BYTE for value in self.mean))
        object.__setattr__(self, "std", tuple(value / _BYTE for value in self.std))
        object.__setattr__(self, "divided_by_255", True)


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
