"""View tokens: short-lived and signed, for pages that may show one experiment and hold no key."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass
from hashlib import sha256

from cachetools import LRUCache
from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import Request

from service.explanations.requests import StoredImageRequest
from service.http.problems import ServiceError

PREFIX = "gvt_"
_MOST_CHARACTERS = 8000
_MOST_SHOWN = 20_000
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gradcam", error="invalid_token"'}


@dataclass(frozen=True, slots=True)
class ViewScope:
    """What a token lets its holder see. caller: the label of the key that made it."""

    caller: str
    experiment: str
    model: str | None = None
    image: str | None = None

    def check(self, wanted: StoredImageRequest) -> None:
        """Raises ServiceError "view-token-scope" where more is wanted than the token names."""
        wider = (
            wanted.experiment != self.experiment,
            self.model is not None and wanted.model != self.model,
            self.image is not None and wanted.image != self.image,
        )
        if any(wider):
            raise out_of_scope(
                "name the experiment, and the model and image that the token names, exactly so"
            )

    @property
    def label(self) -> str:
        """A digest of all of it, the same in every process."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


class ViewTokens:
    """Makes and reads tokens, and knows which answers were made under which scope."""

    def __init__(self, secret: str | None) -> None:
        self._serializer = URLSafeSerializer(
            secret or secrets.token_urlsafe(32),
            salt="gradcam-view-token",
            signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"},
        )
        self._shown: LRUCache[tuple[ViewScope, str], None] = LRUCache(_MOST_SHOWN)

    def make(self, scope: ViewScope, expires_at: int) -> str:
        """A token that holds until `expires_at`, in seconds since 1970."""
        text = self._serializer.dumps({**asdict(scope), "expires_at": expires_at})
        return PREFIX + (text if isinstance(text, str) else text.decode())

    def read(self, token: str) -> ViewScope:
        """The token's scope. Raises ServiceError "view-token-invalid" or "view-token-expired"."""
        if len(token) > _MOST_CHARACTERS:
            raise self.unknown()
        try:
            claims = self._serializer.loads(token.removeprefix(PREFIX))
            expires_at = claims.pop("expires_at")
            scope = ViewScope(**claims)
        except (BadSignature, UnicodeError, AttributeError, KeyError, TypeError) as error:
            raise self.unknown() from error
        if time.time() >= expires_at:
            raise ServiceError("view-token-expired", "the view token has expired", _CHALLENGE)
        return scope

    @staticmethod
    def unknown() -> ServiceError:
        """What is answered to a token that does not hold, whatever the reason."""
        detail = "the view token was not made here, or its key is gone; have a new one made"
        return ServiceError("view-token-invalid", detail, _CHALLENGE)

    def remember(self, scope: ViewScope, digest: str) -> None:
        """Let tokens of this scope have the answer again."""
        self._shown[scope, digest] = None

    def has_shown(self, scope: ViewScope, digest: str) -> bool:
        """Whether tokens of this scope may have the answer again, as far as is known here."""
        return (scope, digest) in self._shown


def given_token(request: Request) -> str | None:
    """The view token of the Authorization header; a request with X-API-Key is the key's."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    token = value.strip()
    by_key = "x-api-key" in request.headers
    is_view_token = scheme.lower() == "bearer" and token.startswith(PREFIX) and not by_key
    return token if is_view_token else None


def out_of_scope(detail: str) -> ServiceError:
    """What the token is good for, and that this is not it."""
    return ServiceError("view-token-scope", detail)
