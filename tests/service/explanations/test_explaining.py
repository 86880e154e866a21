"""What is explained for a request, by functions of one process: sources, models, and refusals."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cam_engine.errors import CamError, ClassNotFound, LayerNotFound
from service.components import Components, build
from service.explanations.answers import Answer
from service.explanations.requests import StoredImageRequest
from service.http.problems import ServiceError
from service.http.work import Work
from service.settings import Settings

PNG = "image/png"
CB, FOCAL = "mobilenet_v3_small_cb", "mobilenet_v3_small_focal"


@pytest.fixture(scope="module")
def experiment(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled one, alone in a data root."""
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    target = tmp_path_factory.mktemp("data") / source.name
    shutil.copytree(source, target)
    return target


@pytest.fixture(scope="module")
def parts(experiment: Path) -> Iterator[Components]:
    built = build(Settings(data=experiment.parent, catalog_seconds=0, sync_max_images=4))
    built.decoding.start()
    yield built
    built.decoding.close()
    for executor in built.executors:
        executor.shutdown()


@pytest.fixture
def image(experiment: Path) -> str:
    """A test image's path below its experiment."""
    crop = sorted(experiment.glob("crops_gt_crops/crops/test/ring/*.jpg"))[0]
    return crop.relative_to(experiment).as_posix()


def explained(parts: Components, work: Work | None = None, **fields: Any) -> Answer:
    request = StoredImageRequest(**fields)
    return asyncio.run(parts.explaining.stored(request, PNG, work or Work()))


def refused(parts: Components, **fields: Any) -> str:
    try:
        explained(parts, **fields)
    except (CamError, ServiceError) as error:
        return error.code
    raise AssertionError("it was explained")


def test_an_image_is_explained_by_the_model_that_is_named(
    parts: Components, experiment: Path, image: str
) -> None:
    work = Work()
    answer = explained(parts, work, experiment=experiment.name, image=image, model=FOCAL)
    (item,) = answer.items
    assert item.source.name == f"{experiment.name}/{image}"
    assert item.source.true_class == "ring"
    assert item.source.sha256 == hashlib.sha256((experiment / image).read_bytes()).hexdigest()
    assert answer.model.id == work.model_id == f"{experiment.name}/cls_{FOCAL}"
    assert not answer.is_sheet
    assert work.timings.batch_size == 1
    assert work.timings.decode > 0
    whole_path = explained(parts, image=f"{experiment.name}/{image}", model=answer.model.id)
    assert whole_path.items[0].source.name == item.source.name


def test_without_a_name_the_best_model_is_used(
    parts: Components, experiment: Path, image: str
) -> None:
    best = parts.catalog.best_model(parts.catalog.experiment(experiment.name)).id
    assert explained(parts, experiment=experiment.name, image=image).model.id == best


def test_a_sheet_has_an_image_of_each_class_or_as_many_as_are_asked_for(
    parts: Components, experiment: Path
) -> None:
    classes = {path.name for path in (experiment / "crops_gt_crops/crops/test").iterdir()}
    answer = explained(parts, experiment=experiment.name)
    assert answer.is_sheet
    assert sorted(item.source.true_class or "" for item in answer.items) == sorted(classes)
    assert len(explained(parts, experiment=experiment.name, max_images=2).items) == 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid-request"),
        ({"experiment": "{experiment}", "image": "{image}", "max_images": 2}, "invalid-request"),
        ({"experiment": "{experiment}", "view": "panel"}, "invalid-option"),
        ({"experiment": "{experiment}", "max_images": 5}, "too-many-images"),
        ({"experiment": "nowhere"}, "experiment-not-found"),
        ({"experiment": "{experiment}", "image": "none.jpg"}, "image-not-found"),
        ({"experiment": "{experiment}", "image": "../x.jpg"}, "path-outside-root"),
        ({"experiment": "{experiment}", "image": "{image}", "model": "none"}, "model-not-found"),
        ({"experiment": "{experiment}", "image": "{image}", "layer": "attic"}, LayerNotFound.code),
        ({"experiment": "{experiment}", "image": "{image}", "target": "elf"}, ClassNotFound.code),
    ],
)
def test_what_cannot_be_explained_is_said(
    parts: Components, experiment: Path, image: str, fields: dict[str, Any], code: str
) -> None:
    told = {
        name: value.format(experiment=experiment.name, image=image)
        if isinstance(value, str)
        else value
        for name, value in fields.items()
    }
    assert refused(parts, **told) == code


def test_of_a_sheet_the_image_that_cannot_be_read_is_named(
    parts: Components, experiment: Path
) -> None:
    crop = sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))[0]
    content = crop.read_bytes()
    crop.write_bytes(b"")
    try:
        with pytest.raises(CamError):
            explained(parts, experiment=experiment.name)
    finally:
        crop.write_bytes(content)


def test_a_picture_is_completed_for_what_shows_more(
    parts: Components, experiment: Path, image: str
) -> None:
    answer = explained(parts, experiment=experiment.name, image=image, model=CB)
    assert answer.items[0].explanation.unenhanced is None  # no overlay shows it
    complete = parts.explaining.completed
    assert asyncio.run(complete(answer, PNG, Work())) is answer
    whole = asyncio.run(complete(answer, "application/json", Work()))
    assert whole.items[0].explanation.unenhanced is not None
    assert whole.items[0].source is answer.items[0].source
    assert asyncio.run(complete(whole, "application/json", Work())) is whole
    checkpoint = experiment / f"cls_{CB}" / "best.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes((experiment / f"cls_{FOCAL}" / "best.pt").read_bytes())
    try:
        with pytest.raises(ServiceError) as gone:
            asyncio.run(complete(answer, "application/json", Work()))
        assert gone.value.code == "explanation-gone"
    finally:
        checkpoint.write_bytes(content)


def test_a_warm_model_is_in_memory(parts: Components, experiment: Path) -> None:
    id_ = f"{experiment.name}/cls_{FOCAL}"
    asyncio.run(parts.explaining.warm_up(id_))
    assert id_ in parts.models.loaded_ids
