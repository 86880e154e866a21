"""View tokens of a real service: what they open, and that they open nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from processes.serving import running
from service.explanations.view_tokens import ViewScope, ViewTokens
from tests.service.asking import documented_body

KEY = "key-of-the-portal"
OTHER_KEY = "key-of-another"
SECRET = "a-secret-of-the-tests-only"
RUN = "optA_20260115_090000/experiments"
EXPERIMENT = f"{RUN}/experiment_synthetic_lifecycle"
OTHER = f"{RUN}/experiment_synthetic_species"
IMAGE = "crops_gt_crops/crops/test/ring/cell_001.jpg"
MODEL = "cls_mobilenet_v3_small_focal"
WANTED = {"experiment": EXPERIMENT, "image": IMAGE}


@pytest.fixture(scope="module")
def portal(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client without a key, of a service with two."""
    scratch = tmp_path_factory.mktemp("portal")
    keys = f"{KEY} {OTHER_KEY}"
    started = running(sample_run.parent, scratch, api_keys=keys, view_secret=SECRET)
    with started as server, server.client() as client:
        yield client


def made(client: httpx.Client, **scope: object) -> dict[str, str]:
    """The header with a token of that scope."""
    body = {"experiment": EXPERIMENT, **scope}
    answer = client.post("/v1/view-tokens", json=body, headers={"X-API-Key": KEY})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_token_shows_its_experiment_again_and_beneath(portal: httpx.Client) -> None:
    token = made(portal)
    first = portal.post("/v1/explanations", json=WANTED, headers=token)
    assert first.status_code == 200, first.text
    address = first.headers["Content-Location"]
    assert portal.get(address, headers=token).content == first.content
    beneath = portal.get(f"{address}/image", headers=token)
    assert beneath.headers["Content-Type"] == "image/png"
    assert portal.get(address, headers=made(portal)).status_code == 200  # renewed


def test_a_token_says_what_was_asked_for_and_until_when(portal: httpx.Client) -> None:
    tokens = ViewTokens(SECRET)
    scopes = []
    for body, seconds in (
        ({"experiment": EXPERIMENT}, 600),
        ({"experiment": EXPERIMENT, "model": MODEL, "image": IMAGE, "seconds": 60.0}, 60),
    ):
        earliest = int(time.time())
        answer = portal.post("/v1/view-tokens", json=body, headers={"X-API-Key": KEY})
        latest = int(time.time())
        assert answer.status_code == 201, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert sorted(answer.json()) == ["expires_at", "token"]
        expires_at = datetime.fromisoformat(answer.json()["expires_at"])
        assert earliest + seconds <= expires_at.timestamp() <= latest + seconds
        scopes.append(tokens.read(answer.json()["token"]))
    caller = scopes[0].caller
    assert caller
    assert scopes == [
        ViewScope(caller, EXPERIMENT),
        ViewScope(caller, EXPERIMENT, MODEL, IMAGE),
    ]
    by_other = portal.post(
        "/v1/view-tokens", json={"experiment": EXPERIMENT}, headers={"X-API-Key": OTHER_KEY}
    )
    assert tokens.read(by_other.json()["token"]).caller != caller


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"experiment": ""},
        {"experiment": EXPERIMENT, "image": ""},
        {"experiment": EXPERIMENT, "caller": "01234567"},
        {"experiment": 501 * "x"},
        {"experiment": EXPERIMENT, "image": 1001 * "x"},
    ],
)
def test_what_is_no_scope_is_refused(portal: httpx.Client, body: dict[str, str]) -> None:
    answer = portal.post("/v1/view-tokens", json=body, headers={"X-API-Key": KEY})
    assert code(answer) == (422, "invalid-request")


def test_words_in_the_query_are_refused(portal: httpx.Client) -> None:
    answer = portal.post(
        "/v1/view-tokens?seconds=60",
        json={"experiment": EXPERIMENT},
        headers={"X-API-Key": KEY},
    )
    assert code(answer) == (422, "invalid-request")


def test_the_example_of_the_document_makes_a_token(portal: httpx.Client) -> None:
    by_key = {"X-API-Key": KEY}
    document = portal.get("/openapi.json", headers=by_key).json()
    example = documented_body(document, "/v1/view-tokens")["example"]
    answer = portal.post("/v1/view-tokens", json=example, headers=by_key)
    assert answer.status_code == 201, answer.text


def test_an_answer_of_another_scope_is_not_found(portal: httpx.Client) -> None:
    species = {"experiment": OTHER}
    by_key = portal.post("/v1/explanations", json=species, headers={"X-API-Key": KEY})
    address = by_key.headers["Content-Location"]
    for path in (address, f"{address}/image"):
        answer = portal.get(path, headers=made(portal))
        assert code(answer) == (404, "explanation-not-found")


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        ({}, {"experiment": OTHER}),
        ({}, {"image": f"{EXPERIMENT}/{IMAGE}"}),
        ({}, {**WANTED, "experiment": f"{EXPERIMENT}/"}),
        ({}, {**WANTED, "experiment": f"{OTHER}/../experiment_synthetic_lifecycle"}),
        ({}, {**WANTED, "experiment": EXPERIMENT.replace("/", "%2F")}),
        ({"image": IMAGE}, {"experiment": EXPERIMENT}),
        ({"image": IMAGE}, {**WANTED, "image": f"./{IMAGE}"}),
        ({"model": MODEL}, WANTED),
        ({"model": MODEL}, {**WANTED, "model": "cls_mobilenet_v3_small_cb"}),
    ],
)
def test_more_than_the_scope_is_refused(
    portal: httpx.Client, scope: dict[str, str], wanted: dict[str, str]
) -> None:
    answer = portal.post("/v1/explanations", json=wanted, headers=made(portal, **scope))
    assert code(answer) == (403, "view-token-scope")


@pytest.mark.parametrize("leading", ["../experiment_synthetic_species/", "/", "%2e%2e/"])
def test_images_stay_below_the_experiment(portal: httpx.Client, leading: str) -> None:
    wanted = {**WANTED, "image": leading + IMAGE}
    answer = portal.post("/v1/explanations", json=wanted, headers=made(portal))
    assert code(answer) == (403, "path-outside-root")


def test_models_stay_within_the_experiment(portal: httpx.Client) -> None:
    wanted = {**WANTED, "model": f"{OTHER}/cls_mobilenetv3_small_050_cb"}
    answer = portal.post("/v1/explanations", json=wanted, headers=made(portal))
    assert code(answer) == (404, "model-not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/experiments"),
        ("GET", f"/v1/experiments/{EXPERIMENT}/images"),
        ("POST", "/v1/view-tokens"),
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/experiments/x/v1/explanations/" + 64 * "0"),
    ],
)
def test_other_routes_take_no_token(portal: httpx.Client, method: str, path: str) -> None:
    answer = portal.request(method, path, headers=made(portal))
    assert code(answer) == (403, "view-token-scope")


def test_uploads_take_no_token(portal: httpx.Client) -> None:
    answer = portal.post("/v1/explanations", files={"image": b"x"}, headers=made(portal))
    assert code(answer) == (403, "view-token-scope")


def test_a_token_is_taken_from_its_header_only(portal: httpx.Client) -> None:
    token = made(portal)["Authorization"].removeprefix("Bearer ")
    in_query = portal.get(f"/v1/explanations/{64 * '0'}", params={"token": token})
    assert code(in_query) == (401, "api-key-required")
    as_key = portal.post("/v1/explanations", json=WANTED, headers={"X-API-Key": token})
    assert code(as_key) == (401, "api-key-invalid")


def test_a_changed_token_is_refused(portal: httpx.Client) -> None:
    token = made(portal)["Authorization"]
    middle = token.index("gvt_") + 12
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for wrong in (changed, token.rpartition(".")[0], "Bearer gvt_", "Bearer gvt_a.b"):
        answer = portal.post("/v1/explanations", json=WANTED, headers={"Authorization": wrong})
        assert code(answer) == (401, "view-token-invalid")
        assert "WWW-Authenticate" in answer.headers


def test_tokens_of_a_key_that_is_gone_are_refused(portal: httpx.Client) -> None:
    gone = ViewTokens(SECRET).make(ViewScope("01234567", EXPERIMENT), int(time.time()) + 60)
    answer = portal.post(
        "/v1/explanations", json=WANTED, headers={"Authorization": f"Bearer {gone}"}
    )
    assert code(answer) == (401, "view-token-invalid")


@pytest.mark.parametrize("seconds", [59, 3601, "60", 60.5, True])
def test_lifetimes_are_bounded(portal: httpx.Client, seconds: object) -> None:
    body = {"experiment": EXPERIMENT, "seconds": seconds}
    answer = portal.post("/v1/view-tokens", json=body, headers={"X-API-Key": KEY})
    assert code(answer) == (422, "invalid-request")


def test_making_one_needs_a_key(portal: httpx.Client) -> None:
    answer = portal.post("/v1/view-tokens", json={"experiment": EXPERIMENT})
    assert code(answer) == (401, "api-key-required")


@pytest.mark.system
def test_a_token_made_without_keys_is_good_for_nothing_once_there_are_keys(
    portal: httpx.Client, sample_run: Path, tmp_path: Path
) -> None:
    started = running(sample_run.parent, tmp_path, auth="off", view_secret=SECRET)
    with started as server, server.client() as client:
        answer = client.post("/v1/view-tokens", json={"experiment": EXPERIMENT})
        token = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert client.post("/v1/explanations", json=WANTED, headers=token).status_code == 200
    refused = portal.post("/v1/explanations", json=WANTED, headers=token)
    assert code(refused) == (401, "api-key-invalid")


@pytest.mark.system
def test_tokens_count_with_their_key(
    sample_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("limited")
    keys = f"{KEY} {OTHER_KEY}"
    started = running(sample_run.parent, scratch, api_keys=keys, rate_limit="3/hour")
    with started as server, server.client() as client:
        token = made(client)
        address = f"/v1/explanations/{64 * '0'}"
        answers = [client.get(address, headers=token).status_code for _ in range(3)]
        assert answers == [404, 404, 429]
        assert client.get("/v1/models", headers={"X-API-Key": KEY}).status_code == 429
        assert client.get("/v1/models", headers={"X-API-Key": OTHER_KEY}).status_code == 200
