"""Requests that no honest client sends, from a seed: the same number gives the same bytes."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image

from tests.hostile_images import HOSTILE, hostile

FORMATS = ("jpeg", "png", "webp", "bmp", "tiff")
BOUNDARY = b"eight-and-twenty"
CRLF = b"\r\n"

_EMOJI = (0x1F300, 0x1FAFF)
_FIELDS = (
    *("method", "target", "taps", "clahe", "colormap", "alpha", "blend", "view", "layer", "bits"),
    *("pictures", "model", "experiment", "image", "max_images", "nonsense"),
)
_TYPES = (
    *("", "multipart", "multipart/form-data", "multipart/form-data; boundary=", "text/plain"),
    *("multipart/form-data; boundary=other", "multipart/mixed; boundary=eight-and-twenty"),
    *("application/json; charset=utf-16", "application/x-www-form-urlencoded", "image/jpeg"),
    *('multipart/form-data; boundary="', "multipart/form-data; boundary=eight-and-twenty; x"),
    *("application/octet-stream", "multipart/form-data; charset=zz; boundary=eight-and-twenty"),
    *("a" * 3000, "multipart/form-data; boundary=" + "b" * 3000, ";;;", "multipart/form-data;;=;"),
)
_VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1e308, -0.0, 2**63, 10**400, "", " ", "\x00", "\ud800", "NaN"),
    *("../../etc/passwd", "a" * 5000, "é" * 300, "\u202e", "%00", "null", [], {}, [[]], {"a": 1}),
    *("overlay", "panel", "array", "fused", "late", "features.0", "ring", "overlay,panel", 8, 0.5),
)


@dataclass(frozen=True)
class Mangled:
    """Bytes for a connection of their own.

    http: whether they are HTTP, so that the application and not the server answers errors.
    complete: whether an answer must come; else the server may wait, or end the connection.
    abandoned: the client goes away at once, without reading.
    """

    kind: str
    data: bytes
    http: bool = True
    complete: bool = True
    abandoned: bool = False


def mangled(seed: int, number: int) -> Mangled:
    """The request of that number."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311 (to be repeated)
    return _KINDS[number % len(_KINDS)](chance)


def dear(seed: int, number: int) -> Mangled:
    """An image that asks for much more work or memory than its bytes: each kind in turn, every
    second one damaged as well, so that some are refused later than they are meant to be.
    """
    chance = random.Random(f"dear {seed} {number}")  # noqa: S311 (to be repeated)
    name = list(HOSTILE)[number % len(HOSTILE)]
    data = hostile(name)
    if number // len(HOSTILE) % 2:
        data = _damaged(chance, data)
    return Mangled(name, post(upload(data)))


@cache
def picture(kind: str, width: int = 72, height: int = 60) -> bytes:
    """A whole image file."""
    shades = Image.radial_gradient("L").resize((width, height))
    colours = Image.merge("RGB", [shades, shades.transpose(Image.Transpose.ROTATE_180), shades])
    buffer = io.BytesIO()
    colours.save(buffer, kind)
    return buffer.getvalue()


def part(name: bytes, value: bytes, file_name: bytes | None = None) -> bytes:
    """One part of a multipart body, with the boundary before it."""
    file = b"" if file_name is None else b'; filename="' + file_name + b'"'
    head = b'Content-Disposition: form-data; name="' + name + b'"' + file
    return b"--" + BOUNDARY + CRLF + head + CRLF + CRLF + value + CRLF


def upload(image: bytes, *parts: bytes) -> bytes:
    """A whole multipart body."""
    return b"".join(parts) + part(b"image", image, b"cell.jpg") + b"--" + BOUNDARY + b"--" + CRLF


def post(body: bytes, media_type: bytes | None = None, *headers: bytes) -> bytes:
    """A whole request to explain the body."""
    if media_type is None:
        media_type = b"multipart/form-data; boundary=" + BOUNDARY
    return _request(b"POST", b"/v1/explanations", body, b"Content-Type: " + media_type, *headers)


def _request(method: bytes, path: bytes, body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: " + str(len(body)).encode()
    lines = (method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close")
    return CRLF.join((*lines, *headers, length, b"", body))


def _text(chance: random.Random, longest: int = 60) -> str:
    """Any characters: control ones, those of other planes, right-to-left marks, no surrogates."""
    ranges = ((0, 31), (32, 126), (127, 159), (0x2000, 0x206F), (0x4E00, 0x9FFF), _EMOJI)
    count = chance.randrange(longest)
    return "".join(chr(chance.randint(*chance.choice(ranges))) for _ in range(count))


def _bytes(chance: random.Random, longest: int = 60) -> bytes:
    return chance.randbytes(chance.randrange(longest))


def _header_value(data: bytes) -> bytes:
    """Without control characters, which HTTP does not allow."""
    return data.translate(None, bytes((*range(9), *range(10, 32), 127))).strip()


def _damaged(chance: random.Random, data: bytes) -> bytes:
    """A few bits flipped, a stretch lost, doubled, blanked or foreign, or cut short."""
    damaged = bytearray(data)
    start = chance.randrange(len(damaged))
    stop = min(len(damaged), start + chance.randrange(1, 200))
    match chance.randrange(6):
        case 0:
            for _ in range(chance.randint(1, 30)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        case 1:
            del damaged[start:]
        case 2:
            del damaged[start:stop]
        case 3:
            damaged[start:start] = damaged[start:stop]
        case 4:
            damaged[start:stop] = bytes(stop - start)
        case _:
            damaged[start:stop] = chance.randbytes(stop - start)
    return bytes(damaged)


def _damaged_image(chance: random.Random) -> Mangled:
    kind = chance.choice(FORMATS)
    return Mangled(f"damaged {kind}", post(upload(_damaged(chance, picture(kind)))))


def _damaged_head(chance: random.Random) -> Mangled:
    """The first bytes decide which decoder runs, and what it believes."""
    kind = chance.choice(FORMATS)
    data = bytearray(picture(kind))
    for _ in range(chance.randint(1, 6)):
        data[chance.randrange(64)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return Mangled(f"damaged head of {kind}", post(upload(bytes(data))))


def _huge_by_its_head(chance: random.Random) -> Mangled:
    """Headers that declare far more pixels than there are."""
    kind = chance.choice(FORMATS)
    width = chance.choice((0, 1, 1900, 7000, 65_535))
    height = chance.choice((0, 2000, 16_000, 65_535))
    data = _HEADS[kind](bytearray(picture(kind)), width, height)
    return Mangled(f"{kind} that says {width} x {height}", post(upload(bytes(data))))


def _png_head(data: bytearray, width: int, height: int) -> bytearray:
    data[16:24] = struct.pack(">II", width * 30_000 if width == 65_535 else width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return data


def _jpeg_head(data: bytearray, width: int, height: int) -> bytearray:
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return data


def _bmp_head(data: bytearray, width: int, height: int) -> bytearray:
    data[18:26] = struct.pack("<ii", width * 30_000 if width == 65_535 else width, -height)
    return data


def _tiff_head(data: bytearray, width: int, height: int) -> bytearray:
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag = struct.unpack("<H", data[entry : entry + 2])[0]
        if tag in {256, 257, 278}:
            kind_and_value = 4, 1, width if tag == 256 else height
            data[entry + 2 : entry + 12] = struct.pack("<HII", *kind_and_value)
    return data


def _webp_head(data: bytearray, width: int, height: int) -> bytearray:
    data[26:30] = struct.pack("<HH", min(width, 0x3FFF), min(height, 0x3FFF))
    return data


_HEADS: dict[str, Callable[[bytearray, int, int], bytearray]] = {
    "png": _png_head,
    "jpeg": _jpeg_head,
    "bmp": _bmp_head,
    "tiff": _tiff_head,
    "webp": _webp_head,
}


def _not_an_image(chance: random.Random) -> Mangled:
    content = chance.choice(
        (
            b"",
            b"GIF89a" + _bytes(chance),
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"PK\x03\x04" + _bytes(chance),
            b"\x80\x05cposix\nsystem\n.",
            b"%PDF-1.7",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"RIFF\xff\xff\xff\xffWEBPVP8 ",
            b"II*\x00\xff\xff\xff\xff",
            _bytes(chance, 4000),
        )
    )
    return Mangled("not an image", post(upload(content)))


def _wrong_framing(chance: random.Random) -> Mangled:
    image = picture("jpeg")
    good = upload(image)
    cut = chance.randrange(len(good))
    body = chance.choice(
        (
            good[:cut],
            good.replace(b"--" + BOUNDARY + b"--", b""),
            good.replace(CRLF, b"\n", chance.randint(1, 5)),
            good.replace(b"Content-Disposition", b"X-Disposition"),
            good.replace(b' name="image";', b""),
            good.replace(b"form-data;", b"attachment;"),
            good.replace(b'"image"', b'"image'),
            b"preamble" * 50 + good + b"epilogue" * 50,
            part(b"image", image, b"a.png") + good,
            part(b"other", image, b"a.png") + good,
            part(b"image", b"text") + good,
            part(b"view", b"panel") * 2 + good,
            part(b"alpha", b"0.5") * chance.randint(31, 900) + good,
            part(b"model", b"m" * chance.randint(10_000, 40_000)) + good,
            good.replace(CRLF + CRLF, CRLF + b"X: " + b"y" * 20_000 + CRLF + CRLF, 1),
            good.replace(CRLF + CRLF, CRLF + b"X-Y: z\r\n" * 300 + CRLF, 1),
            _damaged(chance, good),
            _bytes(chance, 3000),
            b"--" + BOUNDARY,
            b"",
        )
    )
    return Mangled("wrong framing", post(body))


def _wrong_type(chance: random.Random) -> Mangled:
    body = chance.choice((upload(picture("png")), b'{"image": "x"}', b"", _bytes(chance, 500)))
    given = chance.choice((*_TYPES, _text(chance))).encode("utf-8")
    return Mangled("wrong type", post(body, _header_value(given)))


def _odd_fields(chance: random.Random) -> Mangled:
    parts = []
    for _ in range(chance.randint(1, 6)):
        name = chance.choice((*_FIELDS, _text(chance)))
        value = chance.choice((str(chance.choice(_VALUES)), _text(chance)))
        encoding = chance.choice(("utf-8", "utf-16", "latin-1"))
        parts.append(part(name.encode("utf-8"), value.encode(encoding, "replace")))
    image = part(b"image", picture("png"), _text(chance).encode("utf-8", "replace"))
    body = b"".join(parts) + image + b"--" + BOUNDARY + b"--" + CRLF
    return Mangled("odd fields", post(body))


def _odd_json(chance: random.Random) -> Mangled:
    fields = {
        chance.choice((*_FIELDS, _text(chance))): chance.choice((*_VALUES, _text(chance)))
        for _ in range(chance.randint(0, 8))
    }
    body = json.dumps(fields).encode()  # surrogates as \ud800
    if chance.random() < 0.3:
        body = _damaged(chance, body)
    return Mangled("odd JSON", post(body, b"application/json"))


def _wrong_json(chance: random.Random) -> Mangled:
    depth = chance.choice((10, 1000, 30_000))
    body = chance.choice(
        (
            b"[" * depth,
            b"[" * depth + b"]" * depth,
            b'{"a":' * (depth // 3) + b"1" + b"}" * (depth // 3),
            b'{"target": ' + b"9" * 10_000 + b"}",
            b'{"alpha": NaN, "image": "x"}',
            b'{"alpha": -Infinity, "image": "x"}',
            b'{"alpha": 1e999, "image": "x"}',
            b'{"image": "x", "image": "y"}',
            b'{"image": "\\ud800"}',
            b'{"\\ud800": 1, "image": "x"}',
            b'{"model": "\\udfff", "image": "x"}',
            b'{"experiment": "\\ud800\\u0000", "image": "\\n"}',
            b'\xef\xbb\xbf{"image": "x"}',
            '{"image": "x"}'.encode("utf-16"),
            b'{"image": "\xff\xfe"}',
            b"null",
            b'"text"',
            b"1",
            b"",
            b" " * 70_000,
            b"{" + _bytes(chance, 200),
        )
    )
    return Mangled("wrong JSON", post(body, b"application/json"))


def _odd_headers(chance: random.Random) -> Mangled:
    names = (b"Accept", b"X-Request-ID", b"Authorization", b"X-API-Key", b"Origin", b"Cookie")
    more = (b"If-None-Match", b"Range", b"Forwarded", b"X-Forwarded-For", b"Content-Encoding")
    headers = []
    for _ in range(chance.randint(1, 8)):
        value = chance.choice(
            (
                _text(chance).encode("utf-8"),
                _bytes(chance),
                b"text/html;q=x",
                b"*/*;q=2;;,/",
                b"image/*, application/json;q=0.9",
                b"," * 200,
                b"v" * 8000,
            )
        )
        headers.append(chance.choice((*names, *more)) + b": " + _header_value(value))
    return Mangled("odd headers", post(upload(picture("jpeg")), None, *headers))


def _forbidden_headers(chance: random.Random) -> Mangled:
    """With control characters, line ends or no colon: the server itself may refuse them."""
    headers = [_bytes(chance), b"X-Request-ID: " + _bytes(chance), b"Accept: a\x00b", b": c"]
    data = post(b"{}", b"application/json", *chance.sample(headers, 2))
    return Mangled("forbidden headers", data, http=False, complete=False)


def _odd_address(chance: random.Random) -> Mangled:
    roots = (b"/v1/experiments/", b"/v1/models/", b"/v1/explanations/", b"/", b"/docs/", b"/v1/")
    tail = chance.choice(
        (
            "".join(f"%{byte:02x}" for byte in _bytes(chance)).encode(),
            b"%2e%2e/%2e%2e/etc/passwd",
            b"..%252f..%252fetc",
            b"x" * 5000,
            b"a/b?offset=-1&limit=%00&split=%ff&class=" + b"%f0%9f%90%9b" * 20,
            b"x?" + b"q=1&" * 1000,
            _header_value(_bytes(chance)).replace(b" ", b""),
        )
    )
    method = chance.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS", b"BREW", b"PUT"))
    path = chance.choice(roots) + tail
    return Mangled("odd address", _request(method, path, b""), http=False)


def _lengths(chance: random.Random) -> Mangled:
    """A length that is refused before the body comes, and chunks of any size."""
    body = upload(picture("jpeg"))
    right = b"Content-Length: " + str(len(body)).encode()
    if chance.random() < 0.3:
        data = post(body).replace(right, b"Content-Length: 99999999999")
        return Mangled("length beyond the limit", data)
    chunks, rest = [], body
    while rest:
        size = chance.randint(1, 900)
        piece, rest = rest[:size], rest[size:]
        chunks.append(f"{len(piece):x}\r\n".encode() + piece + CRLF)
    head = post(body).replace(right, b"Transfer-Encoding: chunked")[: -len(body)]
    return Mangled("chunks", head + b"".join(chunks) + b"0\r\n\r\n")


def _wrong_length(chance: random.Random) -> Mangled:
    """Content-Length and chunks that do not say what follows."""
    body = upload(picture("jpeg"))
    good = post(body)
    right = b"Content-Length: " + str(len(body)).encode()
    head = good.replace(right, b"Transfer-Encoding: chunked")[: -len(body)]
    lengths = (
        *(str(chance.randrange(len(body))).encode(), str(len(body) + 9).encode()),
        *(b"-1", b"9" * 30, b"0x10", b"", b"5\r\nContent-Length: 6"),
        *(b"5\r\nTransfer-Encoding: chunked", b"5\r\nTransfer-Encoding: gzip"),
    )
    bodies = (body, b"5\r\nabc", b"zz\r\n" + body, b"fffffffffffffffff\r\n" + body)
    if chance.random() < 0.5:
        data = good.replace(right, b"Content-Length: " + chance.choice(lengths))
    else:
        data = head + chance.choice(bodies)
    return Mangled("wrong length", data, http=False, complete=False)


def _gone_early(chance: random.Random) -> Mangled:
    """The client goes away: while it sends, or before the answer."""
    whole = post(upload(picture(chance.choice(FORMATS))))
    data = whole[: chance.choice((1, chance.randrange(len(whole)), len(whole), len(whole)))]
    return Mangled("gone early", data, complete=False, abandoned=True)


def _not_http(chance: random.Random) -> Mangled:
    data = chance.choice(
        (
            _bytes(chance, 500),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _bytes(chance),
            b"GET /healthz\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /v1/explanations HTTP/1.1\r\n" + b"a" * 100_000,
            _damaged(chance, post(b"{}", b"application/json")),
        )
    )
    return Mangled("not HTTP", data, http=False, complete=False)


_KINDS: tuple[Callable[[random.Random], Mangled], ...] = (
    _damaged_image,
    _odd_json,
    _wrong_framing,
    _damaged_image,
    _odd_fields,
    _huge_by_its_head,
    _wrong_json,
    _damaged_head,
    _odd_headers,
    _wrong_length,
    _not_an_image,
    _gone_early,
    _lengths,
    _forbidden_headers,
    _odd_address,
    _wrong_type,
    _damaged_image,
    _not_http,
)
