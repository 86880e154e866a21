"""What the data root holds: experiments, images and models."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from cam_engine.class_names import folded, one_spelling
from cam_engine.errors import CamError
from cam_engine.experiments.finding import FoundImages
from cam_engine.experiments.skipped import NOTHING
from cam_engine.models.fitting.heads import head_words
from service.components import Components
from service.http.documented import BASIC, problems
from service.http.problems import ServiceError
from service.http.requested import base_path
from service.models import responses
from service.models.catalog import Catalog, ExperimentEntry, ModelEntry, Unreadable
from service.models.model_cache import LoadedModel
from service.routes.access import Parts, authorised

router = APIRouter(prefix="/v1", dependencies=[Depends(authorised)])

_PATHS = ("path-outside-root", "experiment-not-found")


class ImageQuery(BaseModel):
    """Which images of an experiment."""

    model_config = ConfigDict(extra="forbid")

    split: Literal["test", "train", "val"] | None = Field(None, description="default: all")
    class_name: str | None = Field(
        None, alias="class", description="class folder, whatever the case; default: all"
    )
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(50, ge=1, le=500)


@router.get(
    "/experiments",
    tags=["experiments"],
    summary="All experiments of the data root",
    responses=problems(*BASIC),
)
async def list_experiments(request: Request, parts: Parts) -> responses.ExperimentList:
    """Their models, classes and numbers of images; the newest run's first."""
    return await asyncio.to_thread(_experiments, parts.catalog, base_path(request))


@router.get(
    "/experiments/{path:path}/images",
    tags=["experiments"],
    summary="An experiment's images, page by page",
    responses=problems(*BASIC, *_PATHS, "invalid-request"),
)
async def list_images(
    path: str, query: Annotated[ImageQuery, Query()], request: Request, parts: Parts
) -> responses.ImagePage:
    """Ordered by split and path; `path` is what POST /v1/explanations takes as `image`."""
    address = f"{base_path(request)}/v1/experiments/{quote(path)}/images"
    return await asyncio.to_thread(_page, parts.catalog, path, query, address)


@router.get(
    "/experiments/{path:path}",
    tags=["experiments"],
    summary="One experiment",
    responses=problems(*BASIC, *_PATHS),
)
async def get_experiment(path: str, request: Request, parts: Parts) -> responses.ExperimentSummary:
    """Its models, classes and numbers of images."""

    def work() -> responses.ExperimentSummary:
        return _experiment(parts.catalog, parts.catalog.experiment(path), base_path(request))

    return await asyncio.to_thread(work)


@router.get("/models", tags=["models"], summary="All models", responses=problems(*BASIC))
async def list_models(request: Request, parts: Parts) -> responses.ModelList:
    """From their files' headers: no weights are loaded for it."""
    models = await asyncio.to_thread(_models, parts, base_path(request))
    return responses.ModelList(models=models)


@router.get(
    "/models/{id:path}",
    tags=["models"],
    summary="One model",
    responses=problems(*BASIC, "path-outside-root", "model-not-found", "model-ambiguous"),
)
async def get_model(id: str, request: Request, parts: Parts) -> responses.ModelSummary:  # noqa: A002 (as the path names it)
    """Its architecture, classes, and layers with their grids."""

    def work() -> responses.ModelSummary:
        entry = parts.catalog.model(id)
        return _model(parts, entry, _default_id(parts), base_path(request))

    return await asyncio.to_thread(work)


def _experiments(catalog: Catalog, base: str) -> responses.ExperimentList:
    entries = catalog.found_experiments()
    experiments = [_experiment(catalog, entry, base) for entry in entries.entries]
    return responses.ExperimentList(
        experiments=experiments, skipped=responses.skipped_files(entries.skipped)
    )


def _experiment(catalog: Catalog, entry: ExperimentEntry, base: str) -> responses.ExperimentSummary:
    splits = []
    names = entry.experiment.splits
    images = {split: catalog.found_images(entry, split) for split in names}
    spelling = _spelling(images.values())
    for split in names:
        counts = Counter(spelling.get(item.true_class or "", "") for item in images[split].items)
        splits.append(
            responses.SplitSummary(
                split=split,
                images=counts.total(),
                classes={name: count for name, count in sorted(counts.items()) if name},
                skipped=responses.skipped_files(images[split].skipped),
            )
        )
    address = f"{base}/v1/experiments/{quote(entry.id)}"
    skipped = sum((folder.skipped for folder in images.values()), entry.skipped)
    return responses.ExperimentSummary(
        path=entry.id,
        name=entry.experiment.name,
        classes=sorted({name for split in splits for name in split.classes}),
        models=[model.id for model in entry.models],
        images=sum(split.images for split in splits),
        splits=splits,
        skipped=responses.skipped_files(skipped),
        links={"self": address, "images": f"{address}/images"},
    )


def _spelling(splits: Iterable[FoundImages]) -> dict[str, str]:
    """The one name of all class folders of an experiment that are named alike."""
    return one_spelling(item.true_class for folder in splits for item in folder.items)


def _page(catalog: Catalog, path: str, query: ImageQuery, address: str) -> responses.ImagePage:
    entry = catalog.experiment(path)
    prefix = f"{entry.id}/"
    splits = {split: catalog.found_images(entry, split) for split in entry.experiment.splits}
    spelling = _spelling(splits.values())
    wanted = None if query.class_name is None else folded(query.class_name)
    asked = {split: there for split, there in splits.items() if query.split in {None, split}}
    images = [
        responses.ImageSummary(
            path=catalog.data.id_of(item.path).removeprefix(prefix),
            name=item.name,
            split=split,
            true_class=spelling.get(item.true_class or ""),
        )
        for split, there in asked.items()
        for item in there.items
        if wanted is None or (item.true_class is not None and folded(item.true_class) == wanted)
    ]
    start, limit = query.offset, query.limit
    links = {}
    if start + limit < len(images):
        links["next"] = _page_address(address, query, start + limit)
    if start > 0:
        links["previous"] = _page_address(address, query, max(0, start - limit))
    return responses.ImagePage(
        images=images[start : start + limit],
        total=len(images),
        offset=start,
        limit=limit,
        skipped=responses.skipped_files(
            sum((folder.skipped for folder in asked.values()), NOTHING)
        ),
        links=links,
    )


def _page_address(address: str, query: ImageQuery, offset: int) -> str:
    values = query.model_dump(by_alias=True, exclude_none=True) | {"offset": offset}
    return f"{address}?{urlencode(values)}"


def _models(parts: Components, base: str) -> list[responses.ModelSummary]:
    default = _default_id(parts)
    return [_model(parts, entry, default, base) for entry in parts.catalog.models()]


def _default_id(parts: Components) -> str | None:
    try:
        return parts.explaining.default_model().id
    except (CamError, ServiceError):
        return None


def _model(
    parts: Components, entry: ModelEntry, default: str | None, base: str
) -> responses.ModelSummary:
    facts = parts.catalog.facts(entry)
    header = None if isinstance(facts, Unreadable) else facts.header
    problem = None
    if isinstance(facts, Unreadable):
        detail = facts.detail.replace(f"{parts.catalog.root}/", "")
        problem = responses.ModelProblem(code=facts.code, detail=detail)
    names = header.class_names if header else None
    return responses.ModelSummary(
        id=entry.id,
        experiment=entry.experiment,
        name=entry.name,
        architecture=header.architecture if header else None,
        classes=None if names is None else list(names),
        layers=[]
        if isinstance(facts, Unreadable)
        else [
            responses.LayerSummary(name=grid.name, label=grid.label, grid=grid.grid)
            for grid in facts.grids
        ],
        input_size=header.input_size if header else None,
        val_acc=header.val_accuracy if header else None,
        epoch=header.epoch if header else None,
        loaded=entry.id in parts.models.loaded_ids,
        default=entry.id == default,
        size_bytes=entry.stamp.size,
        problem=problem,
        read=_reading(parts.models.loaded(entry.id)),
        links={"self": f"{base}/v1/models/{quote(entry.id)}"},
    )


def _reading(model: LoadedModel | None) -> responses.ModelReading | None:
    if model is None:
        return None
    read = model.explainer.classifier
    return responses.ModelReading(
        architecture=read.architecture,
        naming=read.naming,
        head=read.head,
        head_layers=head_words(read.network, read.head),
        mean=read.preprocessing.mean,
        std=read.preprocessing.std,
        sources=dict(read.sources),
        notices=list(read.notices),
        remarks=list(read.remarks),
    )
