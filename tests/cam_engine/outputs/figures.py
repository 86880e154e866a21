"""An explained image that nobody explained, for tests of how its pictures are written."""

from __future__ import annotations

import numpy as np

from cam_engine.images.decoded import ImageFacts
from cam_engine.outputs.figure_writer import Figure
from cam_engine.pictures.picture_set import ShownImage
from cam_engine.results import ClassScore, Explanation, LayerMap

RING, ELF = ClassScore(1, "ring", 0.7), ClassScore(0, "elf", 0.3)
LAYERS = tuple(
    LayerMap(name, "layer", "gradcam", np.full((2, 3), 0.5, np.float32), 1.0)
    for name in ("late", "fused")
)


def figure(name: str = "x", seed: int = 1, enhanced: bool = False) -> Figure:
    """One of 40 x 30 pixels, whose folder says "ring", and its answer "ring" too."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Figure(
        name=name,
        image=f"ring/{name}.jpg",
        image_sha256="1" * 64,
        true_class="ring",
        shown=ShownImage(pixels, 255 - pixels if enhanced else None),
        decoding=ImageFacts(format="JPEG"),
        explanation=Explanation(RING, (RING, ELF), LAYERS),
    )
