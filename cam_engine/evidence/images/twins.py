"""Finds pictures of the same cell among many: the same file, the same pixels, or nearly the same.

Three stages, each on what the one before left: equal digests; candidates, by perceptual hash
(`imagehash`) and by local contrast of their middles over shifts and sizes; and correlation after
registration, of candidates alone. Copies that were turned or mirrored are not looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cam_engine.evidence.images.registration import (
    SIDE,
    Grey,
    Placing,
    correlation,
    local_contrast,
    reduced,
)
from cam_engine.results import RgbImage

How = Literal["same file", "same pixels", "near"]

# Measured on 529 crops of 313 photographs, cut in two ways: among 139,000 pairs of other cells the
# highest are .78 and .80. All 155 pairs above .85 were seen to be one cell each; the lowest of
# them have .87 and .89. What is missed are cells at the photograph's edge, where crops were
# mirrored or stretched: six are known beside 77 that are found.
LEAST_CORRELATION = 0.85

_MOST_CANDIDATES = 5  # of each picture and each kind
_LEAST_LIKENESS = 0.6  # of candidates; of twins the lowest was .74
_MOST_BITS = 10  # of 64 in which perceptual hashes of candidates differ
_BLOCK = 512  # pictures compared with all others at a time, which bounds the memory
_GRID = 16
_MIDDLE = 64  # px: side of the middle that is looked for in other pictures
_PLACINGS = tuple(
    Placing(x, y, scale)
    for scale, y, x in product((1.0, 0.85, 1.17), (0, -8, -4, 4, 8), (0, -8, -4, 4, 8))
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a picture, about 10 kB.

    file, pixels: digests; file is None where only pixels are known. bits: (64,) bool, its
    perceptual hash. grey: (96, 96) uint8.
    """

    file: bytes | None
    pixels: bytes
    bits: NDArray[np.bool_]
    grey: Grey


@dataclass(frozen=True, slots=True)
class Twin:
    """Two pictures of one cell, by index, one < other; correlation: 0..1, 1 of the same pixels."""

    one: int
    other: int
    correlation: float
    how: How


@dataclass(frozen=True, slots=True)
class Twins:
    """Pairs by index, and groups of two or more that pairs connect, each ascending.

    Of many copies of the same pixels, each is paired with the first alone.
    """

    pairs: tuple[Twin, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()


def fingerprint(image: RgbImage, file: bytes | None = None) -> Fingerprint:
    """Of (H, W, 3) uint8 pixels of any size; file: the bytes that they were decoded from."""
    shape = np.array(image.shape, np.int64).tobytes()
    pixels = hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).digest()
    digest = None if file is None else hashlib.sha256(file).digest()
    bits = np.asarray(imagehash.phash(Image.fromarray(image)).hash, np.bool_).ravel()
    return Fingerprint(digest, pixels, bits, reduced(image))


def find_twins(prints: Sequence[Fingerprint | None]) -> Twins:
    """All twins among the pictures; None stands for a picture that is not there.

    Time grows with the square of their number in products of matrices alone: 530 pictures take
    some seconds of one core, 4,000 two minutes. Memory is bounded by blocks.
    """
    known = {index: one for index, one in enumerate(prints) if one is not None}
    same = list(_same(known))
    copies = {twin.other for twin in same}
    near = _near({index: one for index, one in known.items() if index not in copies})
    pairs = sorted([*same, *near], key=lambda twin: (twin.one, twin.other))
    return Twins(tuple(pairs), connected([(t.one, t.other) for t in pairs], len(prints)))


def connected(pairs: Sequence[tuple[int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more of `count` things that pairs connect, each ascending."""
    if not pairs:
        return ()
    ones, others = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (ones, others)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for index in np.unique(np.array(pairs)).tolist():
        groups.setdefault(int(labels[index]), []).append(index)
    return tuple(sorted(map(tuple, groups.values())))


def _same(known: Mapping[int, Fingerprint]) -> Iterator[Twin]:
    first: dict[bytes, int] = {}
    for index, one in known.items():
        earlier = first.setdefault(one.pixels, index)
        if earlier != index:
            same_file = one.file is not None and one.file == known[earlier].file
            yield Twin(earlier, index, 1.0, "same file" if same_file else "same pixels")


def _near(known: Mapping[int, Fingerprint]) -> Iterator[Twin]:
    indices, prints = list(known), list(known.values())
    for (one, other), placing in sorted(_candidates(prints).items(), key=lambda item: item[0]):
        found = correlation(prints[one].grey, prints[other].grey, placing)
        if found is not None and found >= LEAST_CORRELATION:
            first, second = sorted((indices[one], indices[other]))
            yield Twin(first, second, found, "near")


def _candidates(prints: Sequence[Fingerprint]) -> dict[tuple[int, int], Placing]:
    """By (one, other), one's middle looked for in the other: where it lies there."""
    if len(prints) < 2:
        return {}
    middles = _views([local_contrast(one.grey) for one in prints], Placing())
    signs = np.array([one.bits for one in prints], np.float32) * 2 - 1
    best: dict[tuple[int, int], tuple[float, tuple[int, int], Placing]] = {}
    for start in range(0, len(prints), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(prints)))
        likeness, places = _likeness(middles, [local_contrast(p.grey) for p in prints[block]])
        differing = (signs.shape[1] - signs @ signs[block].T) / 2
        own = np.arange(block.start, block.stop), np.arange(block.stop - block.start)
        likeness[own], differing[own] = -1, np.inf
        for column in range(likeness.shape[1]):
            looked_alike = _highest(likeness[:, column], _LEAST_LIKENESS)
            hashed_alike = _highest(-differing[:, column], -_MOST_BITS)
            for row in {*looked_alike, *hashed_alike}:
                ends = (row, start + column)
                score = float(likeness[row, column])
                pair = min(ends), max(ends)
                if pair not in best or best[pair][0] < score:
                    best[pair] = score, ends, _PLACINGS[places[row, column]]
    return {ends: placing for _, ends, placing in best.values()}


def _likeness(
    middles: NDArray[np.float32], fields: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(n, block): the best correlation over all placings, and which placing that was."""
    best = np.full((len(middles), len(fields)), -1, np.float32)
    places = np.zeros(best.shape, np.uint8)
    for number, placing in enumerate(_PLACINGS):
        scores = middles @ _views(fields, placing).T
        better = scores > best
        places[better] = number
        np.maximum(best, scores, out=best)
    return best, places


def _views(fields: Sequence[NDArray[np.float32]], placing: Placing) -> NDArray[np.float32]:
    """(n, 256): the middles of the pictures that are placed so, of mean 0 and length 1."""
    step = placing.scale * _MIDDLE / _GRID
    corner = (SIDE - 1) / 2 - step * (_GRID - 1) / 2
    warp = np.array([[step, 0, corner + placing.x], [0, step, corner + placing.y]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    views = np.empty((len(fields), _GRID * _GRID), np.float32)
    for view, field in zip(views, fields, strict=True):
        view[:] = cv2.warpAffine(
            field, warp, (_GRID, _GRID), flags=flags, borderMode=cv2.BORDER_REFLECT_101
        ).ravel()
    views -= views.mean(1, keepdims=True)
    views /= np.linalg.norm(views, axis=1, keepdims=True) + 1e-6
    return views


def _highest(values: NDArray[np.floating], least: float) -> list[int]:
    """Indices of the few highest values that are not below the least."""
    few = np.argpartition(values, -min(_MOST_CANDIDATES, len(values)))[-_MOST_CANDIDATES:]
    return [int(index) for index in few if values[index] >= least]
