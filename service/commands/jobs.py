"""`gradcam jobs`: submit, watch, stop and fetch jobs of a running service."""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cam_engine.commands import exit_status
from cam_engine.errors import OutputNotWritable
from cam_engine.outputs.folder_lock import FINISHED
from service.commands.explain import ServiceRefused, ServiceUnreachable, refusal

_TIMEOUT_SECONDS = 60.0
_RECONNECTS = 20
# What a proxy answers for a service that is away, and the service while Redis is.
_AWAY = frozenset({502, 503, 504})


def submit(arguments: argparse.Namespace) -> int:
    """Submit a job; with --watch follow it to its end."""
    body: dict[str, Any] = {
        "experiment": arguments.experiment,
        "models": arguments.models,
        "max_images": None if arguments.all else arguments.max_images,
        "fused": arguments.fused,
        "replace": arguments.replace,
    }
    optional = (
        *("method", "fusion", "score", "pick", "name", "output", "webhook"),
        *("intensity", "background", "page"),
    )
    body |= {name: value for name in optional if (value := getattr(arguments, name)) is not None}
    headers = {"Idempotency-Key": arguments.key} if arguments.key else {}
    with _client(arguments) as client:
        job = _answer(client.post("/v1/jobs", json=body, headers=headers))
        if not arguments.watch:
            return _show(job, arguments)
        return _watch(client, job, arguments)


def status(arguments: argparse.Namespace) -> int:
    """How a job stands; without an id, all of them."""
    with _client(arguments) as client:
        if arguments.job is not None:
            return _show(_answer(client.get(f"/v1/jobs/{arguments.job}")), arguments)
        listed = _answer(client.get("/v1/jobs"))["jobs"]
        if arguments.json:
            print(json.dumps(listed, indent=2))
        else:
            for job in listed:
                print(_line(job))
        return exit_status.DONE


def watch(arguments: argparse.Namespace) -> int:
    """Follow a job to its end."""
    with _client(arguments) as client:
        return _watch(client, _answer(client.get(f"/v1/jobs/{arguments.job}")), arguments)


def cancel(arguments: argparse.Namespace) -> int:
    """Stop a job."""
    with _client(arguments) as client:
        return _show(_answer(client.post(f"/v1/jobs/{arguments.job}/cancel")), arguments)


def download(arguments: argparse.Namespace) -> int:
    """Fetch all of a job's files as a zip."""
    target: Path = arguments.output or Path(f"gradcam_{arguments.job}.zip")
    part = target.with_name(f".{target.name}.part")
    address = f"/v1/jobs/{arguments.job}/archive"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _client(arguments) as client, client.stream("GET", address) as stream:
            if stream.is_error:
                stream.read()
                raise ServiceRefused(refusal(stream))
            with part.open("wb") as file:
                _receive(stream, file)
        if not zipfile.is_zipfile(part):  # something between ended a transfer that had broken off
            raise ServiceUnreachable(_broken_off(part.stat().st_size, "the end is missing"))
        part.replace(target)
    except OSError as error:
        raise OutputNotWritable(f"cannot write {target}: {error.strerror}") from error
    finally:
        with suppress(OSError):  # also where its folder is none
            part.unlink(missing_ok=True)
    print(target)
    return exit_status.DONE


def _receive(stream: httpx.Response, file: BinaryIO) -> None:
    """Raises ServiceUnreachable where the answer breaks off."""
    try:
        for chunk in stream.iter_bytes():
            file.write(chunk)
    except httpx.HTTPError as error:
        raise ServiceUnreachable(_broken_off(file.tell(), str(error))) from error


def _broken_off(received_bytes: int, why: str) -> str:
    return (
        f"the download broke off after {received_bytes:,} bytes ({why}), and what had come is "
        "removed; the job is not changed by it: download it again once the service is there"
    )


@contextmanager
def _client(arguments: argparse.Namespace) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": arguments.api_key} if arguments.api_key else {}
    url = arguments.url.rstrip("/")
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS) as client:
            yield client
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceUnreachable(
            f"no answer from {url} ({error}); is it running? gradcam up --data results/"
        ) from error


def _answer(response: httpx.Response) -> Any:
    if response.is_error:
        raise ServiceRefused(refusal(response))
    return response.json()


def _watch(client: httpx.Client, job: dict[str, Any], arguments: argparse.Namespace) -> int:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=arguments.json) as bar:
        shown = bar.add_task(job["status"], total=job["progress"]["total"])

        def tell_away(why: str) -> None:
            bar.update(shown, description=f"no answer ({why}), asking again")
            if not console.is_terminal:
                print(f"no answer from the service ({why}); asking again", file=sys.stderr)

        for state in _states(client, job, tell_away):
            job = state
            done = sum(job["progress"][name] for name in ("succeeded", "failed"))
            said = job["notice"] or job["activity"]
            notice = f" ({said})" if said else ""
            bar.update(shown, completed=done, description=f"{job['status']}{notice}")
    return _show(job, arguments)


def _states(
    client: httpx.Client, job: dict[str, Any], tell_away: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The job again and again until it has ended; the service may be restarted meanwhile.

    tell_away: called with the reason when the service stops answering. Raises ServiceUnreachable
    where it stays away, and ServiceRefused.
    """
    failures = 0
    while job["status"] not in FINISHED:
        try:
            response = client.get(f"/v1/jobs/{job['id']}?wait=20")
            why = f"HTTP {response.status_code}" if response.status_code in _AWAY else None
        except httpx.HTTPError as error:
            why = str(error)
        if why is None:
            failures = 0
            job = _answer(response)
            yield job
            continue
        failures += 1
        if failures > _RECONNECTS:
            raise ServiceUnreachable(
                f"the service has stopped answering ({why}); the job may go on without it: "
                f"gradcam jobs watch {job['id']} once it is back"
            )
        if failures == 1:
            tell_away(why)
        time.sleep(1)


def _show(job: dict[str, Any], arguments: argparse.Namespace) -> int:
    print(json.dumps(job, indent=2) if arguments.json else _line(job))
    if job["error"] and not arguments.json:
        print(f"error [{job['error']['code']}]: {job['error']['detail']}", file=sys.stderr)
    left_out = job.get("left_out") or {"words": ""}  # services of before do not say
    if left_out["words"] and not arguments.json:
        print(f"skipped: {left_out['words']}", file=sys.stderr)
    if job["notice"] and not arguments.json:
        print(job["notice"], file=sys.stderr)
    for assumed in [] if arguments.json else job.get("notices", []):  # nor do they say these
        print(f"notice: {_assumed(job, assumed)}", file=sys.stderr)
    if job["status"] == "failed":
        return exit_status.NOTHING_DONE
    return exit_status.SOME_FAILED if job["status"] == "partial" else exit_status.DONE


def _assumed(job: dict[str, Any], notice: dict[str, Any]) -> str:
    """As summaries say it: "cls_a: no best.pt", "12 images: Page 1 of 3 was read"."""
    of, count = notice["of"], notice["count"]
    names = [model["name"] for model in job["models"] if model["id"] == notice["model"]]
    if of == "images" or (of == "models" and not names):
        names.append(f"{count} {of[:-1] if count == 1 else of}")
    whose = f"{', '.join(names)}: " if names else ""
    return f"{whose}{notice['text']}"


def _line(job: dict[str, Any]) -> str:
    progress = job["progress"]
    counts = ", ".join(f"{progress[name]} {name}" for name in ("succeeded", "failed", "skipped"))
    return f"{job['id']}  {job['status']}: {counts} of {progress['total']}  {job['output']}"
