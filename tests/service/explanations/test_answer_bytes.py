"""Answers as bytes: read back they are the same to the last byte, and nothing else is believed."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.components import Components, build
from service.explanations import answer_bytes
from service.explanations.answer_bytes import UnreadableAnswer, pack, unpack
from service.explanations.answers import Answer
from service.explanations.representations import JSON, PNG, ZIP
from service.explanations.requests import StoredImageRequest, UploadFields
from service.http.work import Work
from service.settings import Settings

NPY = "application/x-npy"


@pytest.fixture(scope="module")
def data(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    target = tmp_path_factory.mktemp("data") / "experiment_x"
    shutil.copytree(source, target)
    return target.parent


@pytest.fixture(scope="module")
def parts(data: Path) -> Iterator[Components]:
    built = build(Settings(data=data, catalog_seconds=0))
    built.decoding.start()
    yield built
    built.decoding.close()
    for executor in built.executors:
        executor.shutdown()


@pytest.fixture(scope="module")
def crop(data: Path) -> Path:
    return sorted(data.glob("experiment_x/crops_gt_crops/crops/test/ring/*.jpg"))[0]


def uploaded(parts: Components, image: bytes, **fields: Any) -> Answer:
    work = parts.explaining.upload(image, "a cell.jpg", UploadFields(**fields), JSON, Work())
    return asyncio.run(work).without_pixels()


def stored(parts: Components, **fields: Any) -> Answer:
    request = StoredImageRequest(experiment="experiment_x", **fields)
    return asyncio.run(parts.explaining.stored(request, JSON, Work())).without_pixels()


def nothing(place: str) -> bytes:
    raise AssertionError(f"{place} was read")


def drawn(parts: Components, answer: Answer, media_type: str) -> tuple[bytes, dict[str, str]]:
    made = asyncio.run(parts.explaining.draw(answer, media_type, "/base", Work()))
    return made.body, dict(made.headers)


def assert_same(parts: Components, one: Answer, other: Answer) -> None:
    """In every form that there is, the image beneath included."""
    assert (one.digest, one.model, one.options) == (other.digest, other.model, other.options)
    assert one.cam_options == other.cam_options
    for media_type in (PNG, JSON, ZIP) if one.options.view == "overlay" else (JSON, NPY):
        assert drawn(parts, one, media_type) == drawn(parts, other, media_type)
    if not one.is_sheet:
        for enhanced in {False, one.options.clahe}:
            beneath = [
                asyncio.run(parts.explaining.base_image(answer, Work(), enhanced=enhanced))
                for answer in (one, other)
            ]
            assert beneath[0] == beneath[1]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"view": "native"},
        {"view": "maps", "method": "layercam", "clahe": False},
        {"layer": "late", "target": "ring", "colormap": "viridis", "alpha": 0.1 + 0.2},
        {"target": 2, "score": "margin", "taps": "raw", "pictures": ("overlay", "panel")},
    ],
    ids=str,
)
def test_an_upload_comes_back_the_same(
    parts: Components, crop: Path, fields: dict[str, Any]
) -> None:
    answer = uploaded(parts, crop.read_bytes(), **fields)
    again = unpack(pack(answer), answer.digest, nothing)
    assert_same(parts, answer, again)
    for was, now in zip(answer.items, again.items, strict=True):
        assert was.source == now.source
        for layer, other in zip(was.explanation.layers, now.explanation.layers, strict=True):
            np.testing.assert_array_equal(layer.values, other.values, strict=True)


def test_an_image_of_the_data_root_is_its_path_and_digest(parts: Components, crop: Path) -> None:
    place = crop.relative_to(crop.parents[4])
    answer = stored(parts, image=place.as_posix())
    content = pack(answer)
    data = crop.read_bytes()
    assert data not in content
    assert len(content) < len(pack(uploaded(parts, data)))
    read: list[str] = []

    def read_stored(path: str) -> bytes:
        read.append(path)
        return data

    assert_same(parts, answer, unpack(content, answer.digest, read_stored))
    assert read == [f"experiment_x/{place.as_posix()}"]
    with pytest.raises(UnreadableAnswer, match="another"):
        unpack(content, answer.digest, lambda _path: data + b"\0")

    def gone(path: str) -> bytes:
        raise FileNotFoundError(path)

    with pytest.raises(UnreadableAnswer):
        unpack(content, answer.digest, gone)


def test_a_contact_sheet_comes_back_the_same(parts: Components, data: Path) -> None:
    answer = stored(parts, max_images=3)
    again = unpack(pack(answer), answer.digest, lambda path: (data / path).read_bytes())
    assert again.heading == "experiment_x"
    assert len(again.items) == 3
    assert_same(parts, answer, again)


@pytest.mark.parametrize("clahe", [True, False])
def test_a_large_image_comes_back_without_its_file(parts: Components, clahe: bool) -> None:
    coarse = np.random.default_rng(5).integers(0, 256, (13, 26, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((2200, 1100)).save(buffer, "JPEG")
    answer = uploaded(parts, buffer.getvalue(), clahe=clahe)
    assert answer.large_images
    content = pack(answer)
    assert buffer.getvalue() not in content
    again = unpack(content, answer.digest, nothing)
    assert_same(parts, answer, again)
    [was], [now] = answer.large_images, again.large_images
    assert (was.size, was.facts) == (now.size, now.facts)
    np.testing.assert_array_equal(was.network_input.pixels, now.network_input.pixels)
    if clahe:
        assert was.network_input.plain is not None
        assert now.network_input.plain is not None
        np.testing.assert_array_equal(was.network_input.plain, now.network_input.plain)
    assert now.network_input.pixels.flags.writeable  # torch warns of what is not


@pytest.fixture(scope="module")
def content(parts: Components, crop: Path) -> tuple[bytes, str]:
    answer = uploaded(parts, crop.read_bytes())
    return pack(answer), answer.digest


def assert_unreadable(content: bytes, digest: str, match: str | None = None) -> None:
    with pytest.raises(UnreadableAnswer, match=match):
        unpack(content, digest, nothing)


def test_what_was_cut_or_damaged_is_unreadable(content: tuple[bytes, str]) -> None:
    whole, digest = content
    for end in (0, 5, 17, 25, 33, 36, 200, len(whole) // 2, len(whole) - 1):
        assert_unreadable(whole[:end], digest)
    for at in range(0, len(whole), max(1, len(whole) // 50)):
        assert_unreadable(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], digest)
    assert_unreadable(whole + b"\0", digest, "damaged")
    assert_unreadable(whole, "0" * 64, "another")


def rewritten(
    content: bytes,
    change: Callable[[dict[str, Any]], object] = lambda _header: None,
    behind: Callable[[bytes], bytes] = lambda rest: rest,
) -> bytes:
    """The same bytes with another header, or something else behind it, and sound checks."""
    start = len(answer_bytes._MAGIC) + answer_bytes._CHECK_BYTES
    length = int.from_bytes(content[start : start + 4], "little")
    header = json.loads(zlib.decompress(content[start + 4 : start + 4 + length]))
    change(header)
    words = zlib.compress(json.dumps(header).encode())
    rest = len(words).to_bytes(4, "little") + words + behind(content[start + 4 + length :])
    return answer_bytes._MAGIC + answer_bytes._check(rest) + rest


def test_the_rewriting_of_these_tests_changes_nothing_by_itself(
    content: tuple[bytes, str],
) -> None:
    assert unpack(rewritten(content[0]), content[1], nothing).digest == content[1]


def test_what_other_software_wrote_is_unreadable(content: tuple[bytes, str]) -> None:
    whole, digest = content
    assert_unreadable(
        rewritten(whole, lambda header: header["software"].update(torch="1.0")), digest, "software"
    )
    assert_unreadable(whole.replace(b"answer 1\n", b"answer 2\n"), digest, "version")
    assert_unreadable(rewritten(whole, lambda header: header.update(more=1)), digest, "more")


def _first(header: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = header["items"][0]
    return item


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.update(items=[]),
        lambda header: header.update(heading="sheet"),
        lambda header: header.update(run="{}"),
        lambda header: header.update(run="no json"),
        lambda header: header.update(run=header["run"].replace("0.6", "0.7")),
        lambda header: header.update(options={"alpha": 2}),
        lambda header: header["options"].update(alpha=0.5),
        lambda header: header.update(array_bytes=header["array_bytes"] + 1),
        lambda header: header.update(array_bytes=10**12),
        lambda header: header.update(array_bytes=-1),
        lambda header: _first(header).update(name="other"),
        lambda header: _first(header).update(true_class="ring"),
        lambda header: _first(header).update(sha256="0" * 64),
        lambda header: _first(header).update(file=None),
        lambda header: _first(header).update(file=3),
        lambda header: _first(header).update(size=[0, 5]),
        lambda header: _first(header).update(top=[]),
        lambda header: _first(header).update(layers=[]),
        lambda header: _first(header)["layers"].reverse(),
        lambda header: _first(header)["layers"].pop(),
        lambda header: _first(header)["layers"][0].update(grid=[65536, 65536]),
        lambda header: _first(header)["layers"][0].update(maximum=-1.0),
        lambda header: _first(header)["layers"][0].update(method="guess"),
        lambda header: _first(header)["facts"].update(format="EXE"),
        lambda header: _first(header).update(
            large={"original": 1, "enhanced": None, "sides": [1, 1], "plain": False}
        ),
    ],
)
def test_headers_that_say_something_else_are_unreadable(
    content: tuple[bytes, str], change: Callable[[dict[str, Any]], object]
) -> None:
    assert_unreadable(rewritten(content[0], change), content[1])


def test_only_maps_are_maps(content: tuple[bytes, str]) -> None:
    whole, digest = content

    def with_maps(change: Callable[[bytearray], object]) -> bytes:
        sizes: list[int] = []

        def changed(rest: bytes) -> bytes:
            stream = zlib.decompressobj()
            maps = bytearray(stream.decompress(rest))
            change(maps)
            packed = zlib.compress(bytes(maps))
            sizes.append(len(packed))
            return packed + stream.unused_data

        rewritten(whole, behind=changed)
        return rewritten(whole, lambda header: header.update(array_bytes=sizes[0]), behind=changed)

    def set_first(value: float) -> Callable[[bytearray], object]:
        return lambda maps: maps.__setitem__(slice(0, 4), np.float32(value).tobytes())

    unpack(with_maps(set_first(0.5)), digest, nothing)
    for wrong in (float("nan"), float("inf"), -0.5, 1.5):
        assert_unreadable(with_maps(set_first(wrong)), digest, "a map is none")
    assert_unreadable(with_maps(lambda maps: maps.extend(b"\0")), digest, "more than it says")
    assert_unreadable(with_maps(lambda maps: maps.clear()), digest, "too early")


def test_no_more_is_unpacked_than_there_may_be(
    content: tuple[bytes, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_bytes, "_MOST_ARRAY_BYTES", 100)
    assert_unreadable(*content, "so few bytes")
    monkeypatch.setattr(answer_bytes, "_MOST_ARRAY_BYTES", 10**9)
    monkeypatch.setattr(answer_bytes, "_MOST_HEADER_BYTES", 100)
    assert_unreadable(*content, "so few bytes")
