"""The same model behind LitServe with torchcam, as their users write it.

    python -m benchmarks.load_peer CHECKPOINT PORT

LitServe gathers up to 16 requests into a batch, torchcam's extractor makes three maps of each and
fuses them, torchcam's `overlay_mask` draws, Pillow encodes. Float32, no CLAHE.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve
import torch
from fastapi import Response
from PIL import Image
from torch import Tensor
from torchcam.methods import GradCAMpp
from torchcam.utils import overlay_mask
from torchvision.transforms.v2 import Compose, Normalize, PILToTensor, Resize, ToDtype
from torchvision.transforms.v2.functional import to_pil_image

from cam_engine.maps.targets import plan_layers
from cam_engine.models.loading import load_classifier
from cam_engine.options import STAGES

BATCH_SIZE, BATCH_TIMEOUT_SECONDS = 16, 0.05

Decoded = tuple[Image.Image, Tensor]
Explained = tuple[Image.Image, Tensor]


class OverlayAPI(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """An image in, an overlay out."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(max_batch_size=BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_SECONDS)
        self.checkpoint = checkpoint

    def setup(self, device: str) -> None:
        classifier = load_classifier(self.checkpoint)
        preprocessing = classifier.preprocessing
        self.model = classifier.network.to(device).eval().requires_grad_(True)
        layers = plan_layers(STAGES, classifier.layout, classifier.network, "raw")
        self.extractor = GradCAMpp(self.model, [layer.tap.module for layer in layers])
        self.transform = Compose(
            [
                Resize(preprocessing.input_size),
                PILToTensor(),
                ToDtype(torch.float32, scale=True),
                Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    # LitServe would read an annotation of `request`.
    def decode_request(self, request, **_: Any) -> Decoded:  # type: ignore[no-untyped-def]
        image = Image.open(request["image"].file).convert("RGB")
        return image, self.transform(image)

    def batch(self, inputs: Sequence[Decoded]) -> tuple[list[Image.Image], Tensor]:
        return [image for image, _ in inputs], torch.stack([tensor for _, tensor in inputs])

    def predict(self, x: tuple[list[Image.Image], Tensor], **_: Any) -> list[Explained]:
        images, batch = x
        logits = self.model(batch)
        maps = self.extractor(logits.argmax(1).tolist(), logits)
        fused = self.extractor.fuse_cams(maps)
        return list(zip(images, fused, strict=True))

    def encode_response(self, output: Explained, **_: Any) -> Response:
        image, cam = output
        buffer = io.BytesIO()
        overlay_mask(image, to_pil_image(cam, mode="F"), alpha=0.5).save(buffer, "PNG")
        return Response(buffer.getvalue(), media_type="image/png")


def main() -> None:
    checkpoint, port = sys.argv[1:]
    server = litserve.LitServer(OverlayAPI(Path(checkpoint)), accelerator="cpu", devices=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
