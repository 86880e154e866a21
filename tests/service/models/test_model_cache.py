"""The model cache by itself: one load for all, bounds, and replaced files."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cam_engine.errors import CheckpointInvalid
from processes.eventually import eventually
from service.http.problems import ServiceError
from service.models.catalog import FileStamp, ModelEntry, model_stamp_of
from service.models.model_cache import LoadedModel, ModelCache, fresh_stamp
from service.watching.metrics import Metrics


def entry(id_: str, version: int = 0) -> ModelEntry:
    return ModelEntry(id_, "experiment", id_, FileStamp(Path(id_), version, 1, 1))


@dataclass
class Disk:
    """Stands for reading model files: counts them, and can be held back or damaged."""

    loads: list[str] = field(default_factory=list)
    reading: set[str] = field(default_factory=set)
    held: dict[str, threading.Event] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)

    def __call__(self, entry: ModelEntry, stamp: FileStamp) -> LoadedModel:
        self.loads.append(entry.id)
        held = self.held.get(entry.id)
        self.reading.add(entry.id)
        assert held is None or held.wait(10)
        if entry.id in self.damaged:
            raise CheckpointInvalid(f"{entry.id} is damaged")
        return cast("LoadedModel", SimpleNamespace(id=entry.id, stamp=stamp, bytes_used=10))


Test = Callable[[ModelCache, Disk, Metrics], Coroutine[Any, Any, None]]


def run(test: Test, most_models: int = 2, most_bytes: int = 1000) -> None:
    disk, metrics = Disk(), Metrics()
    with ThreadPoolExecutor(2) as pool:
        cache = ModelCache(disk, pool, metrics, most_models=most_models, most_bytes=most_bytes)
        asyncio.run(test(cache, disk, metrics))


async def begun(disk: Disk, id_: str) -> None:
    """Until the model is being read."""
    await asyncio.to_thread(eventually, f"{id_} is being read", lambda: id_ in disk.reading)


async def get(cache: ModelCache, id_: str, version: int = 0) -> LoadedModel:
    wanted = entry(id_, version)
    return await cache.get(wanted, wanted.stamp)


def test_all_who_wait_for_a_model_share_one_loading() -> None:
    async def test(cache: ModelCache, disk: Disk, metrics: Metrics) -> None:
        models = await asyncio.gather(*[get(cache, "a") for _ in range(5)])
        assert len({id(model) for model in models}) == 1
        assert await get(cache, "a") is models[0]
        assert disk.loads == ["a"]
        labels = {"model": "a", "outcome": "succeeded"}
        assert metrics.registry.get_sample_value("gradcam_model_loads_total", labels) == 1

    run(test)


def test_a_model_in_memory_is_had_while_another_is_being_loaded() -> None:
    async def test(cache: ModelCache, disk: Disk, _metrics: Metrics) -> None:
        await get(cache, "a")
        disk.held["slow"] = threading.Event()
        slow = asyncio.ensure_future(get(cache, "slow"))
        await begun(disk, "slow")
        async with asyncio.timeout(2):
            await get(cache, "a")
            await get(cache, "b")
        assert not slow.done()
        disk.held["slow"].set()
        assert (await slow).id == "slow"

    run(test)


def test_the_least_recently_used_goes_first_and_the_pinned_never() -> None:
    async def test(cache: ModelCache, _disk: Disk, metrics: Metrics) -> None:
        cache.pin("pinned")
        for id_ in ("pinned", "a", "b", "a", "c"):
            await get(cache, id_)
        assert cache.loaded_ids == {"pinned", "a", "c"}
        assert metrics.registry.get_sample_value("gradcam_model_evictions_total") == 1
        assert metrics.registry.get_sample_value("gradcam_models_loaded") == 3

    run(test, most_models=3)


def test_bytes_are_bounded_but_the_model_in_use_stays() -> None:
    async def test(cache: ModelCache, _disk: Disk, _metrics: Metrics) -> None:
        for id_ in ("a", "b", "c"):
            await get(cache, id_)
        assert cache.loaded_ids == {"b", "c"}

    async def alone(cache: ModelCache, _disk: Disk, _metrics: Metrics) -> None:
        await get(cache, "a")
        assert cache.loaded_ids == {"a"}

    run(test, most_models=9, most_bytes=25)
    run(alone, most_bytes=5)


def test_a_file_that_changed_is_loaded_anew_and_takes_the_old_ones_place() -> None:
    async def test(cache: ModelCache, disk: Disk, _metrics: Metrics) -> None:
        old, new = await get(cache, "a", 1), await get(cache, "a", 2)
        assert old is not new
        assert cache.loaded_ids == {"a"}
        assert await get(cache, "a", 2) is new
        assert disk.loads == ["a", "a"]

    run(test)


def test_a_failed_loading_is_told_to_all_and_tried_again() -> None:
    async def test(cache: ModelCache, disk: Disk, metrics: Metrics) -> None:
        disk.damaged.add("a")
        failed = await asyncio.gather(*[get(cache, "a")] * 3, return_exceptions=True)
        assert all(isinstance(error, CheckpointInvalid) for error in failed)
        labels = {"model": "a", "outcome": "failed"}
        assert metrics.registry.get_sample_value("gradcam_model_loads_total", labels) == 1
        disk.damaged.clear()
        assert (await get(cache, "a")).id == "a"

    run(test)


def test_a_loading_goes_on_when_who_asked_goes_away() -> None:
    async def test(cache: ModelCache, disk: Disk, _metrics: Metrics) -> None:
        disk.held["a"] = threading.Event()
        asked = asyncio.ensure_future(get(cache, "a"))
        await begun(disk, "a")
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        disk.held["a"].set()
        assert (await get(cache, "a")).id == "a"
        assert disk.loads == ["a"]

    run(test)


def test_an_old_file_that_finishes_late_does_not_push_out_the_new_one() -> None:
    async def test(cache: ModelCache, disk: Disk, _metrics: Metrics) -> None:
        disk.held["a"] = threading.Event()
        old = asyncio.ensure_future(get(cache, "a", 1))
        await begun(disk, "a")
        gate = disk.held.pop("a")
        new = await get(cache, "a", 2)
        gate.set()
        await old
        assert await get(cache, "a", 2) is new
        assert disk.loads == ["a", "a"]

    run(test)


def test_a_files_stamp_changes_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    file.write_bytes(b"one")
    first = model_stamp_of(file)
    assert model_stamp_of(file) == first
    other = tmp_path / "new.pt"
    other.write_bytes(b"two")
    other.replace(file)
    assert model_stamp_of(file) != first
    entry = ModelEntry("id", "experiment", "name", first)
    assert fresh_stamp(entry) == model_stamp_of(file)
    file.unlink()
    with pytest.raises(ServiceError) as refused:
        fresh_stamp(entry)
    assert refused.value.code == "model-not-found"
