"""`gradcam explain`: asks a running service for a picture of an image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import httpx

from cam_engine.commands import exit_status
from cam_engine.errors import CamError, ImageNotFound
from cam_engine.outputs.files import not_writable, write_atomically
from cam_engine.pictures.wording import probability_text

_SUFFIXES = {"array": "npy", "maps": "npy", "native": "json"}
_MAP_FIELDS = ("view", "model", "layer", "method", "fusion", "score", "target", "colormap", "alpha")
_FIELDS = (*_MAP_FIELDS, "intensity", "background", "page")


class ServiceUnreachable(CamError):
    """Nothing answers at the service's address."""

    code: ClassVar[str] = "service-unreachable"


class ServiceRefused(CamError):
    """The service answered with an error, whose code stands in the message."""

    code: ClassVar[str] = "service-refused"


def explain(arguments: argparse.Namespace) -> int:
    """Post the image, write or print the answer. Raises CamError."""
    given = {name: getattr(arguments, name) for name in _FIELDS}
    fields = {name: str(value) for name, value in given.items() if value is not None}
    fields |= {"clahe": "false"} if arguments.no_clahe else {}
    response = post_image(
        arguments.url,
        arguments.image,
        fields,
        accept="application/json" if arguments.json else "*/*",
        api_key=arguments.api_key,
        timeout_seconds=arguments.timeout,
    )
    if arguments.json:
        print(response.text)
        return exit_status.DONE
    suffix = _SUFFIXES.get(arguments.view, "png")
    output = arguments.output or Path(f"{arguments.image.stem}_{arguments.view}.{suffix}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(str(output), error) from error
    write_atomically(output, response.content)
    print(_summary(response, output))
    return exit_status.DONE


def post_image(
    url: str,
    image: Path,
    fields: dict[str, str],
    *,
    accept: str,
    api_key: str | None,
    timeout_seconds: float,
) -> httpx.Response:
    """POST /v1/explanations. Raises ImageNotFound, ServiceUnreachable or ServiceRefused."""
    try:
        data = image.read_bytes()
    except OSError as error:
        raise ImageNotFound(f"cannot read {image}: {error.strerror}") from error
    headers = {"Accept": accept} | ({"X-API-Key": api_key} if api_key else {})
    try:
        response = httpx.post(
            f"{url.rstrip('/')}/v1/explanations",
            files={"image": (image.name, data)},
            data=fields,
            headers=headers,
            timeout=timeout_seconds,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceUnreachable(
            f"no answer from {url} ({error}); is it running? gradcam serve --data results/"
        ) from error
    if response.is_error:
        raise ServiceRefused(refusal(response))
    return response


def refusal(response: httpx.Response) -> str:
    """The problem that the service answered with, in one line."""
    try:
        problem: Any = response.json()
        return f"{problem['code']}: {problem['detail']} (request {problem['request_id']})"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} from {response.url}: is this a gradcam service?"


def _summary(response: httpx.Response, output: Path) -> str:
    def header(name: str) -> str:
        return unquote(response.headers.get(f"X-Gradcam-{name}", "?"))

    said = f"{output}: {header('Prediction')} {probability_text(float(header('Probability')))}"
    if header("Target") != header("Prediction"):
        said += f", maps explain {header('Target')}"
    said += f"; {header('Layer')} map, {header('Method')}, {header('Grid')}; {header('Model')}"
    if header("Empty") == "true":
        said += "; no positive evidence for this class in this layer"
    notices = response.headers.get("X-Gradcam-Notices", "")
    return "\n".join(
        [said, *(f"notice: {unquote(notice)}" for notice in notices.split(",") if notice)]
    )
