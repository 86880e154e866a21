"""Who is let through to a route, by what a request carries."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request

from service.app import create_app
from service.explanations.view_tokens import ViewScope
from service.http.problems import FieldError, ServiceError
from service.http.security import OPEN
from service.routes.access import authorised, authorised_to_view, without_query
from service.settings import Settings

KEY = "gck_of-ann"


def app_of(data: Path, **settings: str) -> FastAPI:
    return create_app(Settings.model_validate({"data": data, **settings}))


def request(
    query: str = "", client: tuple[str, int] | None = ("::1", 1), **headers: str
) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "headers": raw, "query_string": query.encode(), "client": client}
    return Request({**scope, "server": ("127.0.0.1", 80), "state": {}})


def code(raised: pytest.ExceptionInfo[ServiceError]) -> str:
    return raised.value.code


def token_of(app: FastAPI, caller: str) -> str:
    scope = ViewScope(caller, "run/experiments/experiment_a")
    token: str = app.state.components.view_tokens.make(scope, int(time.time()) + 600)
    return f"Bearer {token}"


def test_a_caller_is_known_by_their_key(sample_run: Path) -> None:
    parts = app_of(sample_run, api_keys=KEY).state.components
    asked = request(x_api_key=KEY)
    asyncio.run(authorised(asked, parts))
    assert parts.keys.knows(asked.state.caller)
    asyncio.run(authorised_to_view(again := request(x_api_key=KEY), parts))
    assert (again.state.view_scope, again.state.caller) == (None, asked.state.caller)
    for act in (authorised, authorised_to_view):
        with pytest.raises(ServiceError) as refused:
            asyncio.run(act(request(), parts))
        assert code(refused) == "api-key-required"


def test_callers_without_keys_are_told_apart_by_address(sample_run: Path) -> None:
    parts = app_of(sample_run, rate_limit="1/minute").state.components

    async def ask() -> None:
        await authorised(request(client=("192.0.2.1", 1)), parts)
        await authorised(request(client=("192.0.2.2", 1)), parts)
        await authorised(request(client=None), parts)  # over a socket of this machine
        for client in (("192.0.2.1", 2), None):
            with pytest.raises(ServiceError) as refused:
                await authorised(request(client=client), parts)
            assert code(refused) == "rate-limited"

    asyncio.run(ask())


def test_a_view_token_is_good_for_what_it_says_and_counts_with_its_key(sample_run: Path) -> None:
    app = app_of(sample_run, api_keys=KEY, rate_limit="2/minute")
    parts = app.state.components
    asyncio.run(authorised(asked := request(x_api_key=KEY), parts))
    token = token_of(app, asked.state.caller)
    asyncio.run(authorised_to_view(seen := request(authorization=token), parts))
    assert seen.state.caller == asked.state.caller
    assert seen.state.view_scope.experiment == "run/experiments/experiment_a"
    with pytest.raises(ServiceError) as refused:
        asyncio.run(authorised_to_view(request(authorization=token), parts))
    assert code(refused) == "rate-limited"


def test_elsewhere_a_view_token_is_refused(sample_run: Path) -> None:
    app = app_of(sample_run, api_keys=KEY)
    parts = app.state.components
    asyncio.run(authorised(asked := request(x_api_key=KEY), parts))
    for caller, refusal in (
        (asked.state.caller, "view-token-scope"),
        ("01234567", "view-token-invalid"),  # of a key that is not let in any more
        (OPEN, "api-key-invalid"),  # made while no key was asked for
    ):
        with pytest.raises(ServiceError) as refused:
            asyncio.run(authorised(request(authorization=token_of(app, caller)), parts))
        assert code(refused) == refusal


@pytest.mark.parametrize("query", ["alpha=1", "alpha=1&alpha=2"])
def test_an_option_in_the_address_is_refused_by_its_name(query: str) -> None:
    with pytest.raises(ServiceError) as refused:
        asyncio.run(without_query(request(query)))
    told = "options go into the body, not into the address"
    assert refused.value.errors == (FieldError("alpha", told),)
    assert refused.value.detail == f"alpha: {told}"
    asyncio.run(without_query(request()))


def test_of_many_options_four_are_said_and_all_are_listed() -> None:
    with pytest.raises(ServiceError) as refused:
        asyncio.run(without_query(request("a=1&b=1&c=1&d=1&e=1")))
    assert [error.field for error in refused.value.errors] == list("abcde")
    assert refused.value.detail.count("options go") == 4


def test_the_process_is_that_of_the_application(sample_run: Path) -> None:
    client = TestClient(app_of(sample_run, api_keys=KEY), "http://localhost")
    answer: Any = client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    assert client.get("/v1/models").json()["code"] == "api-key-required"
