"""The cache of answers, by function: bounded by bytes, the least recently used go first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from service.explanations.answers import Answer, AnswerCache, ImageSource


@dataclass(frozen=True)
class Sized:
    """Stands for an answer: a digest and a size."""

    digest: str
    bytes_used: int
    large_images: tuple[()] = ()

    def without_pixels(self) -> Sized:
        return self


def answer(digest: str, size: int = 10) -> Answer:
    return cast("Answer", Sized(digest, size))


def digest_in(cache: AnswerCache, digest: str) -> str | None:
    found = cache.get(digest)
    return None if found is None else found.digest


def test_what_was_put_can_be_had() -> None:
    cache = AnswerCache(100)
    cache.put(answer("a"))
    assert digest_in(cache, "a") == "a"
    assert cache.get("b") is None


def test_the_least_recently_used_makes_room() -> None:
    cache = AnswerCache(30)
    for digest in ("a", "b", "c"):
        cache.put(answer(digest))
    cache.get("a")
    cache.put(answer("d"))
    assert cache.get("b") is None
    assert [digest_in(cache, digest) for digest in ("a", "c", "d")] == ["a", "c", "d"]
    cache.put(answer("b"))
    assert digest_in(cache, "b") == "b"


def test_a_look_alone_is_no_use() -> None:
    cache = AnswerCache(20)
    cache.put(answer("a"))
    cache.put(answer("b"))
    found = cache.peek("a")
    assert found is not None
    assert found.digest == "a"
    cache.put(answer("c"))
    assert cache.peek("a") is None


def test_the_same_answer_takes_its_bytes_once() -> None:
    cache = AnswerCache(20)
    cache.put(answer("a"))
    for _ in range(5):
        cache.put(answer("b"))
    assert digest_in(cache, "a") == "a"


def test_an_answer_that_never_fits_pushes_nothing_else_out_for_good() -> None:
    cache = AnswerCache(20)
    cache.put(answer("huge", 21))
    assert cache.get("huge") is None
    cache.put(answer("a"))
    cache.put(answer("b"))
    assert digest_in(cache, "a") == "a"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("cell_001.jpg", "cell_001"),
        ("a/b/c.d.png", "c.d"),
        ("C:\\scans\\cell.tif", "cell"),
        (".hidden", ".hidden"),
        ("no suffix", "no suffix"),
        ("", "image"),
        ("a/", "image"),
    ],
)
def test_a_title_is_the_name_without_folders_and_suffix(name: str, title: str) -> None:
    assert ImageSource(b"", "0", name).title == title
