"""POST /v1/explanations over a real process: the pictures are the engine's."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from cam_engine.checkpoints import load_classifier
from cam_engine.engine import Explainer
from cam_engine.images import read_image
from cam_engine.options import CamOptions
from cam_engine.rendering import full_size_map, overlay


def test_the_overlay_is_the_one_that_the_engine_draws(
    client: httpx.Client, cell: Path, lifecycle: Path
) -> None:
    model = "cls_mobilenet_v3_small_cb"
    response = client.post(
        "/v1/explanations",
        files={"image": ("cell_001.jpg", cell.read_bytes())},
        data={"model": f"experiments/{lifecycle.name}/{model}"},
    )
    assert response.status_code == 200, response.text
    drawn = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"), np.int16)

    image = read_image(cell)
    options = CamOptions(fused=True)
    explainer = Explainer(load_classifier(lifecycle / model / "best.pt"))
    [explanation] = explainer.explain([image], options)
    values = full_size_map(explanation.layer("fused"), image.shape[:2])
    expected = overlay(image, values, options).astype(np.int16)

    assert np.abs(drawn - expected).max() <= 2
    assert response.headers["x-gradcam-prediction"] == explanation.predicted.name
    probability = float(response.headers["x-gradcam-probability"])
    assert abs(probability - explanation.predicted.probability) < 1e-3
