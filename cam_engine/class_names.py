"""Which class of a classifier a name means: a folder's, or one that somebody gives as a target.

Alike are names that differ in case, in how letters are composed (NFC, NFD), or in what is between
words: spaces, "-" and "_". An exact name always means its class; one that is like several classes
means none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_MOST_NAMED = 5


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """What names that are alike have in common; "" for one without any letter or sign."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return _BETWEEN_WORDS.sub("_", composed).strip("_")


def class_index(name: str | None, class_names: Sequence[str]) -> int | None:
    """The index of the class that a name means; None where it means none, or may mean several."""
    if name is None:
        return None
    exact, alike = _indices(tuple(class_names))
    if name in exact:
        return exact[name]
    among = alike.get(folded(name), ())
    return among[0] if len(among) == 1 else None


def class_meant(name: str | None, class_names: Sequence[str]) -> str | None:
    """As `class_index`, the classifier's own name for it."""
    index = class_index(name, class_names)
    return None if index is None else class_names[index]


def classes_like(name: str, class_names: Sequence[str]) -> list[str]:
    """The classes that a name is like."""
    _, alike = _indices(tuple(class_names))
    return [class_names[index] for index in alike.get(folded(name), ())]


def one_spelling(names: Iterable[str | None]) -> dict[str, str]:
    """By name, the first of those that are alike."""
    first: dict[str, str] = {}
    return {name: first.setdefault(folded(name), name) for name in names if name is not None}


def no_classes(folders: Iterable[str | None], class_names: Sequence[str]) -> dict[str, int]:
    """Images by folder, of those folders whose names mean no class.

    folders: one for each image; None, of an image without a class folder, is not counted.
    """
    counts = Counter(folder for folder in folders if folder is not None)
    return {name: n for name, n in sorted(counts.items()) if class_index(name, class_names) is None}


def no_classes_in_words(counts: Mapping[str, int], class_names: Sequence[str]) -> str:
    """For a person: "Uninfected (12 images), cell (1 image, may mean Cell_a or cell-a)"."""
    said = []
    for name, count in list(counts.items())[:_MOST_NAMED]:
        like = classes_like(name, class_names)
        why = f", may mean {' or '.join(like)}" if len(like) > 1 else ""
        said.append(f"{name} ({count} image{'' if count == 1 else 's'}{why})")
    more = len(counts) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


@lru_cache(maxsize=64)
def _indices(
    class_names: tuple[str, ...],
) -> tuple[Mapping[str, int], Mapping[str, tuple[int, ...]]]:
    """By exact name the first index, by folded name all."""
    exact: dict[str, int] = {}
    alike: dict[str, tuple[int, ...]] = {}
    for index, name in enumerate(class_names):
        exact.setdefault(name, index)
        if key := folded(name):
            alike[key] = (*alike.get(key, ()), index)
    return MappingProxyType(exact), MappingProxyType(alike)
