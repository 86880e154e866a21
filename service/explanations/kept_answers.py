"""Answers that can be had again: from memory, and where there is Redis from any other process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable
from typing import NamedTuple, TypeVar

import structlog

from service.executors import call_in
from service.explanations.answer_bytes import ReadStored, UnreadableAnswer, pack, unpack
from service.explanations.answers import Answer, AnswerCache
from service.explanations.view_tokens import ViewScope, ViewTokens
from service.http.problems import ServiceError
from service.sharing.entries import SharedEntries
from service.sharing.link import StoreAway
from service.sharing.shared import Shared
from service.watching.metrics import Metrics

_log = structlog.get_logger(__name__)

_SHARING_SECONDS = 1.0  # that an answer waits at most until others can have it
_END_SECONDS = 2.0
_MOST_UNSHARED = 10_000
_DIGEST = re.compile("[0-9a-f]{64}")
_ANSWER = "answer"

_Result = TypeVar("_Result")


class _There(NamedTuple):
    """What Redis has of an answer; shown: whether under the scope that was asked for."""

    content: bytes | None = None
    shown: bool = False


class KeptAnswers:
    """Keeps them, with the scopes of the view tokens by which they were made; one event loop's.

    shared: None where each process keeps its own only.
    """

    def __init__(
        self,
        memory: AnswerCache,
        tokens: ViewTokens,
        shared: Shared | None,
        read_stored: ReadStored,
        metrics: Metrics,
    ) -> None:
        self._memory = memory
        self._tokens = tokens
        self._shared = shared
        self._read_stored = read_stored
        self._metrics = metrics
        self._sharing: set[asyncio.Task[None]] = set()
        # What Redis was away for, and under which scopes it was made.
        self._unshared: dict[str, set[ViewScope]] = {}

    async def keep(
        self, answer: Answer, scope: ViewScope | None, meanwhile: Awaitable[_Result]
    ) -> _Result:
        """Keep the answer; what is done meanwhile, once others can have it too.

        It is sent to Redis while the picture is drawn, and waited for no longer than a second: then
        it goes on by itself, and the answer can be had here at once and elsewhere soon.
        """
        self._memory.put(answer)
        if scope is not None:
            self._tokens.remember(scope, answer.digest)
        sharing = self._begin_sharing(answer, {scope} if scope else set())
        done = await meanwhile
        if sharing is not None:
            await asyncio.wait({sharing}, timeout=_SHARING_SECONDS)
        return done

    async def again(self, digest: str, scope: ViewScope | None) -> Answer:
        """The answer; for holders of view tokens, only where it was made under the same scope.

        Raises ServiceError "explanation-not-found".
        """
        shown = scope is None or self._tokens.has_shown(scope, digest)
        answer = self._memory.get(digest)
        if answer is not None and shown:
            return answer
        there = await self._ask(digest, scope, known=answer is not None)
        if scope is not None and there.shown:
            self._tokens.remember(scope, digest)
        elif not shown:
            raise _not_found("no explanation of this digest was made with such a view token")
        if self._shared is not None and answer is None and there.content is not None:
            answer = await self._unpacked(self._shared, digest, there.content)
        if answer is None:
            raise _not_found(
                "no explanation of this digest is kept: it made room for others, or is too old"
            )
        return answer

    async def catch_up(self) -> None:
        """Look whether Redis answers, and share what could not be shared meanwhile."""
        if self._shared is None or not await self._shared.link.look():
            return
        while self._unshared and not self._shared.link.away:
            digest, scopes = self._unshared.popitem()
            answer = self._memory.peek(digest)
            if answer is not None:
                await self._share(self._shared, answer, scopes)

    async def settled(self) -> None:
        """Once what is being shared is, for two seconds at most."""
        if self._sharing:
            await asyncio.wait(self._sharing, timeout=_END_SECONDS)

    def _begin_sharing(self, answer: Answer, scopes: set[ViewScope]) -> asyncio.Task[None] | None:
        if self._shared is None:
            return None
        if self._shared.link.away:
            self._put_off(answer.digest, scopes)
            return None
        task = asyncio.create_task(self._share(self._shared, answer.without_pixels(), scopes))
        self._sharing.add(task)
        task.add_done_callback(self._sharing.discard)
        return task

    async def _share(self, shared: Shared, answer: Answer, scopes: set[ViewScope]) -> None:
        try:
            kept = await shared.link.call(_put, shared.entries, answer, scopes)
        except StoreAway:
            self._put_off(answer.digest, scopes)
        except Exception:
            _log.exception("an answer cannot be shared", digest=answer.digest)
        else:
            self._count("kept" if kept else "too-large")

    def _put_off(self, digest: str, scopes: set[ViewScope]) -> None:
        self._count("away")
        self._unshared.setdefault(digest, set()).update(scopes)
        if len(self._unshared) > _MOST_UNSHARED:
            del self._unshared[next(iter(self._unshared))]

    async def _ask(self, digest: str, scope: ViewScope | None, *, known: bool) -> _There:
        """What others know of it. known: the answer itself is here."""
        if self._shared is None or not _DIGEST.fullmatch(digest):
            return _There()
        fields = [*([] if scope is None else [_field(scope)]), *([] if known else [_ANSWER])]
        try:
            values = await self._shared.link.call(self._shared.entries.read, digest, fields)
        except StoreAway:
            self._count("away")
            return _There()
        content = None if known else values[-1]
        if not known and content is None:
            self._count("missing")
        return _There(content, scope is not None and values[0] is not None)

    async def _unpacked(self, shared: Shared, digest: str, content: bytes) -> Answer | None:
        executor = shared.link.executor
        try:
            answer = await call_in(executor, unpack, content, digest, self._read_stored)
        except UnreadableAnswer as error:
            self._count("unreadable")
            _log.info("a shared answer is not used", digest=digest, reason=str(error))
            return None
        self._count("found")
        self._memory.put(answer)
        return answer

    def _count(self, outcome: str) -> None:
        self._metrics.shared_answers.labels(outcome).inc()


def _put(entries: SharedEntries, answer: Answer, scopes: Iterable[ViewScope]) -> bool:
    return entries.put(
        answer.digest, {_ANSWER: pack(answer), **{_field(scope): b"1" for scope in scopes}}
    )


def _field(scope: ViewScope) -> str:
    return f"scope:{scope.label}"


def _not_found(detail: str) -> ServiceError:
    return ServiceError(
        "explanation-not-found", f"{detail}; POST the image to /v1/explanations again"
    )
