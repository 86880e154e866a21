"""The record of what decoding did: as sentences, and from a process that is not believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cam_engine.images.decoded import (
    UNKNOWN,
    ImageFacts,
    counted,
    facts_from_json,
    facts_to_json,
)

DEEP = ImageFacts(format="TIFF", bits=16, scaling="folder", scaled_bits=12, least_bits=10)


def test_an_ordinary_picture_needs_no_notice() -> None:
    assert ImageFacts(format="JPEG").notices == ()
    assert UNKNOWN.notices == ()
    assert ImageFacts(format="PNG", alpha="opaque", orientation=6).notices == ()


@pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ({}, "16 bits scaled by 12 bits (the folder's largest sample)"),
        ({"scaling": "image"}, "16 bits scaled by 12 bits (the image's largest sample)"),
        (
            {"scaling": "signed", "samples": "signed", "scaled_bits": 8, "bits": 8},
            "Signed 8-bit samples: 128 was added",
        ),
        (
            {"scaling": "signed", "samples": "signed"},
            "Signed samples below 0: scaled by 12 bits around 0",
        ),
        ({"scaling": "contradicted"}, "Samples above the declared depth: scaled by 12 bits"),
        (
            {"scaling": "min-max", "samples": "float"},
            "Float samples scaled by the image's own min and max",
        ),
        ({"scaling": "min-max"}, "16-bit samples scaled by the image's own min and max"),
    ],
)
def test_doubtful_scaling_is_said(changes: dict[str, Any], notice: str) -> None:
    assert replace(DEEP, **changes).notices == (notice,)


@pytest.mark.parametrize("scaling", ["type", "declared", "none", "unit"])
def test_scaling_that_the_file_names_is_not(scaling: Any) -> None:
    assert replace(DEEP, scaling=scaling).notices == ()
    assert replace(DEEP, scaled_bits=16).notices == ()


@pytest.mark.parametrize(
    ("facts", "notice"),
    [
        (ImageFacts(alpha="empty"), "Transparency of 0 everywhere was ignored"),
        (ImageFacts(alpha="beneath"), "Transparency: the colours beneath it were read"),
        (ImageFacts(alpha="white"), "Transparency was laid on white"),
        (
            ImageFacts(format="GIF", animated=True),
            "The first frame of an animated GIF was read",
        ),
        (ImageFacts(page=2, pages=3), "Page 2 of 3 was read"),
        (ImageFacts(page=1, pages=3, full_pages=2), "Page 1 of 3 was read"),
        (
            ImageFacts(page=1, pages=2, full_pages=2, combined=True),
            "Channels of page 1 of 2 read as red, green and blue",
        ),
    ],
)
def test_transparency_and_pages_are_said(facts: ImageFacts, notice: str) -> None:
    assert facts.notices == (notice,)


def test_a_reduced_copy_beside_the_picture_is_no_choice() -> None:
    assert ImageFacts(page=1, pages=3, full_pages=1).notices == ()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (ImageFacts(format="JPEG"), "JPEG, 8 bits"),
        (
            replace(DEEP, scaling="declared", orientation=6),
            "TIFF, 16 bits; scaled by 12 bits, as the file says; turned upright (orientation 6)",
        ),
        (replace(DEEP, scaling="type", scaled_bits=16), "TIFF, 16 bits; scaled by all 16 bits"),
        (
            replace(DEEP, samples="signed", scaling="signed", alpha="white"),
            (
                "TIFF, signed 16 bits; Signed samples below 0: scaled by 12 bits around 0; "
                "Transparency was laid on white"
            ),
        ),
    ],
)
def test_a_person_reads_all_of_it(facts: ImageFacts, words: str) -> None:
    assert facts.words == words


@pytest.mark.parametrize("facts", [UNKNOWN, DEEP, ImageFacts(combined=True, alpha="black")])
def test_facts_come_back_from_json(facts: ImageFacts) -> None:
    assert facts_from_json(facts_to_json(facts)) == facts


@pytest.mark.parametrize("name", ["format", "samples", "scaling", "alpha"])
@pytest.mark.parametrize("value", ["<script>", None, 7, ""])
def test_words_are_of_their_list(name: str, value: object) -> None:
    if name == "format" and value == "":
        assert facts_from_json({name: value}).format == ""
        return
    with pytest.raises(ValueError, match=f"{name} is none of those"):
        facts_from_json({name: value})


def test_numbers_and_flags_are_nothing_else() -> None:
    told = facts_from_json(
        {"bits": -3, "pages": 10**30, "combined": "yes", "animated": True, "other": "ignored"}
    )
    assert (told.bits, told.pages) == (0, 2**32)
    assert (told.combined, told.animated) == (False, True)
    assert facts_from_json({"scaled_bits": None}).scaled_bits is None
    with pytest.raises((TypeError, ValueError)):
        facts_from_json({"bits": None})


def test_notices_are_counted_by_image_in_the_order_they_came() -> None:
    assert list(counted([["b"], [], ["a", "b"], ["a"], ["b"]])) == [(3, "b"), (2, "a")]
    assert list(counted([])) == []
