"""A job while somebody watches it: a wait for its next change, and server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from pydantic import BaseModel

from service.jobs.accepting import Jobs
from worker.jobs.contract import JobState

_LOOK_SECONDS = 0.5
_KEEP_ALIVE_SECONDS = 15.0


async def change(
    jobs: Jobs, job: str, seconds: float, is_given_up: Callable[[], Awaitable[bool]]
) -> JobState:
    """The job once its status or progress is another, or it has ended, or the seconds are over.

    is_given_up: whether nobody waits any more. Raises ServiceError "job-not-found".
    """
    state = before = await jobs.threads.call(jobs.get, job)
    until = time.monotonic() + seconds
    while not state.finished and _is_same(state, before) and time.monotonic() < until:
        if await is_given_up():
            break
        await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
        state = await jobs.threads.call(jobs.get, job)
    return state


async def events(
    jobs: Jobs,
    job: str,
    after: str,
    shown: Callable[[JobState], BaseModel],
    is_ending: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[str, None]:
    """Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Those that came after the one named `after` ("0": all that are remembered), until "end".
    shown: the data of an event. Comments keep the connection open while nothing happens.
    is_ending: whether the process is; the stream ends then, and goes on where it is resumed.
    """
    quiet_since = time.monotonic()
    while not is_ending():
        for event in await jobs.threads.call(jobs.store.events, job, after):
            after = event.id
            quiet_since = time.monotonic()
            yield _event(event.id, event.state, shown)
            if event.state.finished:
                return
        state = await jobs.threads.call(jobs.store.state, job)
        if state is None:
            return
        if state.finished and not await jobs.threads.call(jobs.store.events, job, after):
            # It has ended before its last event is written, or none is remembered any more.
            yield _event(after, state, shown)
            return
        if time.monotonic() - quiet_since > _KEEP_ALIVE_SECONDS:
            quiet_since = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_SECONDS)


def _event(id_: str, state: JobState, shown: Callable[[JobState], BaseModel]) -> str:
    kind = "end" if state.finished else "progress"
    return f"id: {id_}\nevent: {kind}\ndata: {shown(state).model_dump_json()}\n\n"


def _is_same(state: JobState, before: JobState) -> bool:
    return (state.status, state.progress) == (before.status, before.progress)
