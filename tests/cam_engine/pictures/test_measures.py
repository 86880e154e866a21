"""Numbers that say what a picture of a map looks like."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cam_engine.pictures.measures import blockiness


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
