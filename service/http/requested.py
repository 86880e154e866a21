"""What routes take from a request beside its body."""

from __future__ import annotations

from starlette.requests import Request


def base_path(request: Request) -> str:
    """The path under which a proxy offers the service, without a slash at its end; else ""."""
    return str(request.scope.get("root_path", ""))


def has_already(request: Request, tag: str) -> bool:
    """Whether the client has the representation of that entity tag, as If-None-Match says.

    Tags are compared weakly, as RFC 9110 has it for this header: "W/" makes no difference.
    """
    given = request.headers.get("if-none-match", "")
    known = {_opaque(text.strip()) for text in given.split(",")}
    return _opaque(tag) in known or "*" in known


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")
