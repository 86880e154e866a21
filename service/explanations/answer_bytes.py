"""Answers as bytes, for other processes of the same software: a header, maps, and image files.

    magic | BLAKE2 of the rest | length of the header | header | maps | image files

The header is JSON, compressed: facts, and how long everything behind it is. Maps and the network's
input are raw numbers, compressed; image files are as they came. Of an image of the data root the
header has the path and the digest only. What is read is believed of nobody: it is checked, and
whatever is not as it should be is UnreadableAnswer.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cam_engine.errors import CamError
from cam_engine.images.decoded import ImageFacts
from cam_engine.maps.explainer import NetworkInput
from cam_engine.method_facts import Fusion, Method
from cam_engine.pictures.recipes import (
    Recipes,
    RunFacts,
    run_facts_from_json,
    software_versions,
    to_json,
)
from cam_engine.results import ClassScore, Explanation, LayerMap
from service.explanations.answers import Answer, Explained, ImageSource, answer_of
from service.explanations.large_images import LargeImage
from service.explanations.requests import ExplanationOptions

_MAGIC = b"gradcam answer 1\n"
_CHECK_BYTES = 16
_LENGTH = struct.Struct("<I")
_LEVEL = 1  # maps are small, and the network's input is a photograph
_MOST_HEADER_BYTES = 8 * 2**20
_MOST_ARRAY_BYTES = 512 * 2**20

ReadStored = Callable[[str], bytes]
_Side = Annotated[int, Field(ge=1, le=2**16)]
_Length = Annotated[int, Field(ge=0)]


class UnreadableAnswer(Exception):
    """The bytes are no answer that this software wrote, or its image is not there any more."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Layer(_Record):
    name: str
    label: str
    method: Method | Fusion
    maximum: float = Field(ge=0)
    block: int = Field(ge=1)
    grid: tuple[_Side, _Side]


class _Large(_Record):
    """original, enhanced: bytes of the PNGs. sides: of the network's input. plain: no CLAHE."""

    original: _Length
    enhanced: _Length | None
    sides: tuple[_Side, _Side]
    plain: bool


class _Item(_Record):
    """file: bytes of the image's file; None where it is read anew, or `large` stands for it."""

    name: str
    sha256: str
    true_class: str | None
    stored: bool
    size: tuple[_Side, _Side]
    facts: ImageFacts
    target: ClassScore
    top: tuple[ClassScore, ...] = Field(min_length=1)
    unenhanced: ClassScore | None
    layers: tuple[_Layer, ...]
    file: _Length | None
    large: _Large | None


class _Header(_Record):
    software: dict[str, str]
    model_name: str
    options: ExplanationOptions
    run: str
    heading: str | None
    items: tuple[_Item, ...] = Field(min_length=1)
    array_bytes: _Length


def pack(answer: Answer) -> bytes:
    """The answer; takes a millisecond, several for a large image."""
    arrays = b"".join(array.tobytes() for item in answer.items for array in _arrays_of(item))
    packed = zlib.compress(arrays, _LEVEL)
    header = _Header(
        software=dict(software_versions()),
        model_name=answer.model.name,
        options=answer.options,
        run=to_json(answer.run),
        heading=answer.heading,
        items=tuple(_described(item) for item in answer.items),
        array_bytes=len(packed),
    )
    words = zlib.compress(header.model_dump_json().encode(), _LEVEL)
    files = (file for item in answer.items for file in _files_of(item))
    rest = b"".join((_LENGTH.pack(len(words)), words, packed, *files))
    return b"".join((_MAGIC, _check(rest), rest))


def unpack(content: bytes, digest: str, read_stored: ReadStored) -> Answer:
    """The answer of that digest.

    read_stored: bytes of an image by its path below the data root. Raises UnreadableAnswer.
    """
    try:
        answer = _read(content, read_stored)
    except UnreadableAnswer:
        raise
    except (
        CamError,
        OSError,
        ValueError,  # pydantic's too
        TypeError,
        KeyError,
        struct.error,
        zlib.error,
    ) as error:
        raise UnreadableAnswer(f"{type(error).__name__}: {error}") from error
    if answer.digest != digest:
        raise UnreadableAnswer("it is another answer than its name says")
    return answer


def _arrays_of(item: Explained) -> Iterator[NDArray[Any]]:
    for layer in item.explanation.layers:
        yield layer.values.astype("<f4", copy=False)
    if item.large is not None:
        yield item.large.network_input.pixels
        if item.large.network_input.plain is not None:
            yield item.large.network_input.plain


def _files_of(item: Explained) -> Iterator[bytes]:
    if item.large is not None:
        yield item.large.original
        yield item.large.enhanced or b""
    elif not item.source.stored:
        yield item.source.data


def _described(item: Explained) -> _Item:
    explanation, source = item.explanation, item.source
    by_file = item.large is None and not source.stored
    return _Item(
        name=source.name,
        sha256=source.sha256,
        true_class=source.true_class,
        stored=source.stored,
        size=item.size,
        facts=item.facts,
        target=explanation.target,
        top=explanation.top,
        unenhanced=explanation.unenhanced,
        layers=tuple(
            _Layer(
                name=layer.name,
                label=layer.label,
                method=layer.method,
                maximum=layer.maximum,
                block=layer.block,
                grid=layer.grid,
            )
            for layer in explanation.layers
        ),
        file=len(source.data) if by_file else None,
        large=None if item.large is None else _described_large(item.large),
    )


def _described_large(large: LargeImage) -> _Large:
    pixels, plain = large.network_input.pixels, large.network_input.plain
    return _Large(
        original=len(large.original),
        enhanced=None if large.enhanced is None else len(large.enhanced),
        sides=(pixels.shape[0], pixels.shape[1]),
        plain=plain is not None,
    )


@dataclass
class _Bytes:
    """Bytes that are taken from the front."""

    content: memoryview

    def take(self, count: int) -> bytes:
        if count > len(self.content):
            raise UnreadableAnswer("it ends too early")
        taken, self.content = self.content[:count], self.content[count:]
        return bytes(taken)


def _read(content: bytes, read_stored: ReadStored) -> Answer:
    rest = _Bytes(memoryview(content))
    if rest.take(len(_MAGIC)) != _MAGIC:
        raise UnreadableAnswer("it is of another version, or no answer")
    if rest.take(_CHECK_BYTES) != _check(rest.content):
        raise UnreadableAnswer("it was damaged")
    [length] = _LENGTH.unpack(rest.take(_LENGTH.size))
    header = _Header.model_validate_json(_inflated(rest.take(length), _MOST_HEADER_BYTES))
    if header.software != dict(software_versions()):
        raise UnreadableAnswer("it is of other software")
    run = run_facts_from_json(header.run)
    packed = rest.take(header.array_bytes)
    arrays = _Bytes(memoryview(_inflated(packed, _MOST_ARRAY_BYTES)))
    items = tuple(_item(item, arrays, rest, read_stored) for item in header.items)
    if len(arrays.content) or len(rest.content):
        raise UnreadableAnswer("it holds more than it says")
    _check_layers(run, items)
    return answer_of(header.model_name, header.options, run, Recipes(run), items, header.heading)


def _check_layers(run: RunFacts, items: tuple[Explained, ...]) -> None:
    """Every layer that pictures may ask for is there."""
    wanted = [*run.options.layers, *(["fused"] if run.options.fused else [])]
    for item in items:
        if [layer.name for layer in item.explanation.layers] != wanted:
            raise UnreadableAnswer("its layers are not those of its options")


def _item(item: _Item, arrays: _Bytes, files: _Bytes, read_stored: ReadStored) -> Explained:
    layers = tuple(_layer(layer, arrays) for layer in item.layers)
    large = None if item.large is None else _large(item, item.large, arrays, files)
    if item.file is not None:
        data = files.take(item.file)
    else:
        data = read_stored(item.name) if item.stored and large is None else b""
    if large is None and hashlib.sha256(data).hexdigest() != item.sha256:
        raise UnreadableAnswer("its image is another one by now")
    return Explained(
        ImageSource(data, item.sha256, item.name, item.true_class, item.stored),
        Explanation(item.target, item.top, layers, item.unenhanced),
        item.size,
        item.facts,
        large,
    )


def _layer(layer: _Layer, arrays: _Bytes) -> LayerMap:
    values = np.frombuffer(arrays.take(4 * prod(layer.grid)), "<f4").reshape(layer.grid)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise UnreadableAnswer("a map is none")
    return LayerMap(
        layer.name,
        layer.label,
        layer.method,
        values.astype(np.float32),
        layer.maximum,
        layer.block,
    )


def _large(item: _Item, large: _Large, arrays: _Bytes, files: _Bytes) -> LargeImage:
    def pixels() -> NDArray[np.uint8]:
        shape = (*large.sides, 3)
        return np.frombuffer(arrays.take(prod(shape)), np.uint8).reshape(shape).copy()

    network_input = NetworkInput(pixels(), pixels() if large.plain else None)
    original = files.take(large.original)
    enhanced = files.take(large.enhanced or 0)
    return LargeImage(
        item.size,
        original,
        enhanced if large.enhanced is not None else None,
        network_input,
        item.facts,
    )


def _inflated(packed: bytes, most_bytes: int) -> bytes:
    """What was compressed, of which there may be so much and no more."""
    stream = zlib.decompressobj()
    inflated = stream.decompress(packed, most_bytes)
    if not stream.eof or stream.unused_data:
        raise UnreadableAnswer("it does not unpack, or not to so few bytes")
    return inflated


def _check(rest: bytes | memoryview) -> bytes:
    return hashlib.blake2b(rest, digest_size=_CHECK_BYTES).digest()
