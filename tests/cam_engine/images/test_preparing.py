"""CLAHE and the way to a tensor, against OpenCV and torchvision themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from cam_engine.errors import InvalidOption
from cam_engine.images.preparing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    enhance,
    resize_for_network,
    to_batch,
)

RNG = np.random.default_rng(21)


def noise(height: int, width: int) -> NDArray[Any]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def pale_cell(size: int = 224) -> NDArray[Any]:
    """A faint disc with a fainter dot on a bright ground, as of an overexposed smear."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    light = 225 - 15 * (np.hypot(y, x) < 0.4) - 8 * (np.hypot(y - 0.1, x) < 0.05)
    light = light + RNG.normal(0, 1.5, (size, size))
    colours = np.stack([light, light - 10, light - 4], axis=2)
    return np.asarray(np.clip(colours, 0, 255), np.uint8)


# ---- CLAHE


@pytest.mark.parametrize("shape", [(224, 224), (57, 101)])
def test_clahe_is_what_opencv_makes_of_the_l_channel(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    light, a, b = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    equalised = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(light)
    truth = cv2.cvtColor(cv2.merge([equalised, a, b]), cv2.COLOR_LAB2RGB)
    np.testing.assert_array_equal(enhance(image), truth)


def test_a_pale_picture_gains_contrast_and_keeps_its_hue() -> None:
    pale = pale_cell()
    before, after = (cv2.cvtColor(i, cv2.COLOR_RGB2LAB).astype(int) for i in (pale, enhance(pale)))
    assert after[..., 0].std() > 1.2 * before[..., 0].std()
    assert np.abs(after[..., 1:] - before[..., 1:]).mean() < 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 5), (8, 8), (9, 1), (3, 400)])
def test_any_size_is_enhanced_and_the_input_left_alone(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    kept = image.copy()
    out = enhance(image)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(image, kept)


def test_a_picture_that_is_not_contiguous_is_enhanced_alike() -> None:
    image = noise(40, 50)
    flipped = image[:, ::-1]
    np.testing.assert_array_equal(enhance(flipped), enhance(np.ascontiguousarray(flipped)))


def test_many_threads_enhance_the_same() -> None:
    images = [noise(60 + k, 80) for k in range(4)] * 15
    alone = [enhance(image) for image in images[:4]] * 15
    with ThreadPoolExecutor(8) as pool:
        for out, truth in zip(pool.map(enhance, images), alone, strict=True):
            np.testing.assert_array_equal(out, truth)


# ---- resizing


@pytest.mark.parametrize("shape", [(300, 260), (50, 61), (1, 1), (224, 100), (1000, 37)])
def test_resize_is_torchvisions_on_a_pil_image(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    truth = transforms.Resize((224, 224))(Image.fromarray(image))
    np.testing.assert_array_equal(resize_for_network(image, Preprocessing()), np.array(truth))


def test_height_comes_first() -> None:
    image = noise(90, 70)
    out = resize_for_network(image, Preprocessing(input_size=(32, 48)))
    np.testing.assert_array_equal(
        out, np.array(transforms.Resize((32, 48))(Image.fromarray(image)))
    )
    assert out.shape == (32, 48, 3)


def test_the_right_size_is_not_copied() -> None:
    image = noise(224, 224)
    assert resize_for_network(image, Preprocessing()) is image


# ---- tensors


def test_batch_equals_torchvisions_transforms() -> None:
    images = [noise(300, 260), noise(224, 224), noise(50, 61)]
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    truth = torch.stack([transform(Image.fromarray(image)) for image in images])
    batch = to_batch(images, Preprocessing(), "cpu")
    torch.testing.assert_close(batch, truth, rtol=0, atol=1e-6)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_own_mean_and_deviation() -> None:
    preprocessing = Preprocessing((2, 2), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    white = np.full((2, 2, 3), 255, np.uint8)
    batch = to_batch([white], preprocessing, torch.device("cpu"))
    assert batch[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_the_pictures_are_not_written_to() -> None:
    image = noise(4, 4)
    kept = image.copy()
    to_batch([image], Preprocessing((4, 4)), "cpu").zero_()
    np.testing.assert_array_equal(image, kept)


def test_no_pictures_make_an_empty_batch() -> None:
    assert to_batch([], Preprocessing((8, 9)), "cpu").shape == (0, 3, 8, 9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batch_on_a_gpu_equals_the_one_on_the_cpu() -> None:
    images = [noise(300, 260), noise(224, 224)]
    there = to_batch(images, Preprocessing(), "cuda")
    assert there.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        there.cpu(), to_batch(images, Preprocessing(), "cpu"), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"input_size": (0, 224)}, "input_size"),
        ({"input_size": (224, -1)}, "input_size"),
        ({"input_size": (224,)}, "input_size"),
        ({"mean": (0.1, float("nan"), 0.1)}, "mean"),
        ({"mean": (0.1, 0.2)}, "mean"),
        ({"std": (0.1, 0.0, 0.1)}, "std"),
        ({"std": (0.1, -0.2, 0.1)}, "std"),
        ({"std": (0.1, float("inf"), 0.1)}, "std"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused_by_name(
    wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidOption, match=named):
        Preprocessing(**wrong)
