"""Bodies by themselves, in this process: what is read, and what is refused by which words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest
from starlette import formparsers
from starlette.requests import Request
from starlette.types import Message

from service.http.admission import Arrivals
from service.http.bodies import Upload, media_type, read_json, read_upload
from service.http.problems import FieldError, ServiceError
from service.watching.metrics import Metrics

BOUNDARY = "cut-here"
MOST = 1000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def part(disposition: str, body: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + body + b"\r\n"


def image(body: bytes = PNG, name: str = 'filename="cell.png"') -> bytes:
    return part(f'name="image"; {name}', body)


def field(name: str, value: str) -> bytes:
    return part(f'name="{name}"', value.encode())


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def request(
    chunks: Sequence[bytes], kind: str, sent: list[int] | None = None, **headers: str
) -> Request:
    """A request whose body comes in these chunks; sent: numbers of those that were asked for."""
    left = list(enumerate(chunks))

    async def receive() -> Message:
        if not left:
            return {"type": "http.request", "body": b"", "more_body": False}
        number, chunk = left.pop(0)
        if sent is not None:
            sent.append(number)
        return {"type": "http.request", "body": chunk, "more_body": True}

    named = {"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    return Request(scope, receive)


def uploaded(*chunks: bytes, sent: list[int] | None = None, **headers: str) -> Upload:
    given = request(chunks, f"multipart/form-data; boundary={BOUNDARY}", sent, **headers)
    return asyncio.run(read_upload(given, MOST, Arrivals(10**6, Metrics())))


def refusal(*chunks: bytes, sent: list[int] | None = None, **headers: str) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        uploaded(*chunks, sent=sent, **headers)
    return refused.value


def test_an_upload_is_its_image_its_name_and_the_fields_as_text() -> None:
    body = whole(field("model", "a/b"), image(), field("alpha", "0.5"), field("target", "кольцо"))
    expected = Upload(PNG, "cell.png", {"model": "a/b", "alpha": "0.5", "target": "кольцо"})
    assert uploaded(body) == expected
    assert uploaded(*(body[at : at + 7] for at in range(0, len(body), 7))) == expected


def test_a_list_may_come_several_times_and_nothing_else_may() -> None:
    pictures = [field("pictures", "overlay"), field("pictures", "map,panel")]
    assert uploaded(whole(image(), *pictures)).fields == {"pictures": "overlay,map,panel"}
    refused = refusal(whole(image(), field("alpha", "1"), field("alpha", "0.5")))
    assert (refused.code, refused.detail) == ("invalid-request", "alpha: given twice")
    assert refused.errors == (FieldError("alpha", "given twice"),)


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ([field("model", "a")], "image: missing: send the image file, -F image=@cell.jpg"),
        ([image(), image()], "image: given twice"),
        (
            [image(), part('name="mask"; filename="m.png"', PNG)],
            "mask: no file is expected here; the image goes in image",
        ),
    ],
)
def test_one_image_is_expected_and_no_other_file(parts: list[bytes], detail: str) -> None:
    refused = refusal(whole(*parts))
    assert (refused.code, refused.detail) == ("invalid-request", detail)


def test_four_mistakes_are_said_and_all_are_listed() -> None:
    twice = [field(name, "1") for name in "abcde" for _ in range(2)]
    refused = refusal(whole(image(), *twice))
    assert refused.detail == "; ".join(f"{name}: given twice" for name in "abcd")
    assert [error.field for error in refused.errors] == list("abcde")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ('filename="a b.png"', "a b.png"),
        ('filename=""', "image"),
        ("filename*=UTF-8''%D0%BA%D0%BB.png", "кл.png"),
        ("", "image"),
        ('filename="a\x01\x7fb\x00.png"', "ab.png"),
        (f'filename="{"x" * 300}.png"', "x" * 196 + ".png"),
    ],
    ids=["plain", "empty", "extended", "none", "unprintable", "long"],
)
def test_the_images_name_is_what_can_be_shown_of_it(given: str, name: str) -> None:
    assert uploaded(whole(image(PNG, given))) == Upload(PNG, name, {})


def test_an_image_is_as_large_as_is_allowed_and_no_larger() -> None:
    assert len(uploaded(whole(image(bytes(MOST)))).data) == MOST
    refused = refusal(whole(image(bytes(MOST + 1))))
    assert refused.code == "image-too-large"
    assert refused.detail == (
        f"the upload is larger than {MOST} bytes, which is the most that is read; "
        "send a smaller or better compressed image"
    )


def test_what_is_declared_too_large_is_refused_unread() -> None:
    sent: list[int] = []
    most = MOST + 64 * 2**10
    assert uploaded(whole(image()), content_length=str(most)).data == PNG
    refused = refusal(whole(image()), sent=sent, content_length=str(most + 1))
    assert (refused.code, sent) == ("image-too-large", [])
    assert uploaded(whole(image()), content_length="many").data == PNG


def test_what_grows_too_large_is_refused_while_it_comes() -> None:
    sent: list[int] = []
    head, piece = image(b"")[:-2], bytes(10_000)
    assert refusal(head, *[piece] * 20, sent=sent).code == "image-too-large"
    assert sent == list(range(8))  # the head and seven pieces are more than 66,536 bytes


@pytest.mark.parametrize(
    "chunks",
    [[image(b"")[:-2], *[bytes(10_000)] * 20], [image()], [whole(image())[:-8]], [image()[:-40]]],
    ids=["too large", "no end", "cut at its end", "cut in the image"],
)
def test_a_body_that_is_refused_leaves_no_file_open(
    monkeypatch: pytest.MonkeyPatch, chunks: list[bytes]
) -> None:
    opened: list[Any] = []

    def remembered(*arguments: Any, **more: Any) -> Any:
        opened.append(SpooledTemporaryFile(*arguments, **more))  # noqa: SIM115 (Starlette closes it)
        return opened[-1]

    monkeypatch.setattr(formparsers, "SpooledTemporaryFile", remembered)
    refusal(*chunks)
    assert [file.closed for file in opened] == [True]


def test_bytes_that_come_are_counted_as_long_as_they_are_read() -> None:
    arrivals, seen = Arrivals(10**6, Metrics()), []
    body = whole(image())

    async def work() -> None:
        given = request([body[:100], body[100:]], f"multipart/form-data; boundary={BOUNDARY}")
        receive = given._receive

        async def counted() -> Message:
            seen.append(arrivals._bytes)
            return await receive()

        given._receive = counted
        await read_upload(given, MOST, arrivals)

    asyncio.run(work())
    assert seen == [0, 100, len(body)]
    assert arrivals._bytes == 0


@pytest.mark.parametrize(
    ("chunks", "detail"),
    [
        ([b"no parts"], "not a whole multipart body"),
        ([image()], "not a whole multipart body: its closing boundary is missing"),
        ([whole(image())[:-8]], "not a whole multipart body: its closing boundary is missing"),
        ([whole(part('file="x"', b"1"))], "not a whole multipart body"),
        ([whole(part('name="\xff"', b"1"))[:-1].replace(b"\xc3\xbf", b"\xff")], ""),
        (
            [whole(image(), *(field(f"f{i}", "1") for i in range(33)))],
            "not a whole multipart body: Too many fields. Maximum number of fields is 32.",
        ),
        (
            [whole(image(), field("model", "x" * (16 * 2**10 + 1)))],
            "not a whole multipart body: Part exceeded maximum size of 16KB.",
        ),
    ],
    ids=["no parts", "no end", "cut", "no name", "not utf-8", "fields", "long field"],
)
def test_what_is_no_multipart_body_is_refused(chunks: list[bytes], detail: str) -> None:
    refused = refusal(*chunks)
    assert refused.code in {"malformed-body", "invalid-request"}
    assert refused.detail.startswith(detail)


def test_a_boundary_that_is_not_given_is_refused() -> None:
    given = request([whole(image())], "multipart/form-data")
    with pytest.raises(ServiceError) as refused:
        asyncio.run(read_upload(given, MOST, Arrivals(10**6, Metrics())))
    assert refused.value.code == "malformed-body"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("application/json", "application/json"),
        (" Application/JSON ; charset=utf-8", "application/json"),
        ("", ""),
    ],
)
def test_a_media_type_is_without_case_and_parameters(given: str, expected: str) -> None:
    assert media_type(request([], given)) == expected


def json_of(*chunks: bytes, kind: str = "application/json", **headers: str) -> Any:
    return asyncio.run(read_json(request(chunks, kind, None, **headers)))


def test_an_object_is_read_in_whatever_pieces() -> None:
    assert json_of(b'{"a": [1,', b" 2]", b"}") == {"a": [1, 2]}
    assert json_of(b"{}", kind="application/json; charset=utf-8") == {}


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b"[1]", "invalid-request", "the JSON body must be an object"),
        (b'"a"', "invalid-request", "the JSON body must be an object"),
        (b"{", "malformed-body", "the body is not JSON: Expecting property name"),
        (b"", "malformed-body", "the body is not JSON: Expecting value"),
        (b"\xff{}", "malformed-body", "the body is not JSON: "),
        (b"[" * 60_000, "malformed-body", "the JSON is nested too deeply"),
        (
            b" " * (64 * 2**10 + 1),
            "body-too-large",
            "a JSON body may have 65536 bytes; send an image as multipart",
        ),
    ],
    ids=["list", "text", "cut", "empty", "not utf-8", "deep", "large"],
)
def test_other_json_is_refused(body: bytes, code: str, detail: str) -> None:
    with pytest.raises(ServiceError) as refused:
        json_of(body)
    assert refused.value.code == code
    assert refused.value.detail.startswith(detail)


def test_json_may_have_just_so_many_bytes() -> None:
    body = json.dumps({"a": "x" * 65_000}).encode().ljust(64 * 2**10)
    assert len(json_of(body)["a"]) == 65_000


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonp", "multipart/form-data"])
def test_what_is_not_said_to_be_json_is_not_read(kind: str) -> None:
    with pytest.raises(ServiceError) as refused:
        json_of(b"{}", kind=kind)
    assert refused.value.code == "unsupported-media-type"
    assert refused.value.detail == "send the body with the header Content-Type: application/json"
    assert refused.value.headers == {"Accept-Post": "application/json"}
