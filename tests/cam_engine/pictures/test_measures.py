"""Numbers that say what a picture of a map looks like."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cam_engine.pictures.measures import blockiness, focus, local_contrast, stained_tissue


def test_blockiness_of_known_upsamplings() -> None:
    native = np.random.default_rng(0).random((7, 7), np.float32)
    by = {
        mode: np.asarray(cv2.resize(native, (224, 224), interpolation=mode), np.float32)
        for mode in (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    }
    assert blockiness(by[cv2.INTER_NEAREST], (7, 7)) == pytest.approx(1.0)
    assert blockiness(by[cv2.INTER_LINEAR], (7, 7)) == pytest.approx(0.0, abs=0.01)
    smooth = blockiness(by[cv2.INTER_CUBIC], (7, 7))
    assert smooth is not None
    assert smooth < 0.05
    assert blockiness(native, (7, 7)) is None
    assert blockiness(np.ones((224, 224), np.float32), (7, 7)) is None


def test_focus_by_hand() -> None:
    tissue = np.zeros((10, 10), bool)
    tissue[:2] = True
    on_tissue = tissue.astype(np.float32)
    assert focus(on_tissue, tissue) == pytest.approx(5.0)
    assert focus(np.ones((10, 10), np.float32), tissue) == pytest.approx(1.0)
    assert focus(np.zeros((10, 10), np.float32), tissue) is None


def test_stained_tissue_is_the_parasite_of_a_drawn_cell(lifecycle: Path) -> None:
    crops = lifecycle / "crops_gt_crops"
    shares = []
    for mask_path in sorted((crops / "masks/test").rglob("*.png")):
        relative = mask_path.relative_to(crops / "masks").with_suffix(".jpg")
        image = np.asarray(Image.open(crops / "crops" / relative).convert("RGB"))
        mask = np.asarray(Image.open(mask_path).convert("L")) > 0
        shares.append(float(stained_tissue(image)[mask].mean()))
    assert np.median(shares) > 0.8


def test_local_contrast_by_hand() -> None:
    flat = np.full((64, 64, 3), 120, np.uint8)
    stripes = flat.copy()
    stripes[:, ::2] = 200
    assert local_contrast(flat) == 0.0
    assert local_contrast(stripes) > 10
