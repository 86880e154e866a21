"""What every route asks for first: the parts of the process, and a caller that may call."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from service.components import Components
from service.problems import FieldError, ServiceError

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
    """Let known callers through, so many times a while."""
    caller = parts.keys.caller(request)
    address = request.client.host if request.client else "unix"
    await parts.rate_limit.check(caller, address)


async def without_query(request: Request) -> None:
    """Refuse query parameters by name where there are none: options silently lost would mislead."""
    if request.query_params:
        errors = tuple(
            FieldError(name, "options go into the body, not into the address")
            for name in dict.fromkeys(request.query_params)
        )
        said = "; ".join(f"{one.field}: {one.detail}" for one in errors[:4])
        raise ServiceError("invalid-request", said, errors=errors)
