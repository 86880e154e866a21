"""Paths that lead, or try to lead, out of the data root: refused, and nothing is told."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service.http.problems import MEDIA_TYPE
from tests.service.asking import EXPLANATIONS, JSON, assert_tells_nothing, facts
from tests.service.odd_root import CROPS, MODEL, OddRoot
from tests.service.raw_http import get

SECRETS = ("root:x:0", "hidden", "cls_secret", "experiment_secret")
REFUSED = {403, 404, 422}

ESCAPES = [
    "..",
    "../",
    "../outside",
    "../../../../../../../../etc/passwd",
    "a/../../outside/experiment",
    "./../outside",
    "a/..",
    "/etc/passwd",
    "//etc/passwd",
    "///etc/passwd",
    "file:///etc/passwd",
    "\\etc\\passwd",
    "..\\..\\etc\\passwd",
    "C:\\Windows\\win.ini",
    "C:/Windows/win.ini",
    "\\\\host\\share",
    "%2e%2e/outside",
    "%2e%2e%2foutside",
    "..%2foutside",
    "%2fetc%2fpasswd",
    "%252e%252e%252foutside",
    "%25252e%25252e/outside",
    "%5c..%5coutside",
    "%00",
    "a\0.jpg",
    "a.jpg%00.png",
    "a\nb",
    "a\r\nX-Injected: yes",
    "\x7f",
    "~",
    "~root/.ssh/id_rsa",
    "~/x",
    "\u2025/outside",
    "\uff0e\uff0e/outside",
    "\uff0fetc\uff0fpasswd",
    "..\u2215outside",
    "..;/outside",
    ".../...//outside",
    "a/" * 490 + "b",
    "x" * 256,
    "proc/self/environ",
    ".",
    " ",
    "*",
    "**/*.jpg",
]


def assert_refused(response: httpx.Response) -> None:
    assert response.status_code in REFUSED, (response.status_code, response.text[:300])
    assert response.headers["content-type"] == MEDIA_TYPE
    assert_silent(response.text)


def assert_silent(text: str) -> None:
    assert_tells_nothing(text)
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("field", ["image", "experiment", "model"])
@pytest.mark.parametrize(
    "path", [*ESCAPES, "a" * 5000, "\ud800"], ids=lambda path: ascii(path)[:30]
)
def test_a_json_body_reaches_nothing_outside(
    odd: httpx.Client, odd_root: OddRoot, field: str, path: str
) -> None:
    body = {"experiment": odd_root.odd, "image": f"{CROPS}/test/ring/x.jpg", field: path}
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    assert_refused(odd.post(EXPLANATIONS, content=content, headers=headers))
    if field == "image":
        content = json.dumps({"image": path}).encode()
        assert_refused(odd.post(EXPLANATIONS, content=content, headers=headers))


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: ascii(path)[:30])
@pytest.mark.parametrize(
    "route", ["/v1/experiments/{}", "/v1/experiments/{}/images", "/v1/models/{}"]
)
def test_an_address_reaches_nothing_outside(odd: httpx.Client, route: str, path: str) -> None:
    forms = {
        quote(path, safe=""),
        quote(path, safe="/%"),
        quote(path, safe="/").replace(".", "%2e"),
        quote(quote(path, safe=""), safe=""),
    }
    for form in forms:
        answer = get(str(odd.base_url), route.format(form))
        listing = answer.status == 200 and route == "/v1/experiments/{}" and form in {"", "."}
        assert listing or answer.status in REFUSED, (form, answer)
        assert_silent(answer.body.decode())
        assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    "address",
    [
        "/../etc/passwd",
        "/v1/../../etc/passwd",
        "/docs/../routes/docs.py",
        "/docs/..%2f..%2froutes%2fdocs.py",
        "/docs/%2e%2e/app.py",
        "/docs//etc/passwd",
        "/docs/docs.js%00.css",
        "/static/../routes/docs.py",
        "/static/..%2froutes%2fdocs.py",
        "/static/.docs.js",
        "/v1/explanations/../../../etc/passwd",
        "/v1/explanations/%2e%2e%2f%2e%2e",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/experiments/" + "a/" * 2000,
        "/v1/models/" + "a" * 5000,
    ],
)
def test_other_addresses_lead_nowhere(odd: httpx.Client, address: str) -> None:
    answer = get(str(odd.base_url), address)
    assert answer.status in {*REFUSED, 405}, answer
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert_silent(answer.body.decode())
    assert b"import" not in answer.body


@pytest.mark.parametrize(
    "image",
    [
        f"{CROPS}/val/linked.jpg",
        f"{CROPS}/val/linked_folder/cell_001.jpg",
        f"{CROPS}/train/hidden/cell_001.jpg",
        "passwd",
        "loop",
        "loop/x.jpg",
    ],
)
def test_a_link_out_of_the_root_is_not_followed(
    odd: httpx.Client, odd_root: OddRoot, image: str
) -> None:
    for body in (
        {"experiment": odd_root.odd, "model": MODEL, "image": image},
        {"image": f"{odd_root.odd}/{image}", "model": odd_root.best},
    ):
        response = odd.post(EXPLANATIONS, json=body)
        assert_refused(response)


@pytest.mark.parametrize(
    "body",
    [
        {"experiment": "{linked}"},
        {"experiment": "{linked}", "image": f"{CROPS}/test/hidden/cell_001.jpg"},
        {
            "experiment": "{odd}",
            "model": "cls_linked",
            "image": f"{CROPS}/test/ring/cell 001+ü#.jpg",
        },
        {"model": "{linked}/cls_secret", "image": "{odd}/x.jpg"},
    ],
)
def test_linked_experiments_and_models_are_not_used(
    odd: httpx.Client, odd_root: OddRoot, body: dict[str, Any]
) -> None:
    linked = odd_root.odd.replace("experiment_odd", "experiment_linked")
    filled = {
        k: v.replace("{linked}", linked).replace("{odd}", odd_root.odd) for k, v in body.items()
    }
    response = odd.post(EXPLANATIONS, json=filled)
    assert response.status_code in REFUSED


def test_listings_hold_nothing_from_outside(odd: httpx.Client, odd_root: OddRoot) -> None:
    images = odd.get(f"/v1/experiments/{odd_root.odd}/images")
    for response in (odd.get("/v1/experiments"), odd.get("/v1/models"), images):
        assert facts(response)
        assert_silent(response.text)
        assert "linked" not in response.text


def test_what_is_listed_can_be_had(odd: httpx.Client) -> None:
    for experiment in facts(odd.get("/v1/experiments"))["experiments"]:
        assert facts(odd.get(experiment["links"]["self"])) == experiment
        assert facts(odd.get(experiment["links"]["images"]))["total"] == experiment["images"]


def test_a_file_name_that_is_a_path_stays_a_name(odd: httpx.Client, odd_root: OddRoot) -> None:
    image = (odd_root.root / odd_root.sound / CROPS / "test/ring/cell_001.jpg").read_bytes()
    files = {"image": ("../../../etc/cron.d/evil.jpg", image)}
    response = odd.post(EXPLANATIONS, files=files, headers=JSON)
    assert "/" not in response.headers["content-disposition"].split("''")[1]
    assert facts(response)["digest"]
