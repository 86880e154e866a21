"""A job while somebody watches it: waits that end, and events that can be taken up again."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from service.http.problems import ServiceError
from service.jobs import following
from service.jobs.following import change, events
from tests.worker.working import Setting
from worker.jobs.contract import JobRequest, JobState


def submitted(setting: Setting) -> str:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    request = JobRequest(experiment=name, models=("focal",), max_images=2)
    return setting.jobs.accept(request, None).state.record.id


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow one another without a pause."""
    monkeypatch.setattr(following, "_LOOK_SECONDS", 0.0)


def at_look(number: int, act: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    """Nobody gives up; at that look from 0, something happens."""
    looks = itertools.count()

    async def is_given_up() -> bool:
        if next(looks) == number:
            act()
        return False

    return is_given_up


async def never() -> bool:
    raise AssertionError("nothing was to be waited for")


def test_a_wait_ends_with_the_next_change(setting: Setting) -> None:
    job = submitted(setting)
    state = asyncio.run(
        change(setting.jobs, job, 600.0, at_look(2, lambda: setting.jobs.cancel(job)))
    )
    assert state.status == "canceled"


def test_progress_is_a_change_too(setting: Setting) -> None:
    job = submitted(setting)

    def work() -> None:
        for given in setting.jobs.store.out(job)[:1]:
            setting.runner.run(given.chunk)

    state = asyncio.run(change(setting.jobs, job, 600.0, at_look(0, work)))
    assert (state.status, state.progress.succeeded) == ("succeeded", 2)


def test_an_ended_job_is_not_waited_for(setting: Setting) -> None:
    job = submitted(setting)
    setting.jobs.cancel(job)
    assert asyncio.run(change(setting.jobs, job, 600.0, never)).status == "canceled"


def test_a_wait_of_no_time_is_a_look(setting: Setting) -> None:
    assert asyncio.run(change(setting.jobs, submitted(setting), 0.0, never)).status == "queued"


def test_nothing_is_looked_at_for_who_has_gone(setting: Setting) -> None:
    job, looks = submitted(setting), itertools.count()

    async def is_given_up() -> bool:
        return next(looks) == 3

    assert asyncio.run(change(setting.jobs, job, 600.0, is_given_up)).status == "queued"
    assert next(looks) == 4


def test_a_job_that_is_not_there_is_not_waited_for(setting: Setting) -> None:
    with pytest.raises(ServiceError) as refused:
        asyncio.run(change(setting.jobs, "0" * 32, 600.0, never))
    assert refused.value.code == "job-not-found"


def shown(state: JobState) -> JobState:
    return state


def told(setting: Setting, job: str, after: str, most: int = 100) -> list[tuple[str, str, str]]:
    """(id, kind, status) of so many events at most; of comments ("", text, "")."""

    async def read() -> list[tuple[str, str, str]]:
        taken: list[tuple[str, str, str]] = []
        async with aclosing(events(setting.jobs, job, after, shown)) as stream:
            async for text in stream:
                taken.append(parsed(text))
                if len(taken) == most:
                    break
        return taken

    return asyncio.run(read())


def parsed(text: str) -> tuple[str, str, str]:
    assert text.endswith("\n\n")
    if text.startswith(":"):
        return "", text, ""
    fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
    assert list(fields) == ["id", "event", "data"]
    return fields["id"], fields["event"], json.loads(fields["data"])["status"]


def test_events_are_told_until_the_end(setting: Setting) -> None:
    job = submitted(setting)
    setting.jobs.cancel(job)
    all_of = told(setting, job, "0")
    assert all_of[-1][1:] == ("end", "canceled")
    assert {kind for _, kind, _ in all_of[:-1]} == {"progress"}
    assert len({id_ for id_, _, _ in all_of}) == len(all_of) > 1


def test_events_are_taken_up_after_any_of_them(setting: Setting) -> None:
    job = submitted(setting)
    setting.jobs.cancel(job)
    all_of = told(setting, job, "0")
    assert told(setting, job, all_of[0][0]) == all_of[1:]
    # Whoever has seen the end is told it again, rather than kept waiting.
    assert told(setting, job, all_of[-1][0]) == all_of[-1:]


def test_an_end_of_which_no_event_is_remembered_is_told(setting: Setting) -> None:
    job = submitted(setting)
    setting.jobs.cancel(job)
    setting.jobs.store.client.delete(f"gradcam:job:{job}:events")
    assert told(setting, job, "7-0") == [("7-0", "end", "canceled")]


def test_of_a_job_that_is_forgotten_nothing_more_is_told(setting: Setting) -> None:
    job = submitted(setting)
    setting.jobs.cancel(job)
    setting.jobs.forget(job)
    assert told(setting, job, "0") == []


def test_the_connection_is_kept_open_while_nothing_happens(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_KEEP_ALIVE_SECONDS", -1.0)
    first, *rest = told(setting, submitted(setting), "0", most=3)
    assert first[1:] == ("progress", "queued")
    assert rest == [("", ": still here\n\n", "")] * 2


def test_a_stream_ends_with_the_process_and_goes_on_elsewhere(setting: Setting) -> None:
    job, looks = submitted(setting), itertools.count()

    async def read() -> list[tuple[str, str, str]]:
        stream = events(setting.jobs, job, "0", shown, lambda: next(looks) == 3)
        return [parsed(text) async for text in stream]

    seen = asyncio.run(read())
    assert [kind for _, kind, _ in seen] == ["progress"]
    assert next(looks) == 4
    setting.jobs.cancel(job)
    assert told(setting, job, seen[-1][0])[-1][1:] == ("end", "canceled")
