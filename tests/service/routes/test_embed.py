"""Who may frame and load what, as headers say it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.app import create_app
from service.pages.files import static_files
from service.settings import Settings
from tests.service.asking import as_client

PORTAL = "https://portal.example"
OTHER = "http://localhost:9000"
VIEWER = "/embed/viewer?experiment=e&image=i.jpg"
FILES = static_files()
ELEMENT = [
    "/static/cam-viewer.js",
    *(f"/static/{module}" for module in FILES.modules("cam-viewer.js")),
    *(f"/static/{FILES.version}/{module}" for module in FILES.modules("cam-viewer.js")),
]


def client(data: Path, **settings: str) -> httpx.Client:
    app = create_app(Settings.model_validate({"data": data, **settings}))
    return as_client(TestClient(app, base_url="http://localhost"))


@pytest.fixture(scope="module")
def embedding(sample_run: Path) -> httpx.Client:
    """A client of a service with two portals, under a path."""
    lists = {"frame_ancestors": f"{PORTAL}, {OTHER}", "cors_origins": PORTAL}
    return client(sample_run, **lists, root_path="/tools/gradcam", auth="off")


def ancestors(answer: httpx.Response) -> str:
    policy = answer.headers["Content-Security-Policy"]
    (directive,) = [rule.strip() for rule in policy.split(";") if "frame-ancestors" in rule]
    return directive


def test_the_page_for_frames_names_its_ancestors(embedding: httpx.Client) -> None:
    answer = embedding.get(VIEWER)
    assert answer.status_code == 200
    assert ancestors(answer) == f"frame-ancestors {PORTAL} {OTHER}"
    assert "X-Frame-Options" not in answer.headers
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert f'data-ancestors="{PORTAL} {OTHER}"' in answer.text
    address = f"/tools/gradcam/static/{static_files().version}/pages/embed.js"
    assert f'src="{address}"' in answer.text
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/docs", "/v1/models", "/static/pages/embed.js", "/none"]
)
def test_all_else_stays_out_of_frames(embedding: httpx.Client, path: str) -> None:
    answer = embedding.get(path)
    assert ancestors(answer) == "frame-ancestors 'none'"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_without_the_setting_nobody_frames_it(sample_run: Path) -> None:
    answer = client(sample_run, auth="off").get(VIEWER)
    assert ancestors(answer) == "frame-ancestors 'none'"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("file", ELEMENT)
def test_the_element_is_for_other_origins_by_cors(embedding: httpx.Client, file: str) -> None:
    allowed = embedding.get(file, headers={"Origin": PORTAL})
    assert allowed.headers["Access-Control-Allow-Origin"] == PORTAL
    assert allowed.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    refused = embedding.get(file, headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in refused.headers
    for answer in (allowed, refused, embedding.get(file)):
        assert sorted(answer.headers["Vary"].split(", ")) == ["Accept-Encoding", "Origin"]
    unchanged = {"Origin": PORTAL, "If-None-Match": allowed.headers["ETag"]}
    again = embedding.get(file, headers=unchanged)
    assert again.status_code == 304
    assert again.headers["Access-Control-Allow-Origin"] == PORTAL


@pytest.mark.parametrize("setting", ["frame_ancestors", "cors_origins"])
@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "https://*.example", "https://a.example/", "https://A.example"),
        *("https://a.example:443", "http://a.example:80", "ftp://a.example", "https://a;x"),
    ],
)
def test_what_is_no_exact_origin_is_refused_at_the_start(origin: str, setting: str) -> None:
    with pytest.raises(ValidationError, match="no exact origin"):
        Settings.model_validate({setting: origin})


def test_exact_origins_are_taken() -> None:
    origins = "http://a.example:8080 https://a.example:80 http://[::1]:9000 http://10.0.0.1"
    settings = Settings.model_validate({"frame_ancestors": origins})
    assert settings.frame_ancestors == tuple(origins.split())
