"""Work in threads: its answer, its error and its context."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from service.executors import call_in

ASKED: ContextVar[str] = ContextVar("asked", default="nobody")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="work") as pool:
        yield pool


def test_the_work_is_done_in_a_thread_with_what_was_given(executor: ThreadPoolExecutor) -> None:
    def work(first: int, *, second: int) -> tuple[str, int]:
        return threading.current_thread().name, first + second

    assert asyncio.run(call_in(executor, work, 1, second=2)) == ("work_0", 3)


def test_its_error_is_raised(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(call_in(executor, int, "one"))


def test_it_runs_in_the_callers_context(executor: ThreadPoolExecutor) -> None:
    async def asking(name: str) -> str:
        ASKED.set(name)
        return await call_in(executor, ASKED.get)

    async def both() -> list[str]:
        return list(await asyncio.gather(asking("one"), asking("two")))

    assert asyncio.run(both()) == ["one", "two"]
