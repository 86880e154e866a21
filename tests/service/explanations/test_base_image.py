"""GET /v1/explanations/{digest}/image: the image beneath an overlay."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from cam_engine.images.preparing import enhance
from tests.service.asking import CB, EXPLANATIONS, LIFECYCLE, assert_problem, post_image, sound


def _pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _place(response: httpx.Response) -> str:
    return f"{sound(response).headers['content-location']}/image"


@pytest.mark.parametrize("enhanced", [False, True])
def test_the_image_beneath(http: httpx.Client, cell: Path, enhanced: bool) -> None:
    place = _place(post_image(http, cell, model=CB))
    response = sound(http.get(place, params={"enhanced": enhanced}))
    assert response.headers["content-type"] == "image/png"
    original = np.asarray(Image.open(cell).convert("RGB"))
    wanted = enhance(original) if enhanced else original
    np.testing.assert_array_equal(_pixels(response.content), wanted)


def test_it_has_the_size_of_the_overlay(http: httpx.Client) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((30, 2500, 3), 90, np.uint8)).save(buffer, "PNG")
    posted = sound(post_image(http, buffer.getvalue()))
    shape = _pixels(posted.content).shape
    assert shape[1] == 2048
    for enhanced in ("true", "false"):
        response = sound(http.get(_place(posted), params={"enhanced": enhanced}))
        assert _pixels(response.content).shape == shape


def test_who_has_it_already_is_told_so(http: httpx.Client, cell: Path) -> None:
    place = _place(post_image(http, cell, model=CB))
    tag = sound(http.get(place)).headers["etag"]
    known = http.get(place, headers={"If-None-Match": tag})
    assert (known.status_code, known.content) == (304, b"")
    assert http.get(f"{place}?enhanced=true").headers["etag"] != tag


def test_what_is_not_there_is_refused(http: httpx.Client, cell: Path) -> None:
    plain = _place(post_image(http, cell, model=CB, clahe="false"))
    assert_problem(http.get(f"{plain}?enhanced=true"), "image-not-found")
    sound(http.get(f"{plain}?enhanced=false"))
    assert_problem(http.get(f"{plain}?enhanced=perhaps"), "invalid-request")
    sheet = _place(http.post(EXPLANATIONS, json={"experiment": LIFECYCLE}))
    assert_problem(http.get(sheet), "image-not-found")
    assert_problem(http.get(f"{EXPLANATIONS}/{'0' * 64}/image"), "explanation-not-found")
