"""Which web pages may reach the service through somebody's browser: Host, Origin, Sec-Fetch-Site.

A browser sends requests for any page that is open in it, also to addresses that only this machine
reaches. What tells such a request from the user's own is written by the browser: the name that the
page was asked for by (`Host`, RFC 9110 7.2), the page that asks (`Origin`, RFC 6454 7), and how
the two are related (`Sec-Fetch-Site`, W3C Fetch Metadata). Other programs may write what they like
there; they are no danger that could be kept out by it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.middleware import problem_response
from service.http.problems import ServiceError
from service.watching.metrics import Metrics

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")
_USUAL_PORTS = {"http": 80, "https": 443}
# What other pages may load of the service: it is the same for everybody, and tells nothing.
_PUBLIC = re.compile(r"/static/([a-z0-9]+/)*[^/]+|/favicon\.ico")
_FRAMED = "/embed/viewer"
_LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class TrustedPages:
    """Whose pages are let in.

    hosts: names that the service is known by, beside loopback's and addresses in numbers.
    origins: exact origins whose pages may call it. any_host: no page is trusted by its host's name
    alone, since callers need keys, which a page of another name does not have.
    """

    hosts: Collection[str]
    origins: Collection[str]
    any_host: bool

    def refusal(self, method: str, path: str, headers: Headers) -> ServiceError | None:
        """Why the request is not let in: "host-not-allowed" or "cross-site-request"; else None.

        path: without the prefix of a proxy.
        """
        hosts = headers.getlist("host")
        unknown = next((host for host in hosts if not self.knows_host(host)), None)
        if unknown is not None:
            shown = unknown[:_LONGEST_SHOWN]
            return ServiceError(
                "host-not-allowed",
                f"this service is not known by the name {shown!r}; where it should be, set "
                "GRADCAM_HOSTS to the name, or open it by its address in numbers",
            )
        preflight = method == "OPTIONS" and "access-control-request-method" in headers
        if preflight or self._may_ask(method, path, headers, hosts):
            return None
        return ServiceError(
            "cross-site-request",
            "a web page of another origin sent this; a page that may is named in "
            "GRADCAM_CORS_ORIGINS, or in GRADCAM_FRAME_ANCESTORS for frames",
        )

    def knows_host(self, given: str) -> bool:
        """Whether a Host header names this service.

        A name that somebody else holds can be made to lead here (DNS rebinding); an address in
        numbers cannot.
        """
        if self.any_host:
            return True
        match = _HOST.fullmatch(given.strip().lower())
        if match is None:
            return False
        name = match["name"].removesuffix(".")
        if name == "localhost" or name.endswith(".localhost") or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _may_ask(self, method: str, path: str, headers: Headers, hosts: list[str]) -> bool:
        site = headers.get("sec-fetch-site", "")
        if site in {"same-origin", "none"}:
            return True
        reads = method in {"GET", "HEAD"}
        if reads and _PUBLIC.fullmatch(path):
            return True
        # A link that somebody follows, or a frame: what is shown is kept from the page around it.
        shown_in = headers.get("sec-fetch-dest", "")
        if reads and headers.get("sec-fetch-mode") == "navigate":
            return shown_in == "document" or path == _FRAMED
        origin = headers.get("origin")
        if origin is not None:
            return origin in self.origins or self._is_own(origin, hosts)
        return site != "cross-site"

    def _is_own(self, origin: str, hosts: list[str]) -> bool:
        """By what the page was asked for; proxies may write another Host, so also by the names."""
        scheme, _, place = origin.lower().partition("://")
        usual = _USUAL_PORTS.get(scheme)
        if usual is None:
            return False
        own = {host.strip().lower() for host in hosts}
        own |= {name.removesuffix(f":{usual}") for name in own} | set(self.hosts)
        return place in own


class PageGuard:
    """ASGI middleware: refuses what pages of others send through a browser."""

    def __init__(
        self, app: ASGIApp, trusted: TrustedPages, metrics: Metrics, root_path: str
    ) -> None:
        self._app = app
        self._trusted = trusted
        self._metrics = metrics
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._root_path) if self._root_path else scope["path"]
        refused = self._trusted.refusal(scope["method"], path, Headers(scope=scope))
        if refused is None:
            await self._app(scope, receive, send)
            return
        self._metrics.rejected.labels(refused.code).inc()
        answer = problem_response(refused, scope["path"], scope["state"]["request_id"])
        await answer(scope, receive, send)
