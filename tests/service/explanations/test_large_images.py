"""A large image is decoded once; what is asked for next is drawn from what was kept of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cam_engine.images.decoded import UNKNOWN, DecodedImage
from cam_engine.images.decoding import ImageLimits, decode_image
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.images.png import read_png_text
from cam_engine.images.preparing import enhance
from cam_engine.maps.explainer import NetworkInput
from cam_engine.options import DecodingOptions
from cam_engine.pictures.rendering import full_size_map, resize_image
from cam_engine.results import LayerMap
from service.app import create_app
from service.explanations.answers import Answer, AnswerCache
from service.explanations.large_images import LargeImage
from service.settings import Settings
from tests.service.asking import (
    CB,
    FOCAL,
    JSON,
    ZIP,
    array,
    as_client,
    facts,
    pixels,
    post_image,
    sound,
)

_SIZE = (2600, 1300)
NPY = {"Accept": "application/x-npy"}


def _noise(width: int, height: int, form: str = "JPEG") -> bytes:
    coarse = np.random.default_rng(5).integers(0, 256, (13, 26, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def large() -> bytes:
    return _noise(*_SIZE)


@pytest.fixture
def asked(sample_run: Path) -> Iterator[httpx.Client]:
    """A client of a service in this process."""
    app = create_app(Settings(data=sample_run, auth="off"))
    with TestClient(app, base_url="http://localhost") as client:
        yield as_client(client)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each file that is decoded from now on."""
    sizes: list[int] = []

    decode = DecodingPool.decode

    def counted(
        pool: DecodingPool, data: bytes, limits: ImageLimits, options: DecodingOptions
    ) -> DecodedImage:
        sizes.append(len(data))
        return decode(pool, data, limits, options)

    monkeypatch.setattr(DecodingPool, "decode", counted)
    return sizes


def test_it_is_decoded_once(asked: httpx.Client, large: bytes, decoded: list[int]) -> None:
    first = facts(post_image(asked, large, model=CB, headers=JSON))
    place = f"/v1/explanations/{first['digest']}"
    for query in ("false", "true", "false"):
        sound(asked.get(f"{place}/image?enhanced={query}"))
    sound(asked.get(place, headers={"Accept": "image/png"}))
    sound(asked.get(place, headers=ZIP))
    sound(post_image(asked, large, model=CB, view="panel", colormap="jet"))
    sound(post_image(asked, large, model=CB, method="xgradcam"))
    sound(post_image(asked, large, model=FOCAL, target=1))
    assert decoded == [len(large)]


def test_what_decides_its_pixels_is_told_apart(
    asked: httpx.Client, large: bytes, decoded: list[int]
) -> None:
    sound(post_image(asked, large, model=CB))
    plain = facts(post_image(asked, large, model=CB, clahe="false", headers=JSON))
    assert plain["unenhanced"] is None
    other = _noise(*_SIZE, "PNG")
    sound(post_image(asked, other, model=CB))
    sound(post_image(asked, other, model=CB, background="white"))
    assert decoded == [len(large), len(large), len(other), len(other)]


def test_its_pictures_are_those_of_the_file(asked: httpx.Client, large: bytes) -> None:
    answer = facts(post_image(asked, large, model=CB, headers=JSON))
    size = (1024, 2048)
    assert tuple(answer["picture_size"]) == size
    original = decode_image(large)
    for query, wanted in (("false", original), ("true", enhance(original))):
        shown = sound(asked.get(f"/v1/explanations/{answer['digest']}/image?enhanced={query}"))
        np.testing.assert_array_equal(pixels(shown.content), resize_image(wanted, size))
    first = pixels(sound(post_image(asked, large, model=CB)).content)
    again = pixels(sound(post_image(asked, large, model=CB)).content)
    np.testing.assert_array_equal(first, again)
    second = facts(post_image(asked, large, model=CB, headers=JSON))
    assert second == answer


def test_a_small_one_is_kept_as_its_file(
    asked: httpx.Client, cell: Path, decoded: list[int]
) -> None:
    answer = facts(post_image(asked, cell, model=CB, headers=JSON))
    sound(asked.get(f"/v1/explanations/{answer['digest']}/image"))
    assert len(decoded) == 2


def test_it_is_forgotten_with_the_last_answer(sample_run: Path, decoded: list[int]) -> None:
    """The cache is bounded by bytes; what no answer holds any more is decoded again."""
    images = [_noise(1500 + step, 1000) for step in range(4)]
    settings = Settings(data=sample_run, auth="off", answers_bytes=5_000_000)
    with TestClient(create_app(settings), base_url="http://localhost") as opened:
        client = as_client(opened)
        places = [
            sound(post_image(client, image, model=CB)).headers["content-location"]
            for image in images
        ]
        assert client.get(places[-1]).status_code == 200
        assert client.get(places[0]).status_code == 404
        sound(post_image(client, images[-1], model=CB, method="gradcam"))
        assert len(decoded) == 4
        sound(post_image(client, images[0], model=CB, method="gradcam"))
        assert len(decoded) == 5


class _Held:
    """Stands for an answer that holds a large image."""

    def __init__(self, digest: str, *images: LargeImage) -> None:
        self.digest, self.large_images, self.bytes_used = digest, images, 10

    def without_pixels(self) -> _Held:
        return self


def test_answers_that_share_one_count_it_once() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    image = LargeImage((2, 2), b"a" * 50, b"b" * 30, NetworkInput(pixels), UNKNOWN)
    cache = AnswerCache(150)
    for digest in ("a", "b", "c"):
        cache.put(cast("Answer", _Held(digest, image)))
    assert cache.bytes_used == 3 * 10 + 80 + pixels.nbytes
    for digest in ("d", "e", "f"):
        cache.put(cast("Answer", _Held(digest)))
    assert cache.bytes_used == 5 * 10 + 80 + pixels.nbytes  # "a" went, and the image stays
    for number in range(20):
        cache.put(cast("Answer", _Held(str(number))))
    assert cache.bytes_used == 15 * 10


def test_native_maps_are_those_that_pictures_are_drawn_from(
    asked: httpx.Client, cell: Path
) -> None:
    answer = facts(post_image(asked, cell, model=CB, view="native"))
    plain = facts(post_image(asked, cell, model=CB, headers=JSON))
    assert [shown["name"] for shown in answer["layers"]] == ["early", "mid", "late", "fused"]
    assert array(asked.get(f"/v1/explanations/{answer['digest']}", headers=NPY)).shape[0] == 4
    for native, other in zip(answer["layers"], plain["layers"], strict=True):
        assert "values" not in other
        for name, value in other.items():  # computed anew, and not to the last bit
            assert native[name] == (pytest.approx(value) if isinstance(value, float) else value)
        values = np.frombuffer(base64.b64decode(native["values"]), "<f4").reshape(native["grid"])
        layer = LayerMap(
            native["name"], "", "gradcam", values.astype(np.float32), native["maximum"]
        )
        drawn = array(post_image(asked, cell, model=CB, view="array", layer=native["name"]))
        size = (answer["picture_size"][0], answer["picture_size"][1])
        np.testing.assert_allclose(full_size_map(layer, size), drawn, atol=1e-5)
        picture = sound(post_image(asked, cell, model=CB, layer=native["name"])).content
        assert native["recipe"] == read_png_text(picture)


def test_native_is_json_of_its_own_accord(asked: httpx.Client, cell: Path) -> None:
    assert sound(post_image(asked, cell, view="native")).headers["content-type"] == JSON["Accept"]
    refused = post_image(asked, cell, view="native", headers={"Accept": "image/png"})
    assert refused.status_code == 406
