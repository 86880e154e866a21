"""What JSON answers on jobs hold."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from worker.contract import (
    ItemState,
    JobError,
    JobModel,
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
    output: str = Field(
        description="folder of the pictures, below the data root, output root or store"
    )
    error: JobError | None
    notice: str | None = Field(description="something that a person should know")
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
    image: str
    name: str
    true_class: str | None
    status: ItemState
    error: ItemError | None
    links: dict[str, str]


class ItemPage(BaseModel):
    """GET /v1/jobs/{id}/items."""

    items: list[Item]
    total: int
    offset: int
    limit: int


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
        error=state.error,
        notice=None if workers or state.finished else NO_WORKER,
        links={"self": address, **{part: f"{address}/{part}" for part in parts}},
    )
