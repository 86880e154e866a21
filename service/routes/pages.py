"""The pages for people, and the files that they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from service.http.middleware import NO_FRAMES
from service.http.problems import ServiceError
from service.http.requested import base_path, has_already
from service.pages.files import StaticFile, static_files
from service.pages.templates import page_text

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    f"form-action 'none'; {NO_FRAMES}"
)
ICON = "icon.svg"
FOREVER = "public, max-age=31536000, immutable"
DAY = "public, max-age=86400"
ASK = "no-cache"

_PORTAL_HEADERS: Mapping[str, str] = MappingProxyType(
    {"Cross-Origin-Resource-Policy": "cross-origin"}
)
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


def html(request: Request, template: str, policy: str = POLICY, **values: object) -> HTMLResponse:
    """The page of a template, filled with the values."""
    text = page_text(template, base_path(request), **values)
    headers = {"Content-Security-Policy": policy, "Cache-Control": ASK}
    return HTMLResponse(text, headers=headers)


@router.get("/")
def look(request: Request) -> HTMLResponse:
    """One image, one model, and where it looked."""
    return html(request, "look.html")


@router.get("/experiment")
def experiment(request: Request) -> HTMLResponse:
    """All experiments, or one with its models and images."""
    return html(request, "experiment.html")


@router.get("/compare")
def compare(request: Request) -> HTMLResponse:
    """One image, explained twice."""
    return html(request, "compare.html")


@router.get("/jobs")
def jobs(request: Request) -> HTMLResponse:
    """Jobs: submitted, watched and read."""
    return html(request, "jobs.html")


@router.get("/static/{address:path}")
async def static_file(address: str, request: Request) -> Response:
    """A script, style or picture of the pages; all are in memory."""
    named = static_files().at(address)
    if named is None:
        raise ServiceError("not-found", "there is no such file of the pages")
    file, is_forever = named
    return _answer(file, request, FOREVER if is_forever else ASK)


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """The icon, for what shows no page of ours: browsers ask for it by this name."""
    return _answer(static_files().named(ICON), request, DAY)


def _answer(file: StaticFile, request: Request, kept: str) -> Response:
    packs = bool(_GZIP.search(request.headers.get("accept-encoding", "")))
    form = file.packed if packs else file.plain
    headers = {"ETag": form.tag, "Cache-Control": kept, "Vary": "Accept-Encoding, Origin"}
    headers |= {"Content-Encoding": "gzip"} if packs else {}
    headers |= _PORTAL_HEADERS if file.for_portals else {}
    if has_already(request, form.tag):
        return Response(status_code=304, headers=headers)
    return Response(form.body, media_type=file.media_type, headers=headers)
