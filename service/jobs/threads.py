"""Work for jobs off the event loop: in threads of its own, and not waited for for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.executors import call_in
from service.http.problems import ServiceError

_THREADS = 16

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class JobsThreads:
    """Redis and shared storage may hang; whoever waits for them keeps nobody else waiting.

    deadline_seconds: what `call` takes at most; the thread is let go of, not stopped.
    """

    def __init__(self, deadline_seconds: float, threads: int = _THREADS) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="jobs")
        self._deadline_seconds = deadline_seconds

    async def call(
        self,
        work: Callable[_Given, _Result],
        *args: _Given.args,
        **kwargs: _Given.kwargs,
    ) -> _Result:
        """What the work answers. Raises ServiceError "jobs-unavailable" past the deadline."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self.call_patiently(work, *args, **kwargs)
        except TimeoutError as error:
            raise ServiceError(
                "jobs-unavailable",
                "the store of jobs did not answer in time; try again in some seconds",
                {"Retry-After": "5"},
            ) from error

    async def call_patiently(
        self,
        work: Callable[_Given, _Result],
        *args: _Given.args,
        **kwargs: _Given.kwargs,
    ) -> _Result:
        """The same without a deadline, for what must not be done twice."""
        return await call_in(self.executor, work, *args, **kwargs)
