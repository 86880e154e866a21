"""/docs: self-hosted, and without code that its policy would have to allow."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx
import pytest

from tests.service.asking import (
    assert_problem,
    sound,
)


class Page(HTMLParser):
    """What a page refers to, and whether it holds code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts: list[str | None] = []
        self.inline = ""
        self.handlers: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in_script = tag in {"script", "style"}
        if tag == "script":
            self.scripts.append(values.get("src"))
        self.addresses += [v for k, v in attrs if k in {"src", "href", "data-openapi"} and v]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, _tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.inline += data.strip()


def test_the_page_holds_no_code_and_refers_to_own_files_only(http: httpx.Client) -> None:
    response = sound(http.get("/docs"))
    assert response.headers["content-type"].startswith("text/html")
    page = Page(response.text)
    assert (page.inline, page.handlers) == ("", [])
    assert page.scripts
    assert all(page.scripts)
    own = [address for address in page.addresses if not address.startswith("data:")]
    assert len(own) == 4
    for address in own:
        assert address.startswith("/")
        assert not address.startswith("//")
        assert len(sound(http.get(address)).content) > 100


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui-bundle.js", "javascript"),
        ("docs.js", "javascript"),
        ("swagger-ui.css", "text/css"),
    ],
)
def test_its_files_have_types_that_browsers_accept(
    http: httpx.Client, name: str, media_type: str
) -> None:
    response = sound(http.get(f"/docs/{name}"))
    assert media_type in response.headers["content-type"]  # nosniff is on
    assert b"sourceMappingURL=http" not in response.content


def test_its_policy_lets_no_foreign_or_inline_script_run(http: httpx.Client) -> None:
    policy = sound(http.get("/docs")).headers["content-security-policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == ["'self'"]
    assert rules["connect-src"] == ["'self'"]
    assert rules["frame-ancestors"] == ["'none'"]
    assert "http" not in policy


def test_other_documentation_addresses_are_not_there(http: httpx.Client) -> None:
    for path in ("/redoc", "/docs/", "/docs/nothing.js", "/docs/oauth2-redirect"):
        response = http.get(path)
        if response.status_code != 307:
            assert_problem(response, "not-found")
