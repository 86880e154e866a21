"""Who may call: API keys, kept as hashes, and a rate limit for each of them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import time
from collections.abc import Iterable

from limits import RateLimitItem, parse_many
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string
from starlette.requests import Request

from cam_engine.errors import InvalidOption
from service.http.problems import ServiceError

_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LABEL_DIGITS = 8
_COUNTING_SECONDS = 1.0
OPEN = "open"


def new_key() -> tuple[str, str]:
    """A new API key, and the hash of it that GRADCAM_API_KEYS takes."""
    key = f"gck_{secrets.token_urlsafe(32)}"
    return key, f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


class ApiKeys:
    """The keys that are let in. Only their SHA-256 is held: keys are random, not passwords."""

    def __init__(self, keys: Iterable[str], *, off: bool) -> None:
        self._digests = tuple(_digest(key) for key in keys)
        self._off = off

    def __bool__(self) -> bool:
        """Whether there are any keys."""
        return bool(self._digests)

    def knows(self, label: str) -> bool:
        """Whether a key of this label is let in."""
        return any(digest.hex()[:_LABEL_DIGITS] == label for digest in self._digests)

    def caller(self, request: Request) -> str:
        """A label of the caller: the start of the key's hash, or "open".

        Raises ServiceError "api-key-required" or "api-key-invalid".
        """
        if not self._digests:
            if self._off or _came_over_loopback(request):
                return OPEN
            raise ServiceError(
                "api-key-required",
                "no API keys are set, and without them the service answers on loopback only; "
                "set GRADCAM_API_KEYS, or GRADCAM_AUTH=off to answer everybody",
                _CHALLENGE,
            )
        given = _given_key(request)
        if given is None:
            raise ServiceError(
                "api-key-required",
                "send the API key as the header X-API-Key, or as Authorization: Bearer",
                _CHALLENGE,
            )
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        # All are compared, so that the time tells nothing of which one is near.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise ServiceError("api-key-invalid", "the API key is not known here", _CHALLENGE)
        return digest.hex()[:_LABEL_DIGITS]


class RateLimit:
    """So many requests a caller in a moving window, counted in memory or in Redis."""

    def __init__(self, rate: str | None, storage: str) -> None:
        try:
            self._limits = [] if rate is None else parse_many(rate)
        except ValueError as error:
            raise InvalidOption(
                f"GRADCAM_RATE_LIMIT {rate!r} is not a rate; write for instance 120/minute"
            ) from error
        kept = storage_from_string(
            f"async+{storage}", implementation="redispy", wrap_exceptions=True
        )
        if not isinstance(kept, Storage):
            raise InvalidOption(f"GRADCAM_RATE_LIMIT_STORAGE {storage!r} cannot be used")
        self._limiter = MovingWindowRateLimiter(kept)

    async def check(self, caller: str, address: str) -> None:
        """Count a request. Raises ServiceError "rate-limited"; callers without key by address."""
        who = address if caller == OPEN else caller
        for limit in self._limits:
            try:
                async with asyncio.timeout(_COUNTING_SECONDS):
                    seconds = await self._seconds_to_wait(limit, who)
            except (StorageError, TimeoutError):
                return  # better no limit than no service
            if seconds > 0:
                raise ServiceError(
                    "rate-limited",
                    f"more than {limit} from this key; try again in {seconds} s",
                    {"Retry-After": str(seconds)},
                )

    async def _seconds_to_wait(self, limit: RateLimitItem, who: str) -> int:
        """0 where the request is within the limit, and counted."""
        if await self._limiter.hit(limit, who):
            return 0
        stats = await self._limiter.get_window_stats(limit, who)
        seconds = max(1, math.ceil(stats.reset_time - time.time()))
        if seconds <= limit.get_expiry() + 1:
            return seconds
        # The clock was set back: what was counted before would lock the caller out until then.
        await self._limiter.clear(limit, who)
        return 0 if await self._limiter.hit(limit, who) else 1


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gradcam"'}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a socket bound to the host."""
    if host in {"localhost", ""}:
        return host == "localhost"
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    hashed = _HASHED.fullmatch(key)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(key.encode()).digest()


def _given_key(request: Request) -> str | None:
    key = request.headers.get("x-api-key")
    if key is not None:
        return key
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _came_over_loopback(request: Request) -> bool:
    """By the address of the socket that took the connection; a Unix socket has no port."""
    host, port = request.scope.get("server") or ("", None)
    return port is None or is_loopback(host)
