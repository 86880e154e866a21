"""What JSON answers on jobs hold."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from cam_engine.experiments.skipped import NOTHING
from service.jobs.accepting import JobPlan as Plan
from service.jobs.accepting import PlannedFolder
from service.jobs.results import ItemPage as Page
from service.jobs.results import JobItem
from service.models.responses import SkippedFiles, skipped_files
from worker.jobs.contract import (
    Below,
    ItemState,
    JobError,
    JobModel,
    JobNotice,
    JobRequest,
    JobState,
    JobStatus,
    Progress,
)

NO_WORKER = "no worker is up: the job waits until one is started (gradcam worker)"


class Job(BaseModel):
    """GET /v1/jobs/{id}."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="when an ended job's record is removed")
    progress: Progress
    request: JobRequest
    models: list[JobModel]
    output: str = Field(description="folder of the pictures")
    output_below: Below = Field(
        description="what the folder is below: the data root, GRADCAM_OUTPUT_ROOT, or the store"
    )
    activity: str | None = Field(description="what a worker does for it at the moment, in words")
    error: JobError | None
    notice: str | None = Field(description="something that a person should know")
    notices: list[JobNotice] = Field(
        description="what was assumed of its models and images until now: distinct sentences, at "
        "most 50, then one of: notices where there are more"
    )
    left_out: SkippedFiles = Field(
        description="of the experiment's images and models, when the job was accepted"
    )
    links: dict[str, str]


class JobList(BaseModel):
    """GET /v1/jobs."""

    jobs: list[Job]
    total: int
    offset: int
    limit: int


class ItemError(BaseModel):
    """Why an item failed."""

    code: str
    detail: str


class Item(BaseModel):
    """One image with one model."""

    model: str
    image: str | None = Field(description="null until it is chosen (pick=errors)")
    name: str | None
    true_class: str | None = Field(
        description="the model's class that the image's folder means, null where it means none; "
        "until the model is loaded, the folder"
    )
    folder: str | None = Field(description="the image's class folder")
    status: ItemState
    error: ItemError | None
    replaced: str | None = Field(description="why its picture is not the job's any more, in words")
    outdated: str | None = Field(
        description="why its picture is not of the image file as it is now, in words"
    )
    links: dict[str, str] = Field(
        description="figure and thumbnail where they are the job's own; replaced_by: another job"
    )


class ItemPage(BaseModel):
    """GET /v1/jobs/{id}/items."""

    items: list[Item]
    total: int
    offset: int
    limit: int


class Standing(BaseModel):
    """An output folder, and what is there of the job's models."""

    output: str
    output_below: Below
    holds: Literal["empty", "same", "other"] = Field(
        description="pictures of this job's recipe (same), or also of another recipe (other)"
    )
    figures: int = Field(description="main figures")
    made_by: str | None = Field(description="method and layers of what is there")


class JobPlan(BaseModel):
    """POST /v1/job-plans."""

    models: list[str] = Field(description="their folders")
    images: int = Field(description="images a model")
    available: int = Field(description="images that these are chosen from")
    left_out: SkippedFiles = Field(description="of the experiment's images and models")
    items: int
    destination: Standing = Field(description="where the pictures would go")
    usual: Standing = Field(description="where they would go if nothing were there")


def job_plan(plan: Plan) -> JobPlan:
    """A plan as JSON has it."""
    return JobPlan(
        models=[model.name for model in plan.models],
        images=plan.image_count,
        available=plan.available,
        left_out=skipped_files(plan.left_out),
        items=plan.image_count * len(plan.models),
        destination=_standing(plan.chosen),
        usual=_standing(plan.usual),
    )


def item_page(page: Page, job: str, base: str, offset: int, limit: int) -> ItemPage:
    """Items as JSON has them; base: what links begin with."""
    address = f"{base}/v1/jobs"
    items = [_item(item, f"{address}/{job}", address) for item in page.items]
    return ItemPage(items=items, total=page.total, offset=offset, limit=limit)


def _item(item: JobItem, own: str, jobs: str) -> Item:
    links = {}
    if item.figure is not None:
        path = quote(item.figure)
        links = {"figure": f"{own}/files/{path}", "thumbnail": f"{own}/thumbnails/{path}"}
    if item.replaced_by is not None:
        links["replaced_by"] = f"{jobs}/{item.replaced_by}"
    why, image = item.failure, item.image
    return Item(
        model=item.model,
        image=image.path if image else None,
        name=image.name if image else None,
        true_class=item.true_class,
        folder=image.true_class if image else None,
        status=item.state,
        error=None if why is None else ItemError(code=why.code, detail=why.detail),
        replaced=item.replaced,
        outdated=item.outdated,
        links=links,
    )


def _standing(planned: PlannedFolder) -> Standing:
    example = planned.contents.example
    options = example.facts.get("options", {}) if example is not None else {}
    layers = [*options.get("layers", []), *(["fused"] if options.get("fused") else [])]
    return Standing(
        output=planned.shown,
        output_below=planned.folder.below,
        holds=planned.contents.standing,
        figures=planned.contents.figures,
        made_by=f"{options.get('method')}: {', '.join(layers)}" if options else None,
    )


def job(state: JobState, base: str, *, workers: bool) -> Job:
    """A job as JSON has it; base: what links begin with; workers: whether any is up."""
    record = state.record
    address = f"{base}/v1/jobs/{record.id}"
    parts = ("events", "items", "archive", "cancel", "retry")
    return Job(
        id=record.id,
        status=state.status,
        created_at=record.created_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        expires_at=state.expires_at,
        progress=state.progress,
        request=record.request,
        models=list(record.models),
        output=record.output,
        output_below=record.folder.below if record.folder else "data",
        activity=state.activity,
        error=state.error,
        notice=None if workers or state.finished else NO_WORKER,
        notices=list(state.notices),
        left_out=skipped_files(record.left_out or NOTHING),
        links={"self": address, **{part: f"{address}/{part}" for part in parts}},
    )
