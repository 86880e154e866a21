"""/docs: Swagger UI from our own files, within the Content-Security-Policy."""

from __future__ import annotations

from html import escape
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from service.components import Components
from service.http.problems import ServiceError
from service.http.requested import base_path
from service.openapi import with_examples

router = APIRouter(include_in_schema=False)

# Swagger UI sets styles of its own on elements, and draws icons from data: addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'"
)
_SWAGGER = Path(fastapi_offline.__file__).parent / "static"
_OWN = Path(__file__).parents[1] / "static/pages"
_FILES = {
    "swagger-ui-bundle.js": _SWAGGER,
    "swagger-ui.css": _SWAGGER,
    "docs.js": _OWN,
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{base}/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-openapi="{base}/openapi.json"></div>
<script src="{base}/docs/swagger-ui-bundle.js"></script>
<script src="{base}/docs/docs.js"></script>
</body>
</html>
"""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The API's documentation, to be tried out."""
    base = escape(base_path(request), quote=True)
    page = _PAGE.format(title=escape(request.app.title), base=base)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document; with examples from the data root for those who may see it."""
    parts: Components = request.app.state.components
    document = request.app.openapi()
    try:
        parts.keys.caller(request)
    except ServiceError:
        return JSONResponse(document)
    return JSONResponse(with_examples(document, parts))


@router.get("/docs/{name}")
async def docs_file(name: str) -> FileResponse:
    """The page's scripts and styles."""
    if name not in _FILES:
        raise ServiceError("not-found", "there is nothing at this address; see /docs")
    return FileResponse(_FILES[name] / name, headers={"Cache-Control": "max-age=3600"})
