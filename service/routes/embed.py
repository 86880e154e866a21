"""The viewer for the frames of portals."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from service.http.middleware import NO_FRAMES
from service.routes.access import Parts
from service.routes.pages import POLICY, html

router = APIRouter(include_in_schema=False)


@router.get("/embed/viewer")
async def embedded_viewer(request: Request, parts: Parts) -> HTMLResponse:
    """One viewer, whose attributes stand in the query, for pages of GRADCAM_FRAME_ANCESTORS."""
    ancestors = " ".join(parts.settings.frame_ancestors)
    policy = POLICY.replace(NO_FRAMES, f"frame-ancestors {ancestors}") if ancestors else POLICY
    answer = html(request, "embed.html", policy, ancestors=ancestors, token_needed=bool(parts.keys))
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer
