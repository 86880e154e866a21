"""Jobs: submitted, watched, stopped, fetched."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from service.explanations.requests import parse
from service.http.bodies import JSON, read_json
from service.http.documented import BASIC, Documented, problems
from service.http.problems import ServiceError
from service.http.requested import base_path
from service.http.security import OPEN
from service.jobs import following
from service.jobs import responses as answers
from service.jobs.accepting import Jobs
from service.routes.access import Parts, authorised, without_query
from worker.jobs.contract import ItemState, JobRequest, JobState
from worker.jobs.outputs.storage import StoredFile

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(authorised)])
plans = APIRouter(prefix="/v1/job-plans", tags=["jobs"], dependencies=[Depends(authorised)])

_LONGEST_WAIT_SECONDS = 60
_MISSING = (*BASIC, "jobs-unavailable", "job-not-found")
_OF_FILES = ("path-outside-root", "file-not-found", "result-replaced")
_REFUSED = (
    *BASIC,
    "jobs-unavailable",
    "malformed-body",
    "request-timeout",
    "unsupported-media-type",
    "invalid-request",
    "body-too-large",
    "path-outside-root",
    "experiment-not-found",
    "no-models-found",
    "no-images-found",
    "output-holds-others",
    "webhook-not-allowed",
    "model-not-found",
    "output-not-writable",
)
_JOB_BODY = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": JobRequest.model_json_schema()}},
    }
}


async def jobs_of(request: Request, parts: Parts) -> Jobs:
    """Jobs for the caller, where a Redis is configured. Raises "jobs-unavailable"."""
    if parts.jobs is None:
        raise ServiceError(
            "jobs-unavailable",
            "this service has no Redis, which jobs need: set GRADCAM_REDIS_URL, or start "
            "everything with `gradcam up`",
            {"Retry-After": "60"},
        )
    caller = request.state.caller
    return parts.jobs.of(None if caller == OPEN else caller)


JobsHere = Annotated[Jobs, Depends(jobs_of)]


class JobQuery(BaseModel):
    """Which page of jobs."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(50, ge=1, le=500)


class WaitQuery(BaseModel):
    """How long to wait for news."""

    model_config = ConfigDict(extra="forbid")

    wait: int = Field(
        0, ge=0, le=_LONGEST_WAIT_SECONDS, description="seconds to wait for a change of the job"
    )


class ThumbnailQuery(BaseModel):
    """How large a thumbnail."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(640, ge=16, le=1280, description="pixels of the longer side at most")


class ItemQuery(JobQuery):
    """Which of a job's items."""

    status: ItemState | SkipJsonSchema[None] = Field(None, description="default: all")


@router.post(
    "",
    status_code=202,
    operation_id="submit_job",
    summary="Explain many images with many models",
    dependencies=[Depends(without_query)],
    response_model=answers.Job,
    openapi_extra=_JOB_BODY,
    responses=problems(*_REFUSED, "output-busy", "idempotency-conflict"),
)
async def submit(
    request: Request,
    response: Response,
    jobs: JobsHere,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> answers.Job:
    """Checked at once, computed by workers; `output` says where the pictures are.

    They never replace another recipe's, unless `replace` says so: where such pictures are, they go
    into a set of their own. The same `Idempotency-Key` with the same body answers with the same
    job.
    """
    wanted = parse(JobRequest, await read_json(request))
    accepted = await jobs.threads.call_patiently(jobs.accept, wanted, idempotency_key)
    response.headers["Location"] = f"{base_path(request)}/v1/jobs/{accepted.state.record.id}"
    return await _job(request, jobs, accepted.state)


@plans.post(
    "",
    operation_id="plan_job",
    summary="What would become of a job",
    dependencies=[Depends(without_query)],
    openapi_extra=_JOB_BODY,
    responses=problems(*_REFUSED),
)
async def plan(request: Request, jobs: JobsHere) -> answers.JobPlan:
    """The body of a job, checked as for one: how much it is, where its pictures would go, and
    what is there. Nothing is accepted or written.
    """
    wanted = parse(JobRequest, await read_json(request))
    return answers.job_plan(await jobs.threads.call_patiently(jobs.plan, wanted))


@router.get(
    "", summary="All jobs", responses=problems(*BASIC, "jobs-unavailable", "invalid-request")
)
async def list_jobs(
    request: Request, query: Annotated[JobQuery, Query()], jobs: JobsHere
) -> answers.JobList:
    """The newest first."""

    def work() -> answers.JobList:
        states, total = jobs.page(query.offset, query.limit)
        workers = bool(jobs.store.workers())
        listed = [answers.job(state, base_path(request), workers=workers) for state in states]
        return answers.JobList(jobs=listed, total=total, offset=query.offset, limit=query.limit)

    return await jobs.threads.call(work)


@router.get("/{job}", summary="One job", responses=problems(*_MISSING, "invalid-request"))
async def get_job(
    job: str, request: Request, query: Annotated[WaitQuery, Query()], jobs: JobsHere, parts: Parts
) -> answers.Job:
    """At once, or with `wait` as soon as its status or its progress changes."""

    async def is_given_up() -> bool:
        return parts.admission.ending or await request.is_disconnected()

    state = await following.change(jobs, job, query.wait, is_given_up)
    return await _job(request, jobs, state)


_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "for Last-Event-ID"},
        "event": {"enum": ["progress", "end"]},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"$ref": "#/components/schemas/Job"},
        },
    },
    "required": ["id", "event", "data"],
}


@router.get(
    "/{job}/events",
    summary="Progress as server-sent events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        **problems(*_MISSING, "invalid-request"),
    },
)
async def events(
    job: str,
    request: Request,
    jobs: JobsHere,
    parts: Parts,
    last_event_id: Annotated[str, Header(pattern="^[0-9]{1,19}(-[0-9]{1,19})?$")] = "0",
) -> StreamingResponse:
    """`progress` events with the job as data, and `end` with its end state; then it closes.

    With `Last-Event-ID`, what was missed comes first.
    """
    await jobs.threads.call(jobs.get, job)
    base = base_path(request)
    stream = following.events(
        jobs,
        job,
        last_event_id,
        lambda state: answers.job(state, base, workers=True),
        lambda: parts.admission.ending,
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.get(
    "/{job}/items",
    summary="A job's images, one by one",
    responses=problems(*_MISSING, "invalid-request"),
)
async def items(
    job: str, request: Request, query: Annotated[ItemQuery, Query()], jobs: JobsHere
) -> answers.ItemPage:
    """Ordered by model and image, with the error of those that failed."""
    base = base_path(request)

    def work() -> answers.ItemPage:
        page = jobs.results.items(jobs.get(job), query.status, query.offset, query.limit)
        return answers.item_page(page, job, base, query.offset, query.limit)

    return await jobs.threads.call(work)


_FILES: Documented = {
    200: {
        "content": {
            "image/png": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
            JSON: {"schema": {"type": "object"}},
        }
    }
}


@router.get(
    "/{job}/files/{path:path}",
    summary="One of a job's files",
    response_class=StreamingResponse,
    responses={**_FILES, **problems(*_MISSING, *_OF_FILES)},
)
async def file(job: str, path: str, jobs: JobsHere) -> Response:
    """A picture or a summary by its path below the job's output folder."""

    def find() -> Response:
        return _file_response(jobs.results.file(jobs.get(job), path))

    return await jobs.threads.call(find)


@router.get(
    "/{job}/thumbnails/{path:path}",
    summary="A small JPEG of one of a job's pictures",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string"}}}},
        **problems(*_MISSING, *_OF_FILES, "invalid-image", "invalid-request"),
    },
)
async def thumbnail(
    job: str, path: str, query: Annotated[ThumbnailQuery, Query()], jobs: JobsHere
) -> Response:
    """`path` as of its file; never larger than the picture itself."""

    def draw() -> bytes:
        return jobs.results.thumbnail(jobs.get(job), path, query.size)

    headers = {"Cache-Control": "private, max-age=60"}
    return Response(await jobs.threads.call(draw), media_type="image/jpeg", headers=headers)


@router.get(
    "/{job}/archive",
    summary="All of a job's files as a zip",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string"}}}},
        **problems(*_MISSING),
    },
)
async def archive(job: str, jobs: JobsHere) -> StreamingResponse:
    """Streams while it is made. Pictures that were replaced since are named in it, not put in."""
    chunks = jobs.results.archive(await jobs.threads.call(jobs.get, job))
    headers = {"Content-Disposition": f'attachment; filename="gradcam_{job}.zip"'}
    return StreamingResponse(chunks, media_type="application/zip", headers=headers)


@router.post(
    "/{job}/cancel",
    status_code=202,
    summary="Stop a job",
    responses=problems(*_MISSING),
)
async def cancel(job: str, request: Request, jobs: JobsHere) -> answers.Job:
    """Within a batch where it runs, at once where no worker is on it. Pictures stay."""
    return await _job(request, jobs, await jobs.threads.call(jobs.cancel, job))


@router.post(
    "/{job}/retry",
    status_code=202,
    summary="Run what failed again",
    responses=problems(
        *_MISSING, "job-unfinished", "nothing-to-retry", "output-busy", "output-holds-others"
    ),
)
async def retry(job: str, request: Request, jobs: JobsHere) -> answers.Job:
    """Failed and skipped items of an ended job are queued again."""
    return await _job(request, jobs, await jobs.threads.call_patiently(jobs.retry, job))


@router.delete(
    "/{job}",
    status_code=204,
    summary="Forget a job",
    responses=problems(*_MISSING, "job-unfinished"),
)
async def forget(job: str, jobs: JobsHere) -> None:
    """Removes the record and its manifest, never a picture."""
    await jobs.threads.call(jobs.forget, job)


def _file_response(file: StoredFile) -> Response:
    name = quote(PurePosixPath(file.path).name)
    disposition = f"inline; filename*=utf-8''{name}"
    headers = {"Content-Length": str(file.size), "Content-Disposition": disposition}
    return StreamingResponse(file.content(), media_type=file.media_type, headers=headers)


async def _job(request: Request, jobs: Jobs, state: JobState) -> answers.Job:
    workers = bool(await jobs.threads.call(jobs.store.workers))
    return answers.job(state, base_path(request), workers=workers)
