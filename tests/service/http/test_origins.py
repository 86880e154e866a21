"""Pages of other origins are kept out, by what browsers say of them; other programs are let in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from processes.serving import Server, running
from service.http.middleware import RequestContext
from service.http.origins import PageGuard, TrustedPages
from service.watching.metrics import Metrics
from tests.service.asking import (
    CB,
    EXPLANATIONS,
    LIFECYCLE,
    RING,
    as_client,
    assert_problem,
    post_image,
    sound,
)
from tests.service.conftest import ORIGIN, PLAIN_KEY

FOREIGN = "https://evil.example"
NAMED = TrustedPages({"cam.lab.example"}, {ORIGIN}, any_host=False)
BY_KEY = TrustedPages((), {ORIGIN}, any_host=True)
API = "/v1/jobs"

HOSTS = {
    "localhost": True,
    "LocalHost:8000": True,
    "localhost.": True,
    "cam.localhost:8000": True,
    "127.0.0.1:8000": True,
    "[::1]:8000": True,
    "192.0.2.7": True,
    "cam.lab.example": True,
    "CAM.lab.example:443": True,
    "evil.example": False,
    "cam.lab.example.evil.example": False,
    "evil-cam.lab.example": False,
    "localhost.evil.example": False,
    "127.0.0.1.evil.example:8000": False,
    "localhost:8000:evil.example": False,
    "evil.example@localhost": False,
    "": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_known_by_its_name_or_in_numbers(host: str) -> None:
    assert NAMED.knows_host(host) is HOSTS[host]
    assert BY_KEY.knows_host(host)


NAVIGATED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
LOADED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
OWN = "http://localhost:8000"
# (method, path, headers, whether it is let in)
REQUESTS = {
    "a program": ("POST", API, {}, True),
    "the user's own page": ("POST", API, {"origin": OWN, "sec-fetch-site": "same-origin"}, True),
    "behind a proxy": ("POST", API, {"origin": FOREIGN, "sec-fetch-site": "same-origin"}, True),
    "its own page, plain": ("POST", API, {"origin": OWN}, True),
    "its name at the proxy": ("POST", API, {"origin": "https://cam.lab.example"}, True),
    "another port there": ("POST", API, {"origin": "https://cam.lab.example:81"}, False),
    "an origin that may": ("POST", API, {"origin": ORIGIN, "sec-fetch-site": "cross-site"}, True),
    "a foreign page": ("POST", API, {"origin": FOREIGN, "sec-fetch-site": "cross-site"}, False),
    "a foreign page, old browser": ("POST", API, {"origin": FOREIGN}, False),
    "another port": (
        "POST",
        API,
        {"origin": "http://localhost:9", "sec-fetch-site": "same-site"},
        False,
    ),
    "no origin to tell": ("POST", API, {"origin": "null"}, False),
    "a file's page": ("POST", API, {"origin": "file://"}, False),
    "an extension's": ("DELETE", API, {"origin": "chrome-extension://abc"}, False),
    "without origin": ("POST", API, {"sec-fetch-site": "cross-site"}, False),
    "read by a foreign page": ("GET", "/v1/models", {"origin": FOREIGN}, False),
    "shown by a foreign page": ("GET", "/v1/models", LOADED, False),
    "a link": ("GET", "/jobs", {**NAVIGATED, "sec-fetch-dest": "document"}, True),
    "a form": ("POST", API, {**NAVIGATED, "sec-fetch-dest": "document"}, False),
    "a frame": ("GET", "/jobs", {**NAVIGATED, "sec-fetch-dest": "iframe"}, False),
    "the viewer's frame": ("GET", "/embed/viewer", {**NAVIGATED, "sec-fetch-dest": "iframe"}, True),
    "a public file": ("GET", "/static/cam-viewer.js", LOADED, True),
    "a public file in a folder": ("GET", "/static/viewer/drawing/maps.js", LOADED, True),
    "of a version": ("GET", "/static/0123456789ab/viewer/drawing/maps.js", LOADED, True),
    "no public file": ("GET", "/static/../v1/models", LOADED, False),
    "none in a folder": ("GET", "/static/viewer/../../v1/models", LOADED, False),
    "another site's preflight": (
        "OPTIONS",
        API,
        {"origin": FOREIGN, "access-control-request-method": "POST"},
        True,  # CORS answers it: no
    ),
    "no preflight": ("OPTIONS", API, {"origin": FOREIGN}, False),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("trusted", [NAMED, TrustedPages({"cam.lab.example"}, {ORIGIN}, True)])
def test_who_may_ask(name: str, trusted: TrustedPages) -> None:
    method, path, headers, allowed = REQUESTS[name]
    refused = trusted.refusal(method, path, Headers({"host": "localhost:8000", **headers}))
    assert (refused is None) is allowed
    assert refused is None or refused.code == "cross-site-request"


def test_each_of_several_hosts_must_be_known() -> None:
    raw = [(b"host", b"localhost"), (b"host", b"evil.example")]
    refused = NAMED.refusal("GET", "/", Headers(raw=raw))
    assert refused is not None
    assert refused.code == "host-not-allowed"


@pytest.mark.parametrize("path", ["/", "/v1/models", "/metrics", "/docs", "/healthz"])
def test_another_name_is_refused_everywhere(http: httpx.Client, path: str) -> None:
    body = assert_problem(http.get(path, headers={"Host": "evil.example"}), "host-not-allowed")
    assert "GRADCAM_HOSTS" in body["detail"]


def test_a_foreign_page_gets_nothing_computed(http: httpx.Client, cell: Path) -> None:
    for headers in ({"Origin": FOREIGN}, {"Sec-Fetch-Site": "cross-site"}):
        assert_problem(post_image(http, cell, model=CB, headers=headers), "cross-site-request")
        assert_problem(http.get("/v1/models", headers=headers), "cross-site-request")
    sound(post_image(http, cell, model=CB))


@pytest.mark.parametrize("given", ["text/plain", "application/x-www-form-urlencoded", "", None])
@pytest.mark.parametrize("path", ["/v1/view-tokens", EXPLANATIONS])
def test_a_body_that_is_not_called_json_is_not_read_as_such(
    http: httpx.Client, path: str, given: str | None
) -> None:
    body = json.dumps({"experiment": LIFECYCLE, "image": RING}).encode()
    headers = {} if given is None else {"Content-Type": given}
    assert_problem(http.post(path, content=body, headers=headers), "unsupported-media-type")


def test_with_keys_and_no_names_any_name_will_do(secured: Server) -> None:
    headers = {"X-API-Key": PLAIN_KEY, "Host": "cam.lab.example"}
    with secured.client() as client:
        sound(client.get("/v1/models", headers=headers))
        refused = client.get("/v1/models", headers={**headers, "Origin": FOREIGN})
    assert_problem(refused, "cross-site-request")


@pytest.fixture(scope="module")
def limited(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service without keys that answers each address three times a minute."""
    settings = {"rate_limit": "3/minute", "hosts": "cam.lab.example"}
    with running(sample_run, tmp_path_factory.mktemp("limited"), **settings) as started:
        yield started


def test_a_caller_cannot_say_that_it_is_another(limited: Server) -> None:
    with limited.client() as client:
        answers = [
            client.get("/v1/models", headers={"X-Forwarded-For": f"192.0.2.{number}"})
            for number in range(4)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert client.get("/healthz", headers={"Host": "cam.lab.example"}).status_code == 200


@pytest.mark.system
def test_a_named_proxy_is_believed(sample_run: Path, tmp_path: Path) -> None:
    settings = {"rate_limit": "1/minute", "trusted_proxies": "192.0.2.0/24,127.0.0.1"}
    with running(sample_run, tmp_path, **settings) as server, server.client() as client:
        for address, status in (
            ("198.51.100.1", 200),
            ("198.51.100.2", 200),
            ("198.51.100.1", 429),
        ):
            # What the caller wrote itself stands before what the proxy adds.
            given = {"X-Forwarded-For": f"203.0.113.9, {address}"}
            assert client.get("/v1/models", headers=given).status_code == status


def test_a_service_for_everybody_says_that_it_knows_no_name(open_to_all: Server) -> None:
    assert any("GRADCAM_HOSTS" in line["event"] for line in open_to_all.log())


def test_one_on_loopback_says_nothing_of_it(common: Server) -> None:
    assert not any("GRADCAM_HOSTS" in line["event"] for line in common.log())


def guarded(metrics: Metrics, root_path: str = "") -> httpx.Client:
    """A small application behind the guard, in this process."""

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["path"])(scope, receive, send)

    guard = PageGuard(
        inside, TrustedPages(("lab.example",), (), any_host=False), metrics, root_path
    )
    around = RequestContext(guard, metrics, root_path)
    return as_client(TestClient(around, base_url="http://localhost"))


def test_what_a_page_may_not_ask_is_a_problem_and_counted() -> None:
    metrics = Metrics()
    client = guarded(metrics)
    assert client.get("/v1/models").text == "/v1/models"
    headers = {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site", "X-Request-ID": "r1"}
    refused = client.post("/v1/models", headers=headers)
    body = refused.json()
    assert (body["code"], body["instance"], body["request_id"]) == (
        "cross-site-request",
        "/v1/models",
        "r1",
    )
    assert body["detail"] == (
        "a web page of another origin sent this; a page that may is named in "
        "GRADCAM_CORS_ORIGINS, or in GRADCAM_FRAME_ANCESTORS for frames"
    )
    assert client.get("/", headers={"Host": "evil.example"}).json()["code"] == "host-not-allowed"
    name = "gradcam_rejected_requests_total"
    for code in ("cross-site-request", "host-not-allowed"):
        assert metrics.registry.get_sample_value(name, {"code": code}) == 1


@pytest.mark.parametrize("root_path", ["", "/tools/gradcam"])
def test_a_page_may_be_framed_below_whatever_path(root_path: str) -> None:
    client = guarded(Metrics(), root_path)
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    framed = {**headers, "Sec-Fetch-Dest": "iframe"}
    assert client.get(f"{root_path}/embed/viewer", headers=framed).status_code == 200
    assert client.get(f"{root_path}/", headers=framed).status_code == 403
    opened = {**headers, "Sec-Fetch-Dest": "document"}
    assert client.get(f"{root_path}/", headers=opened).status_code == 200


def test_what_is_no_request_is_handed_on_as_it_is() -> None:
    came: list[object] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        came.extend((scope, receive, send))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        assert message

    scope: Scope = {"type": "lifespan"}
    guard = PageGuard(inside, TrustedPages((), (), any_host=False), Metrics(), "/tools")
    asyncio.run(guard(scope, receive, send))
    assert came == [scope, receive, send]
