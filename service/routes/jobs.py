"""Jobs: submitted, watched, stopped, fetched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from zipstream import ZIP_STORED, ZipStream

from cam_engine.outputs import MANIFEST, SUMMARY_CSV, SUMMARY_JSON, PicturePaths
from service import job_responses as answers
from service.jobs import Jobs
from service.problems import ServiceError
from service.routes.access import Parts, authorised, without_query
from service.routes.documented import BASIC, Documented, problems
from service.schemas import parse
from service.uploads import JSON, read_json
from worker.contract import ItemState, JobRequest, JobState
from worker.store.storage import StoredFile

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(authorised)])

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_LOOK_SECONDS = 0.5
_KEEP_ALIVE_SECONDS = 15.0
_LONGEST_WAIT_SECONDS = 60
_MISSING = (*BASIC, "jobs-unavailable", "job-not-found")


async def jobs_of(parts: Parts) -> Jobs:
    """Jobs, where a Redis is configured. Raises "jobs-unavailable"."""
    if parts.jobs is None:
        raise ServiceError(
            "jobs-unavailable",
            "this service has no Redis, which jobs need: set GRADCAM_REDIS_URL, or start "
            "everything with `gradcam up`",
            {"Retry-After": "60"},
        )
    return parts.jobs


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
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": JobRequest.model_json_schema()}},
        }
    },
    responses=problems(
        *BASIC,
        "jobs-unavailable",
        "malformed-body",
        "invalid-request",
        "body-too-large",
        "path-outside-root",
        "experiment-not-found",
        "no-models-found",
        "no-images-found",
        "output-busy",
        "idempotency-conflict",
        "webhook-not-allowed",
        "model-not-found",
        "output-not-writable",
    ),
)
async def submit(
    request: Request,
    response: Response,
    jobs: JobsHere,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> answers.Job:
    """Checked at once, computed by workers; the pictures land beside the experiment.

    The same `Idempotency-Key` with the same body answers with the same job.
    """
    wanted = parse(JobRequest, await read_json(request))
    accepted = await _blocking(jobs.accept, wanted, idempotency_key)
    response.headers["Location"] = f"{_base(request)}/v1/jobs/{accepted.state.record.id}"
    return await _job(request, jobs, accepted.state)


@router.get(
    "", summary="All jobs", responses=problems(*BASIC, "jobs-unavailable", "invalid-request")
)
async def list_jobs(
    request: Request, query: Annotated[JobQuery, Query()], jobs: JobsHere
) -> answers.JobList:
    """The newest first."""

    def work() -> answers.JobList:
        ids, total = jobs.store.job_ids(query.offset, query.limit)
        workers = bool(jobs.store.workers())
        found = [
            answers.job(state, _base(request), workers=workers)
            for one in ids
            if (state := jobs.store.state(one)) is not None
        ]
        return answers.JobList(jobs=found, total=total, offset=query.offset, limit=query.limit)

    return await _blocking(work)


@router.get("/{job}", summary="One job", responses=problems(*_MISSING, "invalid-request"))
async def get_job(
    job: str, request: Request, query: Annotated[WaitQuery, Query()], jobs: JobsHere
) -> answers.Job:
    """At once, or with `wait` as soon as its status or its progress changes."""
    state = before = await _blocking(jobs.get, job)
    until = time.monotonic() + query.wait
    while not state.finished and _same(state, before) and time.monotonic() < until:
        if await request.is_disconnected():
            break
        await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
        state = await _blocking(jobs.get, job)
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
    last_event_id: Annotated[str, Header(pattern="^[0-9]{1,19}(-[0-9]{1,19})?$")] = "0",
) -> StreamingResponse:
    """`progress` events with the job as data, and `end` with its end state; then it closes.

    With `Last-Event-ID`, what was missed comes first.
    """
    await _blocking(jobs.get, job)
    stream = _events(jobs, job, last_event_id, _base(request))
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
    return await _blocking(_items, jobs, job, query, _base(request))


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
    response_class=FileResponse,
    responses={**_FILES, **problems(*_MISSING, "path-outside-root", "file-not-found")},
)
async def file(job: str, path: str, jobs: JobsHere) -> Response:
    """A picture or a summary by its path below the job's output folder."""

    def find() -> Response:
        record = jobs.get(job).record
        found = jobs.places.output(record.request).file(path)
        theirs = {model.name for model in record.models} | {SUMMARY_CSV, SUMMARY_JSON}
        if found is None or path.split("/", 1)[0] not in theirs:
            raise ServiceError("file-not-found", f"the job has no file {path!r}")
        return _file_response(found)

    return await _blocking(find)


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
    """Streams while it is made: no copy is kept anywhere."""

    def pack() -> Iterator[bytes]:
        state = jobs.get(job)
        output = jobs.places.output(state.record.request)
        merged = (output.file(name) for name in (SUMMARY_CSV, SUMMARY_JSON, MANIFEST))
        files = chain(*(output.files(model.name) for model in state.record.models), merged)
        zipped = ZipStream(compress_type=ZIP_STORED)
        for one in files:
            if one is None:
                continue
            if isinstance(one.content, Path):
                zipped.add_path(one.content, one.path)
            else:
                zipped.add(one.content(), one.path, size=one.size)
        return iter(zipped)

    chunks = await _blocking(pack)
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
    return await _job(request, jobs, await _blocking(jobs.cancel, job))


@router.post(
    "/{job}/retry",
    status_code=202,
    summary="Run what failed again",
    responses=problems(*_MISSING, "job-unfinished", "nothing-to-retry", "output-busy"),
)
async def retry(job: str, request: Request, jobs: JobsHere) -> answers.Job:
    """Failed and skipped items of an ended job are queued again."""
    return await _job(request, jobs, await _blocking(jobs.retry, job))


@router.delete(
    "/{job}",
    status_code=204,
    summary="Forget a job",
    responses=problems(*_MISSING, "job-unfinished"),
)
async def forget(job: str, jobs: JobsHere) -> None:
    """Removes the record and its manifest, never a picture."""
    await _blocking(jobs.forget, job)


async def _events(jobs: Jobs, job: str, after: str, base: str) -> AsyncIterator[str]:
    quiet_since = time.monotonic()
    while True:
        for event in await _blocking(jobs.store.events, job, after):
            after = event.id
            quiet_since = time.monotonic()
            data = answers.job(event.state, base, workers=True).model_dump_json()
            kind = "end" if event.state.finished else "progress"
            yield f"id: {event.id}\nevent: {kind}\ndata: {data}\n\n"
            if event.state.finished:
                return
        state = await _blocking(jobs.store.state, job)
        if state is None or (state.finished and not await _blocking(jobs.store.events, job, after)):
            return
        if time.monotonic() - quiet_since > _KEEP_ALIVE_SECONDS:
            quiet_since = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_SECONDS)


def _items(jobs: Jobs, job: str, query: ItemQuery, base: str) -> answers.ItemPage:
    state = jobs.get(job)
    record, images = state.record, jobs.store.images(job)
    states = jobs.store.item_states(job, record.total, ended=state.finished)
    failures = jobs.store.failures(job)
    chosen = [i for i, one in enumerate(states) if query.status in {None, one}]
    found = []
    for index in chosen[query.offset : query.offset + query.limit]:
        model, image = record.models[index // len(images)], images[index % len(images)]
        why = failures.get(index) if states[index] == "failed" else None
        figure = PicturePaths(Path(model.name), image.name).main().as_posix()
        links = {"figure": f"{base}/v1/jobs/{job}/files/{figure}"}
        found.append(
            answers.Item(
                model=model.id,
                image=image.path,
                name=image.name,
                true_class=image.true_class,
                status=states[index],
                error=None if why is None else answers.ItemError(code=why.code, detail=why.detail),
                links=links if states[index] == "succeeded" else {},
            )
        )
    return answers.ItemPage(items=found, total=len(chosen), offset=query.offset, limit=query.limit)


def _file_response(file: StoredFile) -> Response:
    name = PurePosixPath(file.path).name
    if isinstance(file.content, Path):
        return FileResponse(file.content, filename=name, content_disposition_type="inline")
    headers = {"Content-Length": str(file.size), "Content-Disposition": "inline"}
    return StreamingResponse(file.content(), media_type=file.media_type, headers=headers)


async def _job(request: Request, jobs: Jobs, state: JobState) -> answers.Job:
    workers = bool(await _blocking(jobs.store.workers))
    return answers.job(state, _base(request), workers=workers)


def _same(one: JobState, other: JobState) -> bool:
    return (one.status, one.progress) == (other.status, other.progress)


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


async def _blocking(
    function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    return await asyncio.to_thread(function, *args, **kwargs)
