"""Settings of a service: what variables may say, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize("name", ["https://lab.example", "lab.example:80", "*", "Lab", "-a", "a/b"])
def test_what_is_no_name_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a host"):
        Settings.model_validate({"data": tmp_path, "hosts": name})


def test_what_is_no_address_of_a_proxy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no address or network"):
        Settings.model_validate({"data": tmp_path, "trusted_proxies": "proxy.example"})


@pytest.mark.parametrize("given", ["/tools/gradcam", "/tools/gradcam/"])
def test_the_setting_holds_no_slash_at_the_end(tmp_path: Path, given: str) -> None:
    assert Settings(data=tmp_path, root_path=given).root_path == "/tools/gradcam"


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings.model_validate({"data": tmp_path, **values})


@pytest.mark.parametrize("name", ["cors_origins", "frame_ancestors"])
@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://lab.example/",
        "https://Lab.example",
        "lab.example",
        "https://lab.example:443",
        "http://lab.example:80",
        "https://*.lab.example",
        "ftp://lab.example",
        "null",
    ],
)
def test_an_origin_is_written_as_browsers_write_it(tmp_path: Path, name: str, origin: str) -> None:
    with pytest.raises(ValidationError, match="is no exact origin"):
        settings(tmp_path, **{name: origin})


def test_lists_are_separated_by_commas_and_blanks(tmp_path: Path) -> None:
    told = settings(
        tmp_path,
        cors_origins="https://lab.example, http://localhost:8080",
        hosts="cam.lab.example localhost",
        trusted_proxies="192.0.2.0/24,::1",
        api_keys="a,b",
    )
    assert told.cors_origins == ("https://lab.example", "http://localhost:8080")
    assert told.hosts == ("cam.lab.example", "localhost")
    assert told.trusted_proxies == ("192.0.2.0/24", "::1")
    assert told.api_keys == ("a", "b")


def test_variables_are_read_by_their_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADCAM_DATA", str(tmp_path))
    monkeypatch.setenv("GRADCAM_MAX_IN_FLIGHT", "7")
    monkeypatch.setenv("GRADCAM_HOSTS", "a.example,b.example")
    told = Settings()
    assert (told.data, told.max_in_flight) == (tmp_path, 7)
    assert told.hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"gather_milliseconds": 101},
        {"request_timeout_seconds": 0},
        {"auth": "on"},
        {"jobs_visible": "some"},
        {"view_secret": "short"},
        {"colour": "red"},
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(tmp_path, **wrong)
    assert [error["loc"][0] for error in refused.value.errors()] == list(wrong)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    secrets = {
        "api_keys": "gck_of-somebody",
        "view_secret": "0123456789abcdef",
        "redis_url": "redis://:of-redis@localhost/0",
        "rate_limit_storage": "redis://:of-limits@localhost/1",
        "webhook_secret": "whsec_of-webhooks",
    }
    shown = repr(settings(tmp_path, **secrets))
    for secret in (*secrets.values(), "of-redis", "of-limits"):
        assert secret not in shown
