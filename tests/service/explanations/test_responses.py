"""What JSON answers hold, of values made by hand."""

from __future__ import annotations

import base64
from dataclasses import fields

import numpy as np
import pytest

from cam_engine.images.decoded import ImageFacts
from cam_engine.results import ClassScore, LayerMap
from service.explanations import responses

VALUES = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 0.1]], np.float32)
LAYER = LayerMap("mid", "layer3", "layercam", VALUES, 2.5)


def test_a_score_keeps_its_numbers() -> None:
    assert responses.score(ClassScore(3, "ring", 0.125)).model_dump() == {
        "index": 3,
        "name": "ring",
        "probability": 0.125,
    }


def test_what_was_done_to_pixels_is_said_in_fields_and_in_words() -> None:
    facts = ImageFacts(
        format="TIFF",
        bits=16,
        scaling="folder",
        scaled_bits=12,
        least_bits=10,
        page=2,
        pages=3,
        orientation=6,
    )
    told = responses.decoding(facts).model_dump()
    assert told.pop("words") == facts.words
    assert told == {name: getattr(facts, name) for name in told}
    assert set(told) == {field.name for field in fields(facts)} - {"least_bits", "full_pages"}


def test_a_layer_is_described_by_its_map_and_by_its_picture() -> None:
    full = np.zeros((100, 100), np.float32)
    full[:10, :50] = 1.0  # half of it in the upper tenth
    full[40:50, :50] = 1.0
    told = responses.layer(LAYER, full)
    assert (told.name, told.label, told.method, told.grid) == ("mid", "layer3", "layercam", (2, 3))
    assert (told.maximum, told.empty) == (2.5, False)
    assert told.border_energy == pytest.approx(0.6)  # and a tenth of the rest, at the left
    empty = LayerMap("mid", "layer3", "layercam", VALUES * 0, 0.0)
    told = responses.layer(empty, full * 0)
    assert (told.empty, told.border_energy) == (True, None)


def test_a_native_layer_has_its_cells_row_by_row() -> None:
    told = responses.native(responses.layer(LAYER, VALUES), LAYER, {"Recipe": "{}"})
    cells = np.frombuffer(base64.b64decode(told.values), "<f4").reshape(told.grid)
    np.testing.assert_array_equal(cells, VALUES)
    assert (told.name, told.recipe) == ("mid", {"Recipe": "{}"})
