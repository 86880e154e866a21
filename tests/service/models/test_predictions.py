"""The class that a model names for each test image, by functions of one process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import redis

from cam_engine.experiments.finding import ImageItem
from processes.redis_server import running_redis
from service.components import Components, build
from service.models.predictions import PredictedPage, mixed
from service.settings import Settings

Answer = TypeVar("Answer")
CB, FOCAL = "mobilenet_v3_small_cb", "mobilenet_v3_small_focal"


def item(path: str, true_class: str | None) -> ImageItem:
    return ImageItem(Path(path), Path(path).stem, true_class)


def test_a_mixed_order_depends_on_names_and_classes_alone() -> None:
    images = [item(f"/x/{c}/{n}.jpg", c) for c in ("elf", "ring") for n in range(50)]
    order = mixed(images)
    assert sorted(order, key=lambda image: image.path) == sorted(
        images, key=lambda image: image.path
    )
    assert order != tuple(images)
    assert mixed(images[::-1]) == order
    # An image more takes its place among the others, which stay in theirs.
    more = mixed([*images, item("/x/elf/new.jpg", "elf")])
    assert tuple(image for image in more if image.name != "new") == order
    assert {image.true_class for image in order[:10]} == {"elf", "ring"}


@dataclass
class Predicting:
    """A process's parts over a copy of the bundled experiment with few images."""

    parts: Components
    id: str
    images: list[Path]

    def page(self, model: str = CB, **more: Any) -> PredictedPage:
        words = {"offset": 0, "limit": 100, **more}
        return self.within(lambda: self.parts.predictions.page(self.id, model, **words))

    def within(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        async def run() -> Answer:
            return await work()

        return asyncio.run(run())


@pytest.fixture
def experiment(sample_run: Path, tmp_path: Path) -> Path:
    """A copy of the bundled experiment with few images."""
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    experiment = tmp_path / source.name
    shutil.copytree(source, experiment)
    images = sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    for image in images[6:]:
        image.unlink()
    return experiment


@contextmanager
def predicting_on(experiment: Path, **settings: Any) -> Iterator[Predicting]:
    given = {"data": experiment.parent, "catalog_seconds": 0, **settings}
    built = build(Settings.model_validate(given))
    built.decoding.start()
    images = sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    yield Predicting(built, experiment.name, images)
    built.decoding.close()
    for executor in built.executors:
        executor.shutdown()


@pytest.fixture
def predicting(experiment: Path, one_thread: None) -> Iterator[Predicting]:
    with predicting_on(experiment) as made:
        yield made


def test_every_image_has_its_prediction(predicting: Predicting) -> None:
    page = predicting.page()
    assert page.total == 6
    assert page.model == f"{predicting.id}/cls_{CB}"
    assert [image.path for image in page.images] == [
        path.relative_to(predicting.parts.catalog.root / predicting.id).as_posix()
        for path in predicting.images
    ]
    assert {image.true_class for image in page.images} == {
        path.parent.name for path in predicting.images
    }
    assert all(0.0 < (image.prediction.probability or 0.0) <= 1.0 for image in page.images)
    assert {image.prediction.problem for image in page.images} == {None}


def test_pages_are_parts_of_one_list(predicting: Predicting) -> None:
    whole = predicting.page().images
    assert predicting.page(offset=2, limit=3).images == whole[2:5]
    assert predicting.page(offset=6, limit=3).images == ()
    shuffled = predicting.page(order="mixed").images
    assert set(shuffled) == set(whole)
    assert predicting.page(order="mixed", offset=1, limit=2).images == shuffled[1:3]


def test_what_is_known_is_not_computed_again_until_the_file_is_another(
    predicting: Predicting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = predicting.page().images
    decoded: list[int] = []
    decode = predicting.parts.decoding.decode

    def counted(*given: Any) -> Any:
        decoded.append(1)
        return decode(*given)

    monkeypatch.setattr(predicting.parts.decoding, "decode", counted)
    assert predicting.page().images == first
    assert decoded == []
    predicting.images[0].write_bytes(predicting.images[1].read_bytes())
    again = predicting.page().images
    assert len(decoded) == 1
    now, same = again[0].prediction, first[1].prediction
    assert now.name == same.name
    assert now.probability == pytest.approx(same.probability, rel=1e-5)  # in another batch
    predicting.page(FOCAL)
    assert len(decoded) == 1 + 6  # another model's are its own


def test_another_models_weights_in_the_same_file_predict_anew(predicting: Predicting) -> None:
    other = predicting.page(FOCAL).images
    assert predicting.page().images != other
    experiment = predicting.parts.catalog.root / predicting.id
    weights = (experiment / f"cls_{FOCAL}" / "best.pt").read_bytes()
    (experiment / f"cls_{CB}" / "best.pt").write_bytes(weights)
    for now, same in zip(predicting.page().images, other, strict=True):
        assert now.prediction.name == same.prediction.name
        assert now.prediction.probability == pytest.approx(same.prediction.probability, rel=1e-5)


def test_an_image_that_cannot_be_read_says_why_and_keeps_no_other_back(
    predicting: Predicting,
) -> None:
    first = predicting.page().images
    predicting.images[0].write_bytes(b"no image")
    told = predicting.page().images
    assert told[0].prediction.problem == "invalid-image"
    assert (told[0].prediction.name, told[0].prediction.probability) == (None, None)
    assert told[1:] == first[1:]


def test_folders_that_mean_no_class_are_counted(predicting: Predicting) -> None:
    folder = predicting.images[0].parent
    folder.rename(folder.with_name("Elf"))
    page = predicting.page(limit=1)
    count = sum(path.parent == folder for path in predicting.images)
    assert page.folders_of_no_class == {"Elf": count}
    assert (page.images[0].true_class, page.images[0].folder) == (None, "Elf")


@pytest.mark.parametrize(
    ("wanted", "model", "code"),
    [("nowhere", CB, "experiment-not-found"), (None, "none", "model-not-found")],
)
def test_what_is_not_there_is_said(
    predicting: Predicting, wanted: str | None, model: str, code: str
) -> None:
    predicting.id = wanted or predicting.id
    with pytest.raises(Exception) as refused:  # noqa: PT011 (CamError or ServiceError)
        predicting.page(model)
    assert getattr(refused.value, "code", None) == code


@contextmanager
def counted_decodings(predicting: Predicting) -> Iterator[list[int]]:
    decoded: list[int] = []
    decode = predicting.parts.decoding.decode

    def counted(*given: Any) -> Any:
        decoded.append(1)
        return decode(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting.parts.decoding, "decode", counted)
        yield decoded


def test_what_one_process_predicted_the_others_know(
    experiment: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> None:
    with (
        running_redis(tmp_path_factory.mktemp("redis")) as server,
        predicting_on(experiment, redis_url=server.url) as one,
        predicting_on(experiment, redis_url=server.url) as other,
    ):
        first = one.page()
        with counted_decodings(other) as decoded:
            assert other.page() == first
            assert decoded == []
            assert other.page(model=FOCAL) != first  # another model's are its own
            assert len(decoded) == 6
        image = one.images[0]
        image.write_bytes(image.read_bytes())
        with counted_decodings(other) as decoded:
            other.page()
            assert len(decoded) == 1
        server.kill()
        with counted_decodings(one) as decoded:
            one.page()
            assert len(decoded) == 1


def test_what_is_no_prediction_of_the_model_is_not_believed(
    experiment: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> None:
    told = [b"", b"null", b"{}", b'["ring"]', b'["none", 0.5]', b'["ring", 2.0]', b'["ring", "1"]']
    with (
        running_redis(tmp_path_factory.mktemp("redis")) as server,
        predicting_on(experiment, redis_url=server.url) as one,
    ):
        first = one.page()
        with redis.Redis.from_url(server.url) as client:
            [key] = cast("list[bytes]", client.keys("*:entry:predictions:*"))
            fields = cast("list[bytes]", client.hkeys(key))
            assert len(fields) == 6
            for field, value in zip(fields, told, strict=False):
                client.hset(key, field, value)
            with (
                predicting_on(experiment, redis_url=server.url) as other,
                counted_decodings(other) as decoded,
            ):
                again = other.page()
                assert len(decoded) == 6
        for was, now in zip(first.images, again.images, strict=True):
            assert was.prediction.name == now.prediction.name
