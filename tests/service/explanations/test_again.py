"""GET /v1/explanations/{digest}: the same answer again, by its Content-Location."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.asking import (
    CB,
    EXPLANATIONS,
    JSON,
    LIFECYCLE,
    ZIP,
    assert_problem,
    facts,
    metric,
    post_image,
    sound,
)
from tests.service.odd_root import OddRoot


@pytest.mark.parametrize(
    ("headers", "view"),
    [({}, "overlay"), ({}, "panel"), ({}, "maps"), (JSON, "overlay"), (ZIP, "overlay")],
)
def test_the_same_bytes_come_again(
    http: httpx.Client, cell: Path, headers: dict[str, str], view: str
) -> None:
    posted = sound(post_image(http, cell, headers=headers, view=view, model=CB))
    place = posted.headers["content-location"]
    assert place.startswith(f"{EXPLANATIONS}/")
    again = sound(http.get(place, headers=headers))
    assert again.content == posted.content
    for name in ("etag", "content-type", "content-location", "x-gradcam-layers"):
        assert again.headers[name] == posted.headers[name]
    assert again.headers["etag"].startswith('W/"')
    assert "Accept" in again.headers["vary"]


def test_a_contact_sheet_comes_again(http: httpx.Client) -> None:
    posted = sound(http.post(EXPLANATIONS, json={"experiment": LIFECYCLE}))
    assert sound(http.get(posted.headers["content-location"])).content == posted.content


def test_a_large_image_whose_pixels_were_not_kept_comes_again(http: httpx.Client) -> None:
    values = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize((1800, 1400)).save(buffer, "JPEG")
    posted = sound(post_image(http, buffer.getvalue()))
    assert sound(http.get(posted.headers["content-location"])).content == posted.content


def test_nothing_is_computed_for_the_same_representation(http: httpx.Client, cell: Path) -> None:
    place = sound(post_image(http, cell)).headers["content-location"]
    passes = metric(http, "gradcam_batch_size_count")
    sound(http.get(place))
    assert metric(http, "gradcam_batch_size_count") == passes


def test_another_representation_has_another_tag(http: httpx.Client, cell: Path) -> None:
    posted = sound(post_image(http, cell, model=CB))
    place = posted.headers["content-location"]
    numbers = http.get(place, headers=JSON)
    assert facts(numbers)["model"]["id"] == CB
    archive = sound(http.get(place, headers=ZIP))
    tags = {response.headers["etag"] for response in (posted, numbers, archive)}
    assert len(tags) == 3
    assert_problem(http.get(place, headers={"Accept": "text/html"}), "not-acceptable")


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other",{} , "more"', "*"])
def test_who_has_it_already_is_told_so(http: httpx.Client, cell: Path, form: str) -> None:
    posted = sound(post_image(http, cell))
    place = posted.headers["content-location"]
    given = {"If-None-Match": form.format(posted.headers["etag"].removeprefix("W/"))}
    response = http.get(place, headers=given)
    assert (response.status_code, response.content) == (304, b"")
    for name in ("etag", "cache-control", "vary"):
        assert response.headers[name] == posted.headers[name]


def test_a_304_says_what_a_200_would_have_said_of_its_place(http: httpx.Client, cell: Path) -> None:
    # RFC 9110, 15.4.5: Content-Location is one of the headers that a 304 must have.
    posted = sound(post_image(http, cell))
    place = posted.headers["content-location"]
    response = http.get(place, headers={"If-None-Match": posted.headers["etag"]})
    assert response.status_code == 304
    assert response.headers.get("content-location") == place


def test_a_tag_of_another_representation_does_not_match(http: httpx.Client, cell: Path) -> None:
    posted = sound(post_image(http, cell))
    given = {"If-None-Match": posted.headers["etag"], **JSON}
    assert facts(http.get(posted.headers["content-location"], headers=given))["digest"]


def test_the_digest_is_of_bytes_model_and_options(
    http: httpx.Client, cell: Path, lifecycle: Path
) -> None:
    def place(image: Path, **fields: Any) -> str:
        return str(sound(post_image(http, image, **fields)).headers["content-location"])

    other = lifecycle / "crops_gt_crops/crops/test/schizont/cell_002.jpg"
    first = place(cell, model=CB)
    assert place(cell, model=CB) == first
    different = [
        place(other, model=CB),
        place(cell),
        place(cell, model=CB, clahe="false"),
        place(cell, model=CB, view="panel"),
        place(cell, model=CB, target="ring"),
    ]
    assert len({first, *different}) == 6


@pytest.mark.parametrize("digest", ["0" * 64, "x", "%00", "a.png", "é" * 10])
def test_an_unknown_digest_is_not_found(http: httpx.Client, digest: str) -> None:
    assert_problem(http.get(f"{EXPLANATIONS}/{digest}"), "explanation-not-found")


def test_what_was_put_out_of_memory_is_gone_and_comes_back_by_a_post(
    odd: httpx.Client, odd_root: OddRoot, cell: Path
) -> None:
    def post(number: int) -> str:
        fields: dict[str, Any] = {"model": odd_root.best, "alpha": number / 100}
        return str(sound(post_image(odd, cell, **fields)).headers["content-location"])

    places = [post(number) for number in range(12)]
    assert_problem(odd.get(places[0]), "explanation-not-found")
    sound(odd.get(places[-1]))
    assert post(0) == places[0]
    sound(odd.get(places[0]))


def test_an_answer_asked_for_again_outlives_those_that_are_not(
    odd: httpx.Client, odd_root: OddRoot, cell: Path
) -> None:
    def post(number: int) -> str:
        fields: dict[str, Any] = {"model": odd_root.best, "alpha": number / 100}
        return str(sound(post_image(odd, cell, **fields)).headers["content-location"])

    wanted, other = post(50), post(51)
    for number in range(52, 64):
        post(number)
        sound(odd.get(wanted))
    assert_problem(odd.get(other), "explanation-not-found")


def test_other_methods_are_refused(http: httpx.Client) -> None:
    response = http.delete(f"{EXPLANATIONS}/{'0' * 64}")
    assert_problem(response, "method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD"


def test_numbers_after_a_picture_are_those_of_numbers_at_once(
    http: httpx.Client, cell: Path
) -> None:
    """A picture needs no pass without CLAHE; JSON of the same digest makes up for it, once."""
    place = sound(post_image(http, cell, model=CB)).headers["content-location"]
    later = facts(http.get(place, headers=JSON))
    at_once = facts(post_image(http, cell, headers=JSON, model=CB))
    assert later["digest"] == at_once["digest"]
    assert later["unenhanced"]["name"] == at_once["unenhanced"]["name"]
    assert later["unenhanced"]["probability"] == pytest.approx(
        at_once["unenhanced"]["probability"], abs=1e-4
    )
    passes = metric(http, "gradcam_batch_size_count")
    sound(http.get(place, headers=JSON))
    assert metric(http, "gradcam_batch_size_count") == passes
