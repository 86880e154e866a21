"""The pages for people, and the files that they are made of."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import jinja2
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from service.http.middleware import NO_FRAMES
from service.http.problems import ServiceError
from service.http.requested import base_path

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    f"form-action 'none'; {NO_FRAMES}"
)
# The tab's icon. Browsers ask for it anew with each change of the address, and every version of it
# has an address of its own.
ICON = "icon.svg"
FOREVER = "public, max-age=31536000, immutable"
DAY = "public, max-age=86400"

# Portals load the viewer from their own origins, those of GRADCAM_CORS_ORIGINS: its address, and
# the folder of what that imports.
_FOR_PORTALS = re.compile(r"cam-viewer\.js|viewer/.+")
_PORTAL_HEADERS: Mapping[str, str] = MappingProxyType(
    {"Cross-Origin-Resource-Policy": "cross-origin"}
)

_SERVICE = Path(__file__).parents[1]
_STATIC = _SERVICE / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_PATH = re.compile(r"([a-z]+/)*[a-z0-9][a-z0-9-]*\.(css|js|svg)")
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_SERVICE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html(request: Request, template: str, policy: str = POLICY, **values: object) -> HTMLResponse:
    """The page of a template: it gets the values, `page`, `icon`, and `base` of all addresses."""
    base = base_path(request)
    known = {
        "base": base,
        "page": Path(template).stem,
        "icon": f"/static/{ICON}?v={_version(ICON)}",
    }
    text = _TEMPLATES.get_template(template).render(**known, **values)
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
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


@router.get("/static/{path:path}")
def static_file(path: str, request: Request, v: str = "") -> Response:
    """A script, style or picture of the pages; v: the version of it that is meant."""
    if not _PATH.fullmatch(path) or not (_STATIC / path).is_file():
        raise ServiceError("not-found", "there is no such file of the pages")
    kept = FOREVER if v and v == _version(path) else "no-cache"
    return _file(path, request, kept)


@router.get("/favicon.ico")
def favicon(request: Request) -> Response:
    """The icon, for what shows no page of ours: browsers ask for it by this name."""
    return _file(ICON, request, DAY)


def _file(path: str, request: Request, kept: str) -> Response:
    file = _STATIC / path
    packed = bool(_GZIP.search(request.headers.get("accept-encoding", "")))
    body, tag = _content(file, packed, file.stat().st_mtime_ns)
    headers = {"ETag": tag, "Cache-Control": kept, "Vary": "Accept-Encoding, Origin"}
    headers |= {"Content-Encoding": "gzip"} if packed else {}
    headers |= _PORTAL_HEADERS if _FOR_PORTALS.fullmatch(path) else {}
    known = {one.strip().removeprefix("W/") for one in _if_none_match(request).split(",")}
    if tag in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=_TYPES[file.suffix], headers=headers)


def _version(path: str) -> str:
    file = _STATIC / path
    _, tag = _content(file, False, file.stat().st_mtime_ns)
    return tag.strip('"')[:12]


def _if_none_match(request: Request) -> str:
    return request.headers.get("if-none-match", "")


@lru_cache(maxsize=256)
def _content(file: Path, packed: bool, _changed_ns: int) -> tuple[bytes, str]:
    body = file.read_bytes()
    if packed:
        body = gzip.compress(body, mtime=0)
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
