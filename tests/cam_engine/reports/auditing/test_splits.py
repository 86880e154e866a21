"""Verdicts on splits: of planted faults, of clean data, and of data that do not tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cam_engine.evidence.images.twins import Twin, Twins
from cam_engine.reports.auditing.splits import (
    UnitKind,
    independent_units,
    label_conflicts,
    leakage,
    shared,
    unit_of,
    units_of,
)
from cam_engine.reports.auditing.twin_crops import TwinCrops
from cam_engine.reports.crops import Crop


def made(split: str, count: int) -> list[Crop]:
    """Crops of as many fields."""
    fields = [f"{split}{n}" for n in range(count)]
    return [Crop(f"{field}.jpg", split, "ring", field=field) for field in fields]


def looked(crops: list[Crop], *pairs: tuple[int, int], unread: int = 0) -> TwinCrops:
    twins = Twins(tuple(Twin(*pair, 0.97, "near") for pair in pairs), pairs)
    return TwinCrops(tuple(crops), twins, frozenset(range(len(crops) - unread)))


CLEAN = [*made("test", 20), *made("train", 20)]


def test_leakage_is_a_share_of_the_splits_crops() -> None:
    crops = [*CLEAN, *made("val", 5)]
    criterion = leakage(looked(crops, (0, 20), (1, 40), (2, 3)), "test")
    assert (criterion.verdict, criterion.value, criterion.n) == ("fail", 0.1, 20)
    assert "2 of 20 test crops (10%)" in criterion.sentence
    assert "1 in train, 1 in val" in criterion.sentence


def test_no_leakage() -> None:
    criterion = leakage(looked(CLEAN, (2, 3)), "test")
    assert (criterion.verdict, criterion.value, criterion.threshold) == ("pass", 0.0, 0.0)


@pytest.mark.parametrize(
    ("crops", "unread", "why"),
    [
        (made("test", 20), 0, "only the split test is there"),
        ([*made("test", 20), *made("val", 9)], 0, "that models were trained with are not there"),
        (CLEAN, 1, "1 of 40 crops have no picture"),
        (CLEAN, 40, "40 of 40 crops have no picture"),
    ],
)
def test_leakage_that_cannot_be_told(crops: list[Crop], unread: int, why: str) -> None:
    criterion = leakage(looked(crops, unread=unread), "test")
    assert (criterion.verdict, criterion.value) == ("cannot_tell", None)
    assert why in criterion.sentence


def test_leakage_that_was_seen_is_told_whatever_else_is_missing() -> None:
    crops = [*made("test", 20), *made("val", 9)]
    assert leakage(looked(crops, (0, 25), unread=3), "test").verdict == "fail"


def test_label_conflicts() -> None:
    crops = [replace(CLEAN[0], label="schizont"), *CLEAN[1:]]
    criterion = label_conflicts(looked(crops, (0, 20), (1, 2), (3, 4), (5, 30)))
    assert (criterion.verdict, criterion.value, criterion.n) == ("fail", 0.25, 4)
    assert "test0.jpg is schizont, train0.jpg is ring" in criterion.sentence
    assert label_conflicts(looked(CLEAN, (0, 20))).verdict == "pass"
    assert label_conflicts(looked(CLEAN, (0, 20), unread=1)).verdict == "cannot_tell"
    assert label_conflicts(looked(CLEAN)).verdict == "cannot_tell"


@pytest.mark.parametrize("kind", ["field", "slide"])
def test_units_that_two_splits_share(kind: UnitKind) -> None:
    crops = [*CLEAN, *made("val", 1)]
    crops = [replace(crop, slide=crop.field) for crop in crops]
    assert shared(units_of(crops, "test", kind)).verdict == "pass"
    planted = [*crops[:39], replace(crops[0], name="planted", split="train"), *crops[39:]]
    criterion = shared(units_of(planted, "test", kind))
    assert (criterion.id, criterion.verdict) == (f"audit.shared_{kind}s", "fail")
    assert (criterion.value, criterion.n) == (0.05, 20)
    assert "1 of 20 test crops (5%)" in criterion.sentence
    assert "(test0)" in criterion.sentence
    assert {unit_of(crop, kind) for crop in planted[:1]} == {"test0"}


@pytest.mark.parametrize(
    ("crops", "why"),
    [
        ([*CLEAN[:-1], replace(CLEAN[-1], field=None)], "which field image 1 of the crops"),
        (made("test", 20), "only the split test is there"),
        ([*made("test", 20), *made("val", 9)], "that models were trained with are not there"),
    ],
)
def test_units_that_cannot_be_told(crops: list[Crop], why: str) -> None:
    criterion = shared(units_of(crops, "test", "field"))
    assert (criterion.verdict, criterion.value) == ("cannot_tell", None)
    assert why in criterion.sentence


def test_independent_units() -> None:
    """20 fields are enough; where two share a cell, they are 19; slides count before fields."""
    assert independent_units(looked(CLEAN), "test").verdict == "pass"
    fewer = independent_units(looked(CLEAN, (0, 1), (2, 20)), "test")
    assert (fewer.verdict, fewer.value, fewer.threshold) == ("cannot_tell", 19, 20)
    assert "unreliable" in fewer.sentence
    of_slides = [replace(crop, slide=f"s{n % 3}") for n, crop in enumerate(CLEAN)]
    slides = independent_units(looked(of_slides), "test")
    assert (slides.verdict, slides.value) == ("cannot_tell", 3)
    assert "3 independent units (slides)" in slides.sentence


def test_units_of_crops_alone_are_not_known() -> None:
    crops = [replace(crop, field=None) for crop in CLEAN]
    criterion = independent_units(looked(crops), "test")
    assert criterion.verdict == "cannot_tell"
    assert "at most 20" in criterion.sentence
