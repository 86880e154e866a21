"""Folders' names and targets against a classifier's class names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from cam_engine.class_names import no_classes, no_classes_in_words
from cam_engine.errors import ClassNotFound
from cam_engine.experiments.finding import ImageItem
from cam_engine.experiments.picking import pick_images
from cam_engine.maps.targets import resolve_class

CLASSES = ("early_trophozoite", "Gametozyt ä", "Ring", "ring-2", "STRASSE")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("early_trophozoite", "early_trophozoite"),
        ("Early trophozoite", "early_trophozoite"),
        ("early-trophozoite", "early_trophozoite"),
        ("EARLY  TROPHOZOITE ", "early_trophozoite"),
        (unicodedata.normalize("NFD", "gametozyt_ä"), "Gametozyt ä"),
        ("ring", "Ring"),
        ("ring 2", "ring-2"),
        ("straße", "STRASSE"),
    ],
)
def test_names_match_whatever_case_form_and_separators(said: str, name: str) -> None:
    assert resolve_class(said, CLASSES) == CLASSES.index(name)
    assert (
        resolve_class(name, [unicodedata.normalize("NFD", class_name) for class_name in CLASSES])
        is not None
    )


@pytest.mark.parametrize("said", ["earlytrophozoite", "trophozoite", "", "_", "ring2", "9"])
def test_other_names_do_not(said: str) -> None:
    with pytest.raises(ClassNotFound):
        resolve_class(said, CLASSES)


def test_where_two_classes_are_alike_only_the_exact_name_counts() -> None:
    classes = ("cell_a", "cell-a", "ring")
    assert [resolve_class(name, classes) for name in classes] == [0, 1, 2]
    with pytest.raises(ClassNotFound, match="may mean cell_a or cell-a; give it exactly"):
        resolve_class("Cell A", classes)


def test_numbers_are_indices_unless_they_are_names() -> None:
    assert resolve_class("1", ("one", "two")) == 1
    assert resolve_class("1", ("1", "0")) == 0


def test_what_is_no_class_is_named_with_its_images() -> None:
    classes = ("cell_a", "cell-a", "ring")
    folders = ["Ring", "Uninfected", None, "Uninfected", "Cell A", *"qrstu", "1"]
    counts = no_classes(folders, classes)
    assert counts["Uninfected"] == 2
    assert set(folders) - set(counts) == {"Ring", None}
    words = no_classes_in_words({"Cell A": 1, "Uninfected": 2}, classes)
    assert words == "Cell A (1 image, may mean cell_a or cell-a), Uninfected (2 images)"
    assert no_classes_in_words(counts, classes).endswith("r (1 image) and 3 more")


def test_classes_are_balanced_however_their_folders_are_spelled() -> None:
    folders = ("Ring", "ring", "schizont")
    items = [ImageItem(Path(f"{f}/{i}.jpg"), f"{f}_{i}", f) for f in folders for i in range(3)]
    picked = pick_images(items, 4)
    assert [item.name for item in picked] == ["Ring_0", "schizont_0", "Ring_1", "schizont_1"]
