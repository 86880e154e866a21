"""Keys and limits, by function."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import pytest
from starlette.requests import Request

from cam_engine.errors import InvalidOption
from processes.redis_server import free_port
from service.http.problems import ServiceError
from service.http.security import OPEN, ApiKeys, RateLimit, is_loopback, new_key


def request(server: tuple[str, int | None] | None = ("127.0.0.1", 8000), **headers: str) -> Request:
    raw = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
    return Request({"type": "http", "headers": raw, "server": server})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "::1%lo"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "192.168.1.1", "fe80::1%eth0", "example.org", "localhost.evil.example"],
)
def test_what_others_can_reach_is_no_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_new_key_is_let_in_by_its_hash() -> None:
    key, hashed = new_key()
    assert hashed == f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    assert len(key) > 40
    assert new_key()[0] != key
    keys = ApiKeys([hashed], off=False)
    assert keys
    label = keys.caller(request(x_api_key=key))
    assert label == hashed.removeprefix("sha256:")[: len(label)]
    assert ApiKeys([hashed.upper().replace("SHA", "sha")], off=False).caller(request(x_api_key=key))


def test_keys_are_held_as_hashes_only() -> None:
    keys = ApiKeys(["plain-secret"], off=False)
    assert "plain-secret" not in repr(vars(keys))


def test_every_key_has_a_label_of_its_own() -> None:
    keys = ApiKeys(["one", "two"], off=False)
    labels = {keys.caller(request(authorization=f"Bearer {key}")) for key in ("one", "two")}
    assert len(labels) == 2


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "api-key-required"),
        ({"authorization": "Basic one"}, "api-key-required"),
        ({"x_api_key": "three"}, "api-key-invalid"),
        ({"x_api_key": "on\xe9"}, "api-key-invalid"),
        ({"x_api_key": "wrong", "authorization": "Bearer one"}, "api-key-invalid"),
    ],
)
def test_others_are_refused(headers: dict[str, Any], code: str) -> None:
    with pytest.raises(ServiceError) as refused:
        ApiKeys(["one", "two"], off=True).caller(request(**headers))
    assert refused.value.code == code
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer realm="gradcam"'}
    assert (
        refused.value.detail
        == {
            "api-key-required": (
                "send the API key as the header X-API-Key, or as Authorization: Bearer"
            ),
            "api-key-invalid": "the API key is not known here",
        }[code]
    )


@pytest.mark.parametrize("server", [("127.0.0.1", 80), ("::1", 80), ("/run/gradcam.sock", None)])
def test_without_keys_whoever_comes_over_loopback_is_let_in(server: tuple[str, int | None]) -> None:
    assert ApiKeys([], off=False).caller(request(server)) == OPEN


@pytest.mark.parametrize("server", [("10.0.0.7", 80), ("2001:db8::1", 80)])
def test_without_keys_others_are_let_in_only_where_keys_are_off(server: tuple[str, int]) -> None:
    assert ApiKeys([], off=True).caller(request(server)) == OPEN
    with pytest.raises(ServiceError) as refused:
        ApiKeys([], off=False).caller(request(server))
    assert refused.value.code == "api-key-required"
    assert "set GRADCAM_API_KEYS, or GRADCAM_AUTH=off" in refused.value.detail


def test_the_rate_is_limited_by_caller_and_of_the_open_ones_by_address() -> None:
    async def test() -> None:
        limit = RateLimit("2/minute", "memory://")
        for caller, address in (("a", "1"), ("b", "1"), (OPEN, "1"), (OPEN, "2")):
            await limit.check(caller, address)
            await limit.check(caller, address)
            with pytest.raises(ServiceError) as refused:
                await limit.check(caller, address)
            assert refused.value.code == "rate-limited"
            assert 1 <= int(refused.value.headers["Retry-After"]) <= 60

    asyncio.run(test())


def test_several_rates_hold_at_once() -> None:
    async def test() -> None:
        limit = RateLimit("3/minute;2/second", "memory://")
        await limit.check("a", "")
        await limit.check("a", "")
        with pytest.raises(ServiceError):
            await limit.check("a", "")

    asyncio.run(test())


def test_without_a_rate_there_is_no_limit() -> None:
    async def test() -> None:
        limit = RateLimit(None, "memory://")
        for _ in range(1000):
            await limit.check("a", "")

    asyncio.run(test())


@pytest.mark.parametrize("rate", ["", "many", "5/fortnight", "0.5/second"])
def test_a_rate_that_is_none_is_refused_at_the_start(rate: str) -> None:
    with pytest.raises(InvalidOption, match="GRADCAM_RATE_LIMIT"):
        RateLimit(rate, "memory://")


def test_a_counter_that_is_away_limits_nobody() -> None:
    """Better no limit than no service."""

    async def test() -> None:
        limit = RateLimit("1/minute", f"redis://127.0.0.1:{free_port()}")
        for _ in range(3):
            await limit.check("a", "")

    asyncio.run(test())


async def _allowed(limit: RateLimit) -> bool:
    try:
        await limit.check("caller", "address")
    except ServiceError:
        return False
    return True


def test_a_clock_that_was_set_back_locks_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    limit = RateLimit("2/minute", "memory://")

    async def ask() -> list[bool]:
        return [await _allowed(limit) for _ in range(3)]

    assert asyncio.run(ask()) == [True, True, False]
    monkeypatch.setattr("time.time", lambda: real() - 7200)
    assert asyncio.run(ask()) == [True, True, False]
