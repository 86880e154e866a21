"""Names that JSON, headers or PNG texts cannot hold: no reason for an internal error."""

from __future__ import annotations

import httpx
import pytest

from tests.service.asking import EXPLANATIONS, JSON, assert_problem, facts, sound
from tests.service.odd_root import CROPS, OddRoot

SANE = f"{CROPS}/test/ring/b.jpg"


def test_a_file_name_that_is_not_utf8_does_not_break_the_list(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    page = facts(odd.get(f"/v1/experiments/{odd_root.unspeakable}/images"))
    assert SANE in [image["path"] for image in page["images"]]


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_file_name_that_is_not_utf8_does_not_break_a_contact_sheet(
    odd: httpx.Client, odd_root: OddRoot, headers: dict[str, str]
) -> None:
    body = {"experiment": odd_root.unspeakable, "model": "cls_plain", "max_images": 4}
    sound(odd.post(EXPLANATIONS, json=body, headers=headers))


def test_class_names_with_control_characters_are_refused(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    body = {"experiment": odd_root.unspeakable, "model": "cls_control", "image": SANE}
    refused = assert_problem(odd.post(EXPLANATIONS, json=body), "checkpoint-invalid")
    assert "class name 'a\\x00b' holds characters that cannot be shown" in refused["detail"]
    facts(odd.get("/v1/models"))


def test_images_of_any_name_have_their_predictions(odd: httpx.Client, odd_root: OddRoot) -> None:
    at = f"/v1/experiments/{odd_root.unspeakable}/predictions"
    page = facts(odd.get(at, params={"model": f"{odd_root.unspeakable}/cls_plain"}))
    assert [prediction["problem"] for prediction in page["predictions"]] == [None] * 4
    body = {"experiment": odd_root.unspeakable, "model": "cls_plain", "image": f"{CROPS}\\test"}
    assert odd.post(EXPLANATIONS, json=body).status_code == 403


def test_models_and_files_of_any_name_do_not_break_answers(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    models = facts(odd.get("/v1/models"))["models"]
    assert f"{odd_root.unspeakable}/cls_plain" in [model["id"] for model in models]
    named = [model for model in models if model["name"] == "cls_mod%E8le"]
    assert [model["problem"] for model in named] == [None]
    body = {"experiment": odd_root.bare, "models": ["vgg"]}
    assert_problem(odd.post("/v1/jobs", json=body), "jobs-unavailable")
