"""Predictions and thumbnails of an experiment's images."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from tests.service.asking import CB, EXPLANATIONS, JSON, LIFECYCLE, RING, assert_problem, sound

PREDICTIONS = f"/v1/experiments/{LIFECYCLE}/predictions"
THUMBNAIL = f"/v1/experiments/{LIFECYCLE}/thumbnails/{RING}"


def test_predictions_are_those_of_explanations(http: httpx.Client) -> None:
    page = sound(http.get(PREDICTIONS, params={"model": CB})).json()
    assert page["model"] == CB
    assert len(page["predictions"]) == page["total"] > 0
    for prediction in page["predictions"]:
        body = {"experiment": LIFECYCLE, "image": prediction["image"], "model": CB}
        told = sound(http.post(EXPLANATIONS, json=body, headers=JSON)).json()
        assert prediction["predicted"] == told["prediction"]["name"]
        assert prediction["probability"] == pytest.approx(
            told["prediction"]["probability"], abs=1e-4
        )
        assert prediction["correct"] == (prediction["predicted"] == prediction["true_class"])


def test_predictions_come_in_the_order_of_the_images(http: httpx.Client) -> None:
    images = sound(http.get(f"/v1/experiments/{LIFECYCLE}/images?split=test")).json()["images"]
    query: dict[str, str | int] = {"model": CB, "offset": 1, "limit": 2}
    page = sound(http.get(PREDICTIONS, params=query)).json()
    assert [prediction["image"] for prediction in page["predictions"]] == [
        image["path"] for image in images[1:3]
    ]


def test_mixed_pages_have_every_image_once_and_all_classes_from_the_start(
    http: httpx.Client,
) -> None:
    query: dict[str, str | int] = {"model": CB, "order": "mixed", "limit": 12}
    pages = [
        sound(http.get(PREDICTIONS, params={**query, "offset": offset})).json()["predictions"]
        for offset in (0, 12, 24, 36)
    ]
    again = sound(http.get(PREDICTIONS, params={**query, "offset": 12})).json()["predictions"]
    listed = sound(http.get(PREDICTIONS, params={"model": CB})).json()["predictions"]
    mixed = [image for page in pages for image in page]
    assert again == pages[1]
    assert sorted(mixed, key=str) == sorted(listed, key=str)
    assert mixed != listed
    assert {prediction["true_class"] for prediction in pages[0]} == {
        image["true_class"] for image in listed
    }


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"model": CB, "limit": 65},
        {"model": CB, "odd": 1},
        {"model": CB, "order": "random"},
    ],
)
def test_a_wrong_query_is_refused(http: httpx.Client, query: dict[str, str]) -> None:
    assert_problem(http.get(PREDICTIONS, params=query), "invalid-request")


def test_a_model_of_another_experiment_is_refused(http: httpx.Client) -> None:
    assert_problem(http.get(PREDICTIONS, params={"model": "elsewhere"}), "model-not-found")


def test_a_thumbnail_fits_and_is_known_again(http: httpx.Client) -> None:
    answer = sound(http.get(THUMBNAIL, params={"size": 32}))
    assert max(Image.open(io.BytesIO(answer.content)).size) == 32
    again = http.get(
        THUMBNAIL, params={"size": 32}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304


def test_a_thumbnail_outside_is_refused(http: httpx.Client) -> None:
    outside = f"/v1/experiments/{LIFECYCLE}/thumbnails/%252e%252e/secret.jpg"
    assert_problem(http.get(outside), "path-outside-root")


def test_a_missing_image_is_told(http: httpx.Client) -> None:
    missing = f"/v1/experiments/{LIFECYCLE}/thumbnails/none.jpg"
    assert_problem(http.get(missing), "image-not-found")
