"""Request bodies, refused while they stream in and before they fill memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.http.admission import Arrivals
from service.http.problems import FieldError, ServiceError

MULTIPART = "multipart/form-data"
JSON = "application/json"

_MOST_FIELDS = 32
_LONGEST_NAME = 200
_FIELD_BYTES = 16 * 2**10
_JSON_BYTES = 64 * 2**10
_GRACE_SECONDS = 5.0
_LEAST_BYTES_A_SECOND = 8 * 2**10

# Fields that may come several times, as forms of browsers send lists; commas join them here.
_LISTS = frozenset({"pictures"})

# Boundaries, part headers and option fields beside the image's own bytes.
_FRAME_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart body: the image's bytes, its name, and the other fields as text."""

    data: bytes
    name: str
    fields: Mapping[str, str]


def media_type(request: Request) -> str:
    """The body's media type, in lower case and without parameters."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


async def read_upload(request: Request, most_image_bytes: int, arrivals: Arrivals) -> Upload:
    """Read a multipart body with one file, `image`. Raises ServiceError."""
    with arrivals.body() as came:
        return await _read_upload(request, most_image_bytes, came)


async def _read_upload(
    request: Request, most_image_bytes: int, came: Callable[[int], None]
) -> Upload:
    too_large = ServiceError(
        "image-too-large",
        f"the upload is larger than {most_image_bytes} bytes, which is the most that is read; "
        "send a smaller or better compressed image",
    )
    stream = _limited(request, most_image_bytes + _FRAME_BYTES, too_large, came)
    parser = _Parser(
        request.headers, stream, max_files=2, max_fields=_MOST_FIELDS, max_part_size=_FIELD_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ServiceError(
            "malformed-body", f"not a whole multipart body: {error.message}"
        ) from error
    except (KeyError, UnicodeDecodeError, ValueError) as error:
        raise ServiceError("malformed-body", "not a whole multipart body") from error
    if not parser.ended:
        parser.close()
        raise ServiceError(
            "malformed-body", "not a whole multipart body: its closing boundary is missing"
        )
    try:
        return await _upload_of(form, most_image_bytes, too_large)
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Starlette's, which notices the body's end and takes more parts for files.

    Those are the image without a name, and what is named in the extended form alone (`filename*`
    of RFC 5987), which senders are not to use here (RFC 7578) and yet do.
    """

    ended = False

    def close(self) -> None:
        """Close all files, those of parts that are not whole too."""
        for file in self._files_to_close_on_error:
            file.close()

    def on_end(self) -> None:
        """The closing boundary has come."""
        self.ended = True

    def on_headers_finished(self) -> None:
        """A part's headers are whole."""
        part = self._current_part
        given = part.content_disposition or b""
        _, options = parse_options_header(given)
        if b"filename" in options:
            super().on_headers_finished()
            return
        name = _extended_name(given)
        if name is not None or options.get(b"name") == b"image":
            part.content_disposition = given + b'; filename=""'
        super().on_headers_finished()
        if part.file is not None:
            part.file.filename = name


def _extended_name(disposition: bytes) -> str | None:
    message = Message()
    message["Content-Disposition"] = disposition.decode("latin-1")
    value = message.get_param("filename", header="Content-Disposition")
    return None if value is None else collapse_rfc2231_value(value)


async def read_json(request: Request) -> Mapping[str, Any]:
    """Read a JSON object. Raises ServiceError, also where the body is not said to be JSON.

    Pages of other origins can send any text unasked, but nothing of this type.
    """
    if media_type(request) != JSON:
        raise ServiceError(
            "unsupported-media-type",
            f"send the body with the header Content-Type: {JSON}",
            {"Accept-Post": JSON},
        )
    too_large = ServiceError(
        "body-too-large", f"a JSON body may have {_JSON_BYTES} bytes; send an image as multipart"
    )
    body = b"".join([chunk async for chunk in _limited(request, _JSON_BYTES, too_large)])
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise ServiceError("malformed-body", "the JSON is nested too deeply") from error
    except ValueError as error:
        raise ServiceError("malformed-body", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ServiceError("invalid-request", "the JSON body must be an object")
    return value


async def _limited(
    request: Request,
    most_bytes: int,
    too_large: ServiceError,
    came: Callable[[int], None] = lambda _count: None,
) -> AsyncGenerator[bytes, None]:
    """The body's chunks; refused by its Content-Length, or once too much has come."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise too_large
    received = 0
    async for chunk in _steady(request):
        received += len(chunk)
        if received > most_bytes:
            raise too_large
        came(len(chunk))
        yield chunk


async def _steady(request: Request) -> AsyncGenerator[bytes, None]:
    """The body's chunks, at a rate that a slow line has. Raises ServiceError "request-timeout"."""
    loop = asyncio.get_running_loop()
    begun, received = loop.time(), 0
    stream = request.stream()
    while True:
        left = begun + _GRACE_SECONDS + received / _LEAST_BYTES_A_SECOND - loop.time()
        try:
            chunk = await asyncio.wait_for(anext(stream), timeout=left)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise ServiceError(
                "request-timeout",
                f"the body came at less than {_LEAST_BYTES_A_SECOND} bytes a second, which is the "
                f"least after the first {_GRACE_SECONDS:g} seconds",
            ) from error
        received += len(chunk)
        yield chunk


async def _upload_of(form: FormData, most_image_bytes: int, too_large: ServiceError) -> Upload:
    fields: dict[str, str] = {}
    images: list[UploadFile] = []
    errors = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name == "image":
                images.append(value)
            else:
                errors.append(FieldError(name, "no file is expected here; the image goes in image"))
        elif name not in fields:
            fields[name] = value
        elif name in _LISTS:
            fields[name] += f",{value}"
        else:
            errors.append(FieldError(name, "given twice"))
    if len(images) != 1:
        said = "given twice" if images else "missing: send the image file, -F image=@cell.jpg"
        errors.append(FieldError("image", said))
    if errors:
        detail = "; ".join(f"{problem.field}: {problem.detail}" for problem in errors[:4])
        raise ServiceError("invalid-request", detail, errors=tuple(errors))
    if (images[0].size or 0) > most_image_bytes:
        raise too_large
    return Upload(await images[0].read(), _shown_name(images[0].filename), fields)


def _shown_name(given: str | None) -> str:
    """The file's name without what cannot be shown: it stands in figures and headers."""
    printable = "".join(character for character in given or "" if character.isprintable())
    return printable[-_LONGEST_NAME:] or "image"
