"""Answers that two processes share through a real Redis, with the scopes they were made under."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import redis
from structlog.testing import capture_logs

from processes.redis_server import RedisServer, running_redis
from service.components import Components, build
from service.explanations import kept_answers
from service.explanations.answers import Answer
from service.explanations.representations import PNG
from service.explanations.requests import StoredImageRequest
from service.explanations.view_tokens import ViewScope
from service.http.problems import ServiceError
from service.http.work import Work
from service.settings import Settings

Result = TypeVar("Result")
SCOPE = ViewScope("caller", "experiment_x")
OTHER = ViewScope("caller", "experiment_y")
ALPHAS = iter(range(1, 10_000))


@pytest.fixture(scope="module")
def data(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    target = tmp_path_factory.mktemp("data") / "experiment_x"
    shutil.copytree(source, target)
    return target.parent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as started:
        yield started


@dataclass
class Replica:
    """One process's parts, which live in one process here."""

    parts: Components
    image: str

    def keep(self, scope: ViewScope | None = None, answer: Answer | None = None) -> Answer:
        """A new answer, kept."""
        made = answer or self.explained()

        async def drawn() -> str:
            return "drawn"

        assert run(lambda: self.parts.kept.keep(made, scope, drawn())) == "drawn"
        return made

    def explained(self) -> Answer:
        request = StoredImageRequest(
            experiment="experiment_x", image=self.image, alpha=next(ALPHAS) / 10_000
        )
        return run(lambda: self.parts.explaining.stored(request, PNG, Work()))

    def has(self, answer: Answer, scope: ViewScope | None = None) -> bool:
        try:
            again = run(lambda: self.parts.kept.again(answer.digest, scope))
        except ServiceError as error:
            return error.code != "explanation-not-found"
        return again.digest == answer.digest

    def catch_up(self) -> None:
        run(self.parts.kept.catch_up)

    def count(self, outcome: str) -> float:
        value = self.parts.metrics.registry.get_sample_value(
            "gradcam_shared_answers_total", {"outcome": outcome}
        )
        return value or 0.0


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    async def within() -> Result:
        return await work()

    return asyncio.run(within())


@pytest.fixture
def replica(data: Path, server: RedisServer) -> Iterator[Callable[..., Replica]]:
    started: list[Components] = []
    crop = sorted(data.glob("experiment_x/crops_gt_crops/crops/test/ring/*.jpg"))[0]

    def start(**settings: Any) -> Replica:
        given = {"data": data, "redis_url": server.url, **settings}
        built = build(Settings.model_validate(given))
        built.decoding.start()
        started.append(built)
        return Replica(built, crop.relative_to(data / "experiment_x").as_posix())

    yield start
    for built in started:
        built.decoding.close()
        for executor in built.executors:
            executor.shutdown()


def test_what_one_kept_the_other_has(replica: Callable[..., Replica]) -> None:
    one, other = replica(), replica()
    answer = one.keep()
    assert other.has(answer)
    assert (one.count("kept"), other.count("found")) == (1, 1)
    assert other.has(answer)  # from its memory by now
    assert other.count("found") == 1
    third = replica(redis_prefix="another")
    assert not third.has(answer)
    assert third.count("missing") == 1


def test_answers_outlive_the_process_that_made_them(replica: Callable[..., Replica]) -> None:
    answer = replica().keep()
    assert replica().has(answer)


@pytest.mark.parametrize("settings", [{"redis_url": None}, {"shared_answers_bytes": 0}])
def test_each_keeps_its_own_where_nothing_is_shared(
    replica: Callable[..., Replica], server: RedisServer, settings: dict[str, Any]
) -> None:
    one, other = replica(**settings), replica(**settings)
    answer = one.keep()
    one.catch_up()
    assert one.has(answer)
    assert not other.has(answer)
    assert not replica().has(answer)
    with redis.Redis.from_url(server.url) as client:
        assert not client.keys("*shared*")


def test_redis_is_not_asked_for_what_is_no_digest(replica: Callable[..., Replica]) -> None:
    one = replica()
    for digest in ("x", "0" * 63, "0" * 65, "G" * 64, "../" * 20):
        with pytest.raises(ServiceError):
            run(lambda digest=digest: one.parts.kept.again(digest, None))  # type: ignore[misc]
    assert one.count("missing") == 0


def test_scopes_are_shared_with_the_answers(replica: Callable[..., Replica]) -> None:
    one, other = replica(), replica()
    answer = one.keep(SCOPE)
    assert not other.has(answer, OTHER)
    assert other.has(answer, SCOPE)
    assert not one.has(answer, OTHER)
    other.keep(OTHER, answer)
    for either in (one, other, replica()):
        assert either.has(answer, SCOPE)
        assert either.has(answer, OTHER)
        assert not either.has(answer, ViewScope("another", "experiment_x"))


def test_an_answer_that_is_here_is_shown_by_a_scope_that_is_there(
    replica: Callable[..., Replica],
) -> None:
    one, other = replica(), replica()
    answer = other.keep()
    assert not other.has(answer, SCOPE)
    one.keep(SCOPE, answer)
    assert other.has(answer, SCOPE)
    assert other.count("found") == 0


def test_what_a_scope_has_shown_it_shows_without_redis_too(
    replica: Callable[..., Replica], server: RedisServer
) -> None:
    one, other = replica(), replica()
    answer = one.keep(SCOPE)
    assert other.has(answer, SCOPE)
    server.kill()
    assert other.has(answer, SCOPE)
    assert not other.has(answer, OTHER)


def test_a_scope_that_is_here_shows_an_answer_that_is_there(
    replica: Callable[..., Replica],
) -> None:
    one = replica(answers_bytes=100_000)
    answer = one.keep(SCOPE)
    for _ in range(30):
        one.keep()
    assert one.parts.kept._memory.peek(answer.digest) is None
    assert one.has(answer, SCOPE)
    assert one.count("found") == 1


def test_what_cannot_be_read_is_not_there(
    replica: Callable[..., Replica], server: RedisServer
) -> None:
    one, other = replica(), replica()
    answer = one.keep()
    with redis.Redis.from_url(server.url) as client:
        [key] = cast("list[bytes]", client.keys("gradcam:shared:entry:*"))
        client.hset(key, "answer", b"something else")
    with capture_logs() as logs:
        assert not other.has(answer)
    assert [entry["event"] for entry in logs] == ["a shared answer is not used"]
    assert other.count("unreadable") == 1
    one.keep(answer=answer)
    assert other.has(answer)


def test_one_that_is_too_large_is_kept_here(replica: Callable[..., Replica]) -> None:
    one = replica(shared_answers_bytes=1000)
    answer = one.keep()
    assert one.count("too-large") == 1
    assert one.has(answer)
    assert not replica().has(answer)


def test_without_redis_answers_are_kept_here_and_shared_once_it_is_back(
    replica: Callable[..., Replica], server: RedisServer
) -> None:
    one, other = replica(), replica()
    server.kill()
    first, second = one.keep(SCOPE), one.keep()
    assert one.has(first, SCOPE)
    assert not other.has(first)
    assert other.count("away") == 1
    one.catch_up()
    server.start()
    other.catch_up()
    assert not other.has(first)
    one.catch_up()
    assert other.has(first, SCOPE)
    assert not other.has(second, SCOPE)
    assert other.has(second)
    assert one.count("kept") == 2
    one.catch_up()
    assert one.count("kept") == 2


def test_only_so_many_are_shared_later(
    replica: Callable[..., Replica], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answers, "_MOST_UNSHARED", 2)
    one, other = replica(), replica()
    server.kill()
    answers = [one.keep() for _ in range(3)]
    server.start()
    one.catch_up()
    other.catch_up()
    assert [other.has(answer) for answer in answers] == [False, True, True]


def test_a_redis_that_hangs_holds_nobody_up_for_long(
    replica: Callable[..., Replica], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answers, "_SHARING_SECONDS", 0.05)
    one = replica()
    server.pause()
    try:
        answer = one.explained()

        async def kept() -> bool:
            async def drawn() -> str:
                return "drawn"

            assert await one.parts.kept.keep(answer, None, drawn()) == "drawn"
            still = bool(one.parts.kept._sharing)
            await one.parts.kept.settled()
            return still and not one.parts.kept._sharing

        assert run(kept)  # it went on by itself
        assert one.has(answer)
        assert one.count("away") == 1
    finally:
        server.resume()


def test_it_is_there_before_the_response_is(replica: Callable[..., Replica]) -> None:
    """And is sent while the picture is drawn, not after."""
    one, other = replica(), replica()
    answer = one.explained()

    async def drawn_until_shared() -> str:
        while one.count("kept") == 0:
            await asyncio.sleep(0.01)
        return "drawn"

    run(lambda: one.parts.kept.keep(answer, None, drawn_until_shared()))
    for _ in range(5):
        assert other.has(one.keep())


def test_a_picture_that_fails_keeps_nothing_back(replica: Callable[..., Replica]) -> None:
    one, other = replica(), replica()
    answer = one.explained()

    async def fails() -> str:
        raise ServiceError("invalid-option", "cannot be drawn")

    async def kept() -> None:
        with pytest.raises(ServiceError, match="drawn"):
            await one.parts.kept.keep(answer, None, fails())
        await one.parts.kept.settled()

    run(kept)
    assert other.has(answer)
