"""The batcher by itself: who shares a pass, who waits, and who is left out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from cam_engine.errors import ClassNotFound
from cam_engine.maps.explainer import NetworkInput
from cam_engine.options import CamOptions
from processes.eventually import eventually
from service.explanations.batching import Batcher, Computed, batch_size
from service.models.model_cache import LoadedModel
from service.watching.metrics import Metrics

PIXELS = np.zeros((2, 2, 3), np.uint8)
FOR_EVER = 3600.0  # longer than any test may take
OPTIONS = CamOptions(fused=True)


class Network:
    """Stands for an Explainer: keeps the sizes of its batches, and can be held back."""

    def __init__(self, batch_size: int = 4) -> None:
        self.batch_size = batch_size
        self.passes: list[list[Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.error: Exception | None = None

    def explain_each(
        self, images: Sequence[NetworkInput], _options: CamOptions, targets: Sequence[Any]
    ) -> list[Any]:
        self.begun.set()
        assert self.gate.wait(10)
        self.passes.append(list(targets))
        if self.error is not None:
            raise self.error
        return [
            ClassNotFound("no such class") if target == "elf" else (target, id(image))
            for image, target in zip(images, targets, strict=True)
        ]


def model(network: Network, id_: str = "a", stamp: int = 1) -> LoadedModel:
    return cast("LoadedModel", SimpleNamespace(id=id_, stamp=stamp, explainer=network))


def image() -> NetworkInput:
    return NetworkInput(PIXELS)


def run(test: Callable[[Batcher, Metrics], Any], gather_seconds: float = 0.05) -> None:
    metrics = Metrics()
    with ThreadPoolExecutor(1) as pool:
        asyncio.run(test(Batcher(pool, metrics, gather_seconds), metrics))


def depth(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("gradcam_queue_depth")
    assert value is not None
    return value


def ask(
    batcher: Batcher, of: LoadedModel, options: CamOptions = OPTIONS, target: Any = None
) -> asyncio.Task[Computed]:
    chosen = CamOptions(**{**_fields(options), "target": target})
    return asyncio.ensure_future(batcher.explain(of, chosen, image()))


def _fields(options: CamOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


async def begun(network: Network) -> None:
    assert await asyncio.to_thread(network.begun.wait, 10)


def test_an_idle_network_is_not_waited_for() -> None:
    async def test(batcher: Batcher, _metrics: Metrics) -> None:
        answer = await ask(batcher, model(Network()))
        assert answer.batch_size == 1

    run(test, gather_seconds=FOR_EVER)


def test_what_comes_during_a_pass_shares_the_next_ones_up_to_the_batch_size() -> None:
    async def test(batcher: Batcher, metrics: Metrics) -> None:
        network = Network(batch_size=4)
        network.gate.clear()
        first = ask(batcher, model(network), target=0)
        await begun(network)
        rest = [ask(batcher, model(network), target=number) for number in range(1, 7)]
        await asyncio.to_thread(eventually, "six wait", lambda: depth(metrics) == 6)
        network.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert network.passes == [[0], [1, 2, 3, 4], [5, 6]]
        assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]
        assert depth(metrics) == 0

    run(test)


def test_images_that_are_being_decoded_are_waited_for() -> None:
    async def test(batcher: Batcher, _metrics: Metrics) -> None:
        network = Network()
        with batcher.announced("a"):
            first = ask(batcher, model(network), target=1)
            await asyncio.sleep(0.02)
            assert not network.passes
            second = ask(batcher, model(network), target=2)
        await asyncio.gather(first, second)
        assert network.passes == [[1, 2]]
        with batcher.announced("b"):  # of another model: no reason to wait
            await ask(batcher, model(network), target=3)
        assert network.passes == [[1, 2], [3]]

    run(test, gather_seconds=FOR_EVER)


def test_an_image_that_never_comes_is_not_waited_for_long() -> None:
    async def test(batcher: Batcher, _metrics: Metrics) -> None:
        network = Network()
        with batcher.announced("a"):
            await ask(batcher, model(network), target=1)
        assert network.passes == [[1]]

    run(test)


def test_only_what_is_computed_alike_shares_a_pass() -> None:
    async def test(batcher: Batcher, _metrics: Metrics) -> None:
        network, other, replaced = Network(8), Network(8), Network(8)
        network.gate.clear()
        busy = ask(batcher, model(network), target="busy")
        await begun(network)
        asked = [
            ask(batcher, model(network), CamOptions(fused=True, alpha=0.1), "a"),
            ask(batcher, model(network), CamOptions(fused=True, colormap="jet"), "b"),
            ask(batcher, model(network), CamOptions(fused=True, method="gradcam"), "c"),
            ask(batcher, model(network), CamOptions(fused=True, clahe=False), "d"),
            ask(batcher, model(other, "b"), target="e"),
            ask(batcher, model(replaced, stamp=2), CamOptions(fused=True), target="f"),
        ]
        await asyncio.sleep(0)
        network.gate.set()
        await asyncio.gather(busy, *asked)
        assert network.passes == [["busy"], ["a", "b"], ["c"], ["d"]]
        assert other.passes == [["e"]]
        assert replaced.passes == [["f"]]  # the file has become another since

    run(test)


def test_one_images_error_is_its_own() -> None:
    async def test(batcher: Batcher, _metrics: Metrics) -> None:
        network = Network()
        network.gate.clear()
        busy = ask(batcher, model(network))
        await begun(network)
        asked = [ask(batcher, model(network), target=target) for target in ("x", "elf", "y")]
        await asyncio.sleep(0)
        network.gate.set()
        await busy
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[1], ClassNotFound)
        assert all(isinstance(answers[i], Computed) for i in (0, 2))

    run(test)


def test_after_a_failed_pass_the_next_one_works() -> None:
    async def test(batcher: Batcher, _metrics: Metrics) -> None:
        network = Network()
        network.error = RuntimeError("out of luck")
        with pytest.raises(RuntimeError):
            await ask(batcher, model(network))
        network.error = None
        assert (await ask(batcher, model(network))).batch_size == 1

    run(test)


def test_who_goes_away_while_waiting_is_never_computed_nor_counted() -> None:
    async def test(batcher: Batcher, metrics: Metrics) -> None:
        network = Network()
        network.gate.clear()
        busy = ask(batcher, model(network), target="busy")
        await begun(network)
        gone = [ask(batcher, model(network), target=f"gone {number}") for number in range(3)]
        stays = ask(batcher, model(network), target="stays")
        await asyncio.sleep(0)
        for client in gone:
            client.cancel()
        network.gate.set()
        await asyncio.gather(busy, stays, *gone, return_exceptions=True)
        assert network.passes == [["busy"], ["stays"]]
        assert depth(metrics) == 0

    run(test)


def test_the_queues_depth_is_none_once_all_that_waited_have_gone() -> None:
    async def test(batcher: Batcher, metrics: Metrics) -> None:
        network = Network()
        network.gate.clear()
        busy = ask(batcher, model(network))
        await begun(network)
        gone = [busy, *(ask(batcher, model(network)) for _ in range(3))]
        await asyncio.sleep(0)
        for client in gone:
            client.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        network.gate.set()
        await asyncio.sleep(0.05)
        assert depth(metrics) == 0

    run(test)


@pytest.mark.parametrize(
    ("waiting", "most", "size"), [(1, 16, 1), (3, 16, 2), (15, 16, 8), (16, 16, 16), (40, 12, 12)]
)
def test_batches_have_few_sizes(waiting: int, most: int, size: int) -> None:
    assert batch_size(waiting, most) == size
