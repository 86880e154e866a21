"""The files of the pages: under addresses that may be kept for ever, and under plain ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.pages.facts import facts_script
from service.pages.files import ELEMENT, FACTS, STATIC, StaticFiles, static_files
from service.pages.templates import SCRIPTS
from service.routes.pages import FOREVER
from service.settings import Settings

PAGES = {"look": "/", "experiment": "/experiment", "compare": "/compare", "jobs": "/jobs"}
OLD = "0123456789ab"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """Of a service under a path, as a proxy offers it."""
    settings = {"data": tmp_path_factory.mktemp("data"), "auth": "off", "root_path": "/tools"}
    return TestClient(create_app(Settings.model_validate(settings)), base_url="http://localhost")


def contents(**changed: bytes) -> dict[str, bytes]:
    return {"a.js": b'import { b } from "./b.js";', "b.js": b"export const b = 1;", **changed}


@pytest.mark.parametrize("name", PAGES)
def test_all_that_a_page_loads_may_be_kept_for_ever(client: TestClient, name: str) -> None:
    html = client.get(PAGES[name]).text
    addresses = re.findall(r'(?:src|href)="([^"]*/static/[^"]+)"', html)
    assert len(addresses) > 15
    for address in addresses:
        answer = client.get(address.removeprefix("/tools"))
        assert answer.status_code == 200, address
        assert answer.headers["Cache-Control"] == FOREVER, address


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_beforehand_all_that_its_scripts_import(client: TestClient, name: str) -> None:
    html = client.get(PAGES[name]).text
    links = r'<link rel="modulepreload" href="/tools/static/\w+/([^"]+)"( fetch\S+)?>'
    named = re.findall(links, html)
    scripts = SCRIPTS[f"{name}.html"]
    own = [path for path, low in named if not low]
    later = [path for path, low in named if low]
    assert own == list(static_files().modules(scripts.own))
    viewer = set(static_files().modules(scripts.later)) if scripts.later else set()
    assert set(later) == viewer - set(own)
    assert len(named) == len(set(named))


def test_a_page_of_another_version_gets_what_there_is(client: TestClient) -> None:
    script = (STATIC / "shared/api.js").read_bytes()
    for address in ("/static/shared/api.js", f"/static/{OLD}/shared/api.js"):
        answer = client.get(address)
        assert (answer.content, answer.headers["Cache-Control"]) == (script, "no-cache")
        again = client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(address, headers={"If-None-Match": "*"}).status_code == 304


def test_the_plain_address_of_the_viewer_leads_to_kept_files(client: TestClient) -> None:
    entrance = client.get(f"/static/{ELEMENT}")
    assert entrance.headers["Cache-Control"] == "no-cache"
    [address] = re.findall(r'from "\./(.+)"', entrance.text)
    script = client.get(f"/static/{address}")
    assert script.content == (STATIC / ELEMENT).read_bytes()
    for answer in (entrance, script):
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["Content-Type"].startswith("text/javascript")
    assert client.get(f"/static/{OLD}/{ELEMENT}").content == script.content


def test_the_facts_are_a_file_as_the_others(client: TestClient) -> None:
    answer = client.get(f"/static/{static_files().version}/{FACTS}")
    assert answer.text == facts_script()
    assert answer.headers["Cache-Control"] == FOREVER
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["ETag"]
    assert not (STATIC / FACTS).exists()


@pytest.mark.parametrize(
    "address",
    ["", OLD, f"{OLD}/", f"{OLD}/none.js", f"{OLD}/{OLD}/app.css", "../app.py", "viewer/"],
)
def test_there_is_nothing_else(address: str) -> None:
    assert static_files().at(address) is None


def test_the_version_is_that_of_all_files() -> None:
    first = StaticFiles(contents()).version
    assert StaticFiles(contents()).version == first
    others = [contents(**{"b.js": b"export const b = 2;"}), contents(**{"c.css": b""})]
    assert len({first, *(StaticFiles(other).version for other in others)}) == 3


def test_an_import_that_leads_nowhere_is_found_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"a\.js imports what is not there: b\.js"):
        StaticFiles({"a.js": contents()["a.js"]})


def test_every_file_of_the_folder_is_served() -> None:
    files = {file.relative_to(STATIC).as_posix() for file in STATIC.rglob("*") if file.is_file()}
    assert [file for file in files if static_files().at(file) is None] == []
    assert Path(STATIC / ELEMENT).is_file()
