"""Who gets in, by function: a bounded number, for as long as somebody listens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from service.http.admission import Admission, while_listening
from service.http.problems import ServiceError
from service.watching.metrics import Metrics


def in_flight(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("gradcam_in_flight")
    assert value is not None
    return value


def request(*, leaves_after: float) -> Request:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(leaves_after)
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


def test_no_more_get_in_than_fit_and_places_are_given_back() -> None:
    metrics = Metrics()
    admission = Admission(2, metrics)
    with admission.place(), admission.place():
        assert in_flight(metrics) == 2
        with pytest.raises(ServiceError) as refused, admission.place():
            pass
        assert (refused.value.code, refused.value.headers["Retry-After"]) == ("queue-full", "1")
    assert in_flight(metrics) == 0
    with pytest.raises(RuntimeError), admission.place():
        raise RuntimeError
    with admission.place(), admission.place():
        assert in_flight(metrics) == 2


def test_nobody_gets_in_once_it_is_closing() -> None:
    admission = Admission(2, Metrics())
    admission.closing = True
    with pytest.raises(ServiceError) as refused, admission.place():
        pass
    assert refused.value.code == "shutting-down"
    assert refused.value.type.status == 503


def test_the_answer_is_the_works() -> None:
    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    assert asyncio.run(while_listening(request(leaves_after=5), work(), 5)) == "done"


def test_the_works_error_is_raised() -> None:
    async def work() -> str:
        raise ServiceError("image-not-found", "there is none")

    with pytest.raises(ServiceError) as refused:
        asyncio.run(while_listening(request(leaves_after=5), work(), 5))
    assert refused.value.code == "image-not-found"


@pytest.mark.parametrize(
    ("leaves_after", "deadline", "error"),
    [(0.01, 5.0, ClientDisconnect), (5.0, 0.01, ServiceError), (5.0, 0.0, ServiceError)],
)
def test_work_that_nobody_waits_for_is_cancelled(
    leaves_after: float, deadline: float, error: type[Exception]
) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ended.append("cancelled")

    async def test() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await while_listening(request(leaves_after=leaves_after), task, deadline)

    with pytest.raises(error) as raised:
        asyncio.run(test())
    assert ended == ["cancelled"]
    if isinstance(raised.value, ServiceError):
        assert raised.value.code == "deadline-exceeded"


def test_what_was_spent_before_counts_towards_the_deadline() -> None:
    async def work() -> str:
        await asyncio.sleep(60)
        return "done"

    with pytest.raises(ServiceError) as refused:
        asyncio.run(while_listening(request(leaves_after=60), work(), 3600, 3600))
    assert refused.value.code == "deadline-exceeded"
    assert "3600 seconds" in refused.value.detail
