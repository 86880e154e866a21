"""Each kind of file that labs have, through a running service, beside one that cannot be read."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from processes.serving import running
from tests.cam_engine.models.kinds import KINDS, Kind
from tests.service.asking import JSON, facts, post_image, sound

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("one_thread"),
]

EXPERIMENT = "experiment_every_kind"
FOLDERS = {name: f"cls_kind{number}" for number, name in enumerate(KINDS)}
UNREADABLE = "cls_of_keras"
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("root")
    for name, kind in KINDS.items():
        kind.written(root / EXPERIMENT / FOLDERS[name])
        kind.write_sidecar(root / EXPERIMENT / FOLDERS[name])
    broken = root / EXPERIMENT / UNREADABLE
    broken.mkdir()
    (broken / "best.pt").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    scratch = tmp_path_factory.mktemp("service")
    # In bfloat16, as fast machines choose, probabilities differ by some thousandths.
    with running(root, scratch, precision="float32") as server, server.client() as client:
        yield client


def picture(side: int) -> tuple[bytes, np.ndarray[Any, Any]]:
    """An image of that size as PNG, and its pixels."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


def truth(kind: Kind, pixels: np.ndarray[Any, Any], read: dict[str, Any]) -> torch.Tensor:
    """Probabilities of who saved the network."""
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(read[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return kind.network()((images - mean) / std)[0].softmax(0)


@pytest.mark.parametrize("name", KINDS)
def test_an_upload_is_explained_by_each_kind(service: httpx.Client, name: str) -> None:
    kind, id_ = KINDS[name], f"{EXPERIMENT}/{FOLDERS[name]}"
    png, pixels = picture(kind.input_side)
    asked = {"model": id_, "clahe": "false", "pictures": "overlay"}
    answer = facts(post_image(service, png, name="cell.png", headers=JSON, **asked))
    with Image.open(
        io.BytesIO(base64.b64decode(answer["pictures"]["overlay"]["base64"]))
    ) as overlay:
        assert np.asarray(overlay).std() > 0
    read = sound(service.get(f"/v1/models/{id_}")).json()["read"]
    assert read["sources"].keys() >= {"architecture", "class_names", "input_size", "mean", "std"}
    if kind.exact:
        scores = {one["index"]: one["probability"] for one in answer["top_classes"]}
        ours = torch.tensor([scores[index] for index in range(len(scores))])
        torch.testing.assert_close(ours, truth(kind, pixels, read), rtol=0, atol=TOLERANCE)


def test_one_that_cannot_be_read_hides_none_of_the_others(service: httpx.Client) -> None:
    models = {one["name"]: one for one in sound(service.get("/v1/models")).json()["models"]}
    assert models.keys() == {*FOLDERS.values(), UNREADABLE}
    assert "Keras" in models.pop(UNREADABLE)["problem"]["detail"]
    assert [name for name, one in models.items() if one["problem"] is not None] == []
