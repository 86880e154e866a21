"""Work for jobs in threads: answered, or given up at a deadline that is not every work's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from service.http.problems import ServiceError
from service.jobs.threads import JobsThreads


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Lets go of the work that waits for it, in the end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def test_work_is_done_in_a_thread_of_its_own_and_answered() -> None:
    threads = JobsThreads(60.0)

    def work(value: int, *, more: int) -> tuple[int, str]:
        return value + more, threading.current_thread().name

    total, name = asyncio.run(threads.call(work, 1, more=2))
    assert total == 3
    assert name.startswith("jobs")
    threads.executor.shutdown()


def test_what_the_work_raises_is_raised() -> None:
    threads = JobsThreads(60.0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(threads.call(divmod, 1, 0))
    threads.executor.shutdown()


def test_who_waits_past_the_deadline_is_told_to_come_again(held: threading.Event) -> None:
    threads = JobsThreads(0.05)
    with pytest.raises(ServiceError) as refused:
        asyncio.run(threads.call(held.wait))
    assert refused.value.code == "jobs-unavailable"
    assert refused.value.headers == {"Retry-After": "5"}
    held.set()
    threads.executor.shutdown()


def test_one_that_hangs_keeps_no_other_waiting(held: threading.Event) -> None:
    threads = JobsThreads(60.0, threads=2)

    async def both() -> int:
        hanging = asyncio.create_task(threads.call(held.wait))
        answer = await threads.call(max, 1, 2)
        assert not hanging.done()
        held.set()
        assert await hanging
        return answer

    assert asyncio.run(both()) == 2
    threads.executor.shutdown()


def test_what_must_not_be_done_twice_is_waited_for(held: threading.Event) -> None:
    threads = JobsThreads(0.01)

    async def work() -> bool:
        waiting = asyncio.create_task(threads.call_patiently(held.wait))
        with pytest.raises(ServiceError):
            await threads.call(held.wait)  # so long, at least
        assert not waiting.done()
        held.set()
        return await waiting

    assert asyncio.run(work())
    threads.executor.shutdown()
