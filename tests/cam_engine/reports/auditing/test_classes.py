"""Verdicts on classes: their cases, whether images tell them, whether models know their names."""

from __future__ import annotations

from cam_engine.reports.auditing.classes import (
    class_counts,
    names_of_classes,
    single_class_images,
)
from cam_engine.reports.crops import Crop


def made(counts: dict[str, int], split: str = "test") -> list[Crop]:
    return [Crop(f"{n}.jpg", split, label) for label, count in counts.items() for n in range(count)]


def fields(labels: list[str]) -> list[Crop]:
    """Field by field, one letter for each crop's class."""
    return [
        Crop(f"{field}_{n}", "train", label, field=str(field))
        for field, letters in enumerate(labels)
        for n, label in enumerate(letters)
    ]


def test_each_class_needs_ten_cases() -> None:
    enough = class_counts(made({"ring": 10, "schizont": 12}), "test", {})
    assert (enough.verdict, enough.value, enough.n) == ("pass", 10, 22)
    few = class_counts(made({"ring": 9, "schizont": 12}), "test", {})
    assert (few.verdict, few.value) == ("fail", 9)
    assert "1 of 2 classes has fewer than 10 crops in test: ring (9)" in few.sentence


def test_classes_of_other_splits_and_of_models_count_as_none() -> None:
    crops = [*made({"ring": 10}), *made({"schizont": 30}, "train")]
    criterion = class_counts(crops, "test", {"a": ["Ring", "gametocyte"]})
    assert (criterion.verdict, criterion.value) == ("fail", 0)
    assert "gametocyte (0), schizont (0)" in criterion.sentence


def test_images_of_one_class_each_tell_it() -> None:
    criterion = single_class_images(fields(["aaa", "bbb"] * 6))
    assert (criterion.verdict, criterion.value, criterion.n) == ("fail", 1.0, 12)


def test_mixed_images_tell_nothing() -> None:
    """Shuffled, a field of two crops has one class in 23/47 of all cases."""
    criterion = single_class_images(fields(["aa", "ab", "bb", "ba"] * 6))
    assert (criterion.verdict, criterion.value) == ("pass", 0.5)
    assert "(49% if labels were shuffled)" in criterion.sentence


def test_images_may_tell_a_class_in_part() -> None:
    criterion = single_class_images(fields(["aaa", "bbb", "aaa", "bab"] * 6))
    assert (criterion.verdict, criterion.value) == ("cannot_tell", 0.75)
    assert "in part" in criterion.sentence


def test_with_one_class_it_says_nothing() -> None:
    criterion = single_class_images(fields(["aaa"] * 30))
    assert (criterion.verdict, criterion.value) == ("cannot_tell", 1.0)


def test_images_with_several_crops_are_needed() -> None:
    for crops in (fields(["aa"] * 9), fields(["a"] * 30), made({"ring": 30})):
        assert single_class_images(crops).verdict == "cannot_tell"
    assert "none is known" in single_class_images(made({"ring": 30})).sentence


def test_names_are_held_against_each_models() -> None:
    crops = made({"ring": 3, "early-schizont": 3})
    known = names_of_classes(crops, "test", {"a": ["Ring", "early schizont"]})
    assert (known.verdict, known.value, known.n) == ("pass", 0, 2)
    strange = names_of_classes(
        crops, "test", {"a": ["ring", "early schizont"], "b": ["ring", "schizont"]}
    )
    assert (strange.verdict, strange.value) == ("fail", 1)
    assert "early-schizont (no class of b)" in strange.sentence


def test_classes_without_crops_are_named() -> None:
    criterion = names_of_classes(made({"ring": 3}), "test", {"a": ["ring", "schizont"]})
    assert criterion.verdict == "pass"
    assert "Without crops: schizont." in criterion.sentence


def test_without_models_names_cannot_be_told() -> None:
    assert names_of_classes(made({"ring": 3}), "test", {}).verdict == "cannot_tell"
