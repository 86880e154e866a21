"""The way to Redis for what can do without: in threads, not for long, and not while it is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from service.executors import call_in
from service.watching.metrics import Metrics

_log = structlog.get_logger(__name__)

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_THREADS = 8

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class StoreAway(Exception):
    """Redis does not answer, or refused; the caller goes on without it."""


def connect(url: str) -> redis.Redis:
    """A client that says soon that Redis is away. A connection that has gone stale is made anew."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(NoBackoff(), retries=1, supported_errors=(RedisConnectionError,)),
    )


class Link:
    """Calls Redis in threads of its own; one event loop's.

    After a call without an answer Redis counts as away: calls fail at once, until `look` has had an
    answer again. So nobody waits for it but the one who found out, and those who asked with him.
    """

    def __init__(self, client: redis.Redis, metrics: Metrics) -> None:
        self.client = client
        self.executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="sharing")
        self._metrics = metrics
        self._lock = threading.Lock()
        self._away = False
        self._refused = ""

    @property
    def away(self) -> bool:
        """Whether calls fail at once."""
        return self._away

    async def call(
        self,
        work: Callable[_Given, _Result],
        *args: _Given.args,
        **kwargs: _Given.kwargs,
    ) -> _Result:
        """What the work answers, which talks to Redis. Raises StoreAway."""
        if self._away:
            raise StoreAway
        return await call_in(self.executor, self._tried, partial(work, *args, **kwargs))

    async def look(self) -> bool:
        """Whether Redis answers now; to be called now and then."""
        return await call_in(self.executor, self._answers)

    def _tried(self, work: Callable[[], _Result]) -> _Result:
        if self._away:  # found out while this call waited for its thread
            raise StoreAway
        try:
            return work()
        except (RedisConnectionError, redis.exceptions.TimeoutError) as error:
            self._change(away=True, reason=str(error))
            raise StoreAway from error
        except RedisError as error:
            self._say_refused(str(error))
            raise StoreAway from error

    def _answers(self) -> bool:
        try:
            self.client.ping()
        except RedisError as error:
            self._change(away=True, reason=str(error))
            return False
        self._change(away=False)
        return True

    def _change(self, *, away: bool, reason: str = "") -> None:
        """Note how it is; one line of the log a change, however many calls found out."""
        with self._lock:
            changed, self._away = self._away != away, away
            self._metrics.shared_store_up.set(not away)
        if changed and away:
            _log.warning("nothing is shared with other processes: no Redis", reason=reason)
        elif changed:
            _log.info("sharing with other processes again")

    def _say_refused(self, reason: str) -> None:
        """Redis answers and will not, being full for one; said once for each reason."""
        with self._lock:
            said, self._refused = self._refused == reason, reason
        if not said:
            _log.warning("Redis refuses what is to be shared", reason=reason)
