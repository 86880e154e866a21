"""What every route asks for first: the parts of the process, and a caller that may call."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from service.components import Components
from service.explanations.view_tokens import ViewScope, given_token, out_of_scope
from service.http.problems import FieldError, ServiceError
from service.http.security import OPEN

# For the documentation only: `ApiKeys` reads the headers, and says what is wrong in our own words.
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False)
_BEARER = HTTPBearer(auto_error=False)


async def components(request: Request) -> Components:
    """The process's parts. (Not a plain function: FastAPI would call that in a thread.)"""
    parts: Components = request.app.state.components
    return parts


Parts = Annotated[Components, Depends(components)]


async def authorised(
    request: Request,
    parts: Parts,
    _header: Annotated[object, Security(_HEADER)] = None,
    _bearer: Annotated[object, Security(_BEARER)] = None,
) -> None:
    """Let known callers through, so many times a while; refuse view tokens."""
    scope = await _admitted(request, parts)
    if scope is not None:
        raise out_of_scope("a view token is good for explanations only; send an API key")


async def authorised_to_view(
    request: Request,
    parts: Parts,
    _header: Annotated[object, Security(_HEADER)] = None,
    _bearer: Annotated[object, Security(_BEARER)] = None,
) -> None:
    """The same, and holders of view tokens: `request.state.view_scope` says what they may see."""
    request.state.view_scope = await _admitted(request, parts)


async def _admitted(request: Request, parts: Components) -> ViewScope | None:
    """Tokens count with the key that made them."""
    scope = _scope_of_token(request, parts)
    caller = parts.keys.caller(request) if scope is None else scope.caller
    address = request.client.host if request.client else "unix"
    await parts.rate_limit.check(caller, address)
    request.state.caller = caller
    return scope


def _scope_of_token(request: Request, parts: Components) -> ViewScope | None:
    token = given_token(request)
    if token is None:
        return None
    scope = parts.view_tokens.read(token)
    if scope.caller == OPEN:
        parts.keys.caller(request)  # refuses, where keys are asked for by now
    elif not parts.keys.knows(scope.caller):
        raise parts.view_tokens.unknown()
    return scope


async def without_query(request: Request) -> None:
    """Refuse query parameters by name where there are none: options silently lost would mislead."""
    if request.query_params:
        errors = tuple(
            FieldError(name, "options go into the body, not into the address")
            for name in dict.fromkeys(request.query_params)
        )
        said = "; ".join(f"{problem.field}: {problem.detail}" for problem in errors[:4])
        raise ServiceError("invalid-request", said, errors=errors)
