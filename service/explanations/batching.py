"""Gathers concurrent images for one model into one pass of its network."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from cam_engine.errors import CamError
from cam_engine.maps.explainer import NetworkInput
from cam_engine.options import CamOptions
from cam_engine.results import Explanation
from service.executors import call_in
from service.models.model_cache import LoadedModel
from service.watching.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Computed:
    """An explanation, and what it took: waiting, the pass it was part of, that pass's images."""

    explanation: Explanation
    queue_seconds: float
    compute_seconds: float
    batch_size: int


@dataclass(slots=True)
class _Waiting:
    network_input: NetworkInput
    target: int | str | None
    future: asyncio.Future[Computed]
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, slots=True)
class _Group:
    """Images that can share a pass: same model, same computation."""

    model: LoadedModel
    options: CamOptions

    @property
    def key(self) -> Hashable:
        return self.model.id, self.model.stamp, self.options


class Batcher:
    """One pass at a time, on the executor's thread; groups take turns by their oldest image.

    While a pass runs, images gather; when none runs, one goes at once. Only while others of its
    model are being decoded does it wait for them, and `gather_seconds` at most.
    """

    def __init__(self, executor: Executor, metrics: Metrics, gather_seconds: float) -> None:
        self._executor = executor
        self._metrics = metrics
        self._gather_seconds = gather_seconds
        self._queues: dict[Hashable, tuple[_Group, deque[_Waiting]]] = {}
        self._decoding: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    @contextmanager
    def announced(self, model_id: str) -> Iterator[None]:
        """While it lasts, an image for the model is being decoded and will come soon."""
        self._decoding[model_id] = self._decoding.get(model_id, 0) + 1
        try:
            yield
        finally:
            self._decoding[model_id] -= 1
            if not self._decoding[model_id]:
                del self._decoding[model_id]
            self._changed.set()

    async def explain(
        self, model: LoadedModel, options: CamOptions, network_input: NetworkInput
    ) -> Computed:
        """Explain one image. Raises CamError. Cancelled while it waits, it is never computed."""
        # Target and drawing differ from image to image without dividing a batch.
        plain = CamOptions()
        shared = replace(
            options,
            target=None,
            colormap=plain.colormap,
            alpha=plain.alpha,
            blend=plain.blend,
            decoding=plain.decoding,
        )
        group = _Group(model, shared)
        future: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        _, queue = self._queues.setdefault(group.key, (group, deque()))
        queue.append(_Waiting(network_input, options.target, future))
        self._count()
        self._changed.set()
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            return await future
        finally:
            self._count()

    async def _run(self) -> None:
        """Passes until nothing waits."""
        while (group := self._oldest()) is not None:
            await self._gather(group)
            batch = self._take(group)
            if batch:
                await self._pass(group, batch)

    def _oldest(self) -> _Group | None:
        for key, (_, queue) in list(self._queues.items()):
            while queue and queue[0].future.done():
                queue.popleft()
            if not queue:
                del self._queues[key]
        waiting = self._queues.values()
        oldest = min(waiting, key=lambda pair: pair[1][0].since, default=None)
        return None if oldest is None else oldest[0]

    async def _gather(self, group: _Group) -> None:
        queue = self._queues[group.key][1]
        size = group.model.explainer.batch_size
        until = queue[0].since + self._gather_seconds
        while len(queue) < size and self._decoding.get(group.model.id):
            left = until - time.perf_counter()
            if left <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take(self, group: _Group) -> list[_Waiting]:
        queue = self._queues[group.key][1]
        waiting = [waiter for waiter in queue if not waiter.future.done()]
        size = batch_size(len(waiting), group.model.explainer.batch_size)
        batch = waiting[:size]
        queue.clear()
        queue.extend(waiting[size:])
        self._count()
        return batch

    async def _pass(self, group: _Group, batch: Sequence[_Waiting]) -> None:
        start = time.perf_counter()
        try:
            answers = await call_in(
                self._executor,
                group.model.explainer.explain_each,
                [item.network_input for item in batch],
                group.options,
                [item.target for item in batch],
            )
        except Exception as error:
            _settle(batch, [error] * len(batch))
            return
        seconds = time.perf_counter() - start
        self._metrics.batch_size.observe(len(batch))
        self._metrics.compute_seconds.labels(group.model.id).observe(seconds)
        _settle(
            batch,
            [
                answer
                if isinstance(answer, CamError)
                else Computed(answer, start - asked.since, seconds, len(batch))
                for asked, answer in zip(batch, answers, strict=True)
            ],
        )

    def _count(self) -> None:
        waiting = (waiter for _, queue in self._queues.values() for waiter in queue)
        self._metrics.queue_depth.set(sum(not waiter.future.done() for waiter in waiting))


def batch_size(waiting: int, most: int) -> int:
    """The most that there may be, or else a power of two.

    oneDNN compiles its kernels for each size anew and keeps them: five sizes, not sixteen.
    """
    return most if waiting >= most else 1 << max(0, waiting.bit_length() - 1)


def _settle(batch: Sequence[_Waiting], answers: Sequence[Computed | Exception]) -> None:
    for asked, answer in zip(batch, answers, strict=True):
        if asked.future.done():  # whoever asked has gone away
            continue
        if isinstance(answer, Exception):
            asked.future.set_exception(answer)
        else:
            asked.future.set_result(answer)
