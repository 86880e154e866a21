"""Who may call, from where and how much; what every answer carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from processes.serving import Server
from tests.service.asking import (
    CB,
    EXPLANATIONS,
    JSON,
    LIFECYCLE,
    RING,
    assert_problem,
    facts,
    logged,
    post_image,
    sound,
)
from tests.service.conftest import BURNT_KEY, ORIGIN, PLAIN_KEY, REQUESTS_A_MINUTE

WITH_KEY = {"X-API-Key": PLAIN_KEY}
SECURITY_HEADERS = {
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


@pytest.fixture(scope="module")
def guarded(secured: Server) -> Iterator[httpx.Client]:
    with secured.client() as client:
        yield client


def test_each_key_lets_in_by_header_or_as_bearer(
    guarded: httpx.Client, hashed_key: tuple[str, str]
) -> None:
    for key in (PLAIN_KEY, hashed_key[0]):
        sound(guarded.get("/v1/models", headers={"X-API-Key": key}))
        sound(guarded.get("/v1/models", headers={"Authorization": f"Bearer {key}"}))
        sound(guarded.get("/v1/models", headers={"Authorization": f"bearer  {key}"}))


@pytest.mark.parametrize("path", ["/v1/experiments", f"/v1/models/{CB}", "/metrics"])
def test_without_a_key_nothing_below_v1_answers(guarded: httpx.Client, path: str) -> None:
    response = guarded.get(path)
    assert_problem(response, "api-key-required")
    assert "Bearer" in response.headers["www-authenticate"]


def test_an_upload_without_a_key_is_refused(guarded: httpx.Client, cell: Path) -> None:
    assert_problem(post_image(guarded, cell), "api-key-required")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-API-Key": "wrong"}, "api-key-invalid"),
        ({"X-API-Key": ""}, "api-key-invalid"),
        ({"X-API-Key": PLAIN_KEY.upper()}, "api-key-invalid"),
        ({"X-API-Key": f"{PLAIN_KEY},"}, "api-key-invalid"),
        ({"Authorization": "Bearer wrong"}, "api-key-invalid"),
        ({"Authorization": f"Basic {PLAIN_KEY}"}, "api-key-required"),
        ({"Authorization": "Bearer"}, "api-key-required"),
        ({"Authorization": PLAIN_KEY}, "api-key-required"),
    ],
)
def test_a_wrong_key_is_refused(guarded: httpx.Client, headers: dict[str, str], code: str) -> None:
    assert_problem(guarded.get("/v1/models", headers=headers), code)


def test_the_hash_of_a_key_is_no_key(guarded: httpx.Client, hashed_key: tuple[str, str]) -> None:
    for form in (hashed_key[1], hashed_key[1].removeprefix("sha256:")):
        assert_problem(guarded.get("/v1/models", headers={"X-API-Key": form}), "api-key-invalid")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/docs/docs.js", "/openapi.json"])
def test_probes_and_documentation_need_no_key(guarded: httpx.Client, path: str) -> None:
    sound(guarded.get(path))


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/readyz"])
def test_whoever_has_no_key_is_told_nothing_of_the_data_root(
    guarded: httpx.Client, path: str
) -> None:
    text = sound(guarded.get(path)).text
    assert "experiment_synthetic" not in text
    assert "cell_0" not in text


def test_keys_are_neither_logged_nor_answered(secured: Server, guarded: httpx.Client) -> None:
    guarded.get("/v1/models", headers=WITH_KEY)
    guarded.get("/v1/models", headers={"X-API-Key": "a-wrong-key"})
    log = secured.log_file.read_text()
    assert PLAIN_KEY not in log
    assert "a-wrong-key" not in log


def test_an_allowed_origin_may_read_the_answer_and_its_headers(guarded: httpx.Client) -> None:
    question = {"experiment": LIFECYCLE, "image": RING}
    headers = {**WITH_KEY, "Origin": ORIGIN}
    response = sound(guarded.post(EXPLANATIONS, json=question, headers=headers))
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert sorted(response.headers["vary"].split(", ")) == ["Accept", "Origin"]
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    sent = {name for name in response.headers if name.startswith("x-gradcam-")}
    wanted = {"content-location", "etag", "x-request-id", "retry-after", "server-timing"}
    assert (sent | wanted) <= set(exposed)
    assert "access-control-allow-credentials" not in response.headers


def test_refusals_can_be_read_by_an_allowed_origin(guarded: httpx.Client) -> None:
    response = guarded.get("/v1/models", headers={"Origin": ORIGIN})
    assert_problem(response, "api-key-required")
    assert response.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", f"{ORIGIN}.evil.example", "https://xportal.example", "null", "*"],
)
def test_other_origins_are_not_allowed(guarded: httpx.Client, origin: str) -> None:
    response = guarded.get("/healthz", headers={"Origin": origin})
    assert "access-control-allow-origin" not in response.headers


def preflight(client: httpx.Client, origin: str, method: str = "POST") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "X-API-Key, Content-Type",
    }
    return client.options(EXPLANATIONS, headers=headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_a_preflight_needs_no_key_and_allows_what_pages_send(
    guarded: httpx.Client, method: str
) -> None:
    response = sound(preflight(guarded, ORIGIN, method))
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert method in response.headers["access-control-allow-methods"].split(", ")
    assert "x-api-key" in response.headers["access-control-allow-headers"].lower()


def test_a_preflight_from_elsewhere_is_refused(guarded: httpx.Client) -> None:
    response = preflight(guarded, "https://evil.example")
    assert response.status_code == 400
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["content-type"] == "application/problem+json"


def test_a_preflights_answer_is_an_answer_like_others(guarded: httpx.Client) -> None:
    for origin in (ORIGIN, "https://evil.example"):
        assert_has_security_headers(preflight(guarded, origin))


def assert_has_security_headers(response: httpx.Response) -> None:
    for name, part in SECURITY_HEADERS.items():
        assert part in response.headers.get(name, ""), name
    assert response.headers.get("x-request-id")
    assert "server" not in response.headers


def test_every_kind_of_answer_has_the_security_headers(http: httpx.Client, cell: Path) -> None:
    posted = post_image(http, cell)
    tag, place = posted.headers["etag"], posted.headers["content-location"]
    answers = [
        posted,
        http.get(place, headers={"If-None-Match": tag}),
        http.get("/healthz"),
        http.get("/metrics"),
        http.get("/docs"),
        http.get("/docs/swagger-ui.css"),
        http.get("/openapi.json"),
        http.get("/v1/models"),
        http.get("/nowhere"),
        http.put("/v1/models"),
        post_image(http, b"no image"),
        post_image(http, cell, colour="red"),
    ]
    assert {answer.status_code for answer in answers} == {200, 304, 404, 405, 422}
    for answer in answers:
        assert_has_security_headers(answer)


def test_a_request_id_goes_in_through_the_log_and_out(common: Server, http: httpx.Client) -> None:
    response = http.get("/v1/models", headers={"X-Request-ID": "lab-7.4_x"})
    assert response.headers["x-request-id"] == "lab-7.4_x"
    line = logged(common, request_id="lab-7.4_x")
    assert (line["event"], line["status"]) == ("request", 200)


@pytest.mark.parametrize("given", ["", "with blank", "a" * 65, "x\ty", 'q"', "{}"])
def test_a_request_id_that_could_be_misread_is_replaced(http: httpx.Client, given: str) -> None:
    first, second = (http.get("/healthz", headers={"X-Request-ID": given}) for _ in range(2))
    ids = {first.headers["x-request-id"], second.headers["x-request-id"]}
    assert len(ids) == 2
    assert given not in ids


def test_the_proxys_path_stands_before_every_link(guarded: httpx.Client) -> None:
    question = {"experiment": LIFECYCLE, "image": RING}
    response = guarded.post(EXPLANATIONS, json=question, headers={**WITH_KEY, **JSON})
    links = facts(response)["links"]
    listed = facts(guarded.get("/v1/experiments", headers=WITH_KEY))["experiments"][0]["links"]
    page = facts(guarded.get(f"/v1/experiments/{LIFECYCLE}/images?limit=1", headers=WITH_KEY))
    model = facts(guarded.get(f"/v1/models/{CB}", headers=WITH_KEY))
    places = [
        response.headers["content-location"],
        *(
            operation
            for offered in (links, listed, page["links"], model["links"])
            for operation in offered.values()
        ),
    ]
    assert all(place.startswith("/tools/gradcam/v1/") for place in places), places
    again = places[0].removeprefix("/tools/gradcam")
    assert facts(guarded.get(again, headers={**WITH_KEY, **JSON}))["links"] == links
    assert "/tools/gradcam/docs/docs.js" in sound(guarded.get("/docs")).text
    assert facts(guarded.get("/openapi.json"))["servers"] == [{"url": "/tools/gradcam"}]


def test_the_rate_is_limited_for_each_key_by_itself(guarded: httpx.Client) -> None:
    burnt = {"X-API-Key": BURNT_KEY}
    codes = []
    for _ in range(REQUESTS_A_MINUTE + 1):
        response = guarded.get(f"/v1/models/{CB}", headers=burnt)
        codes.append(response.status_code)
    body = assert_problem(response, "rate-limited")
    assert set(codes) <= {200, 429}
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert response.headers["retry-after"] in body["detail"]
    sound(guarded.get(f"/v1/models/{CB}", headers=WITH_KEY))
    sound(guarded.get("/healthz", headers=burnt))
