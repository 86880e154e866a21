"""Atomic files, rows that survive JSON, summaries."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from cam_engine.outputs.summaries import row_from_json, row_to_json, summary_csv
from cam_engine.pictures.recipes import Failed, LayerFacts, Succeeded
from cam_engine.results import ClassScore

ROW = Succeeded(
    image="test/ring/é.jpg",
    name="é",
    true_class="ring",
    predicted="schizont",
    probability=0.61,
    target="gametocyte",  # maps are for another class than the predicted one where that is asked
    top=(ClassScore(2, "schizont", 0.61), ClassScore(1, "ring", 0.39)),
    layers=(
        LayerFacts("early", "layer2", "gradcam++", (28, 28), 1.25, False, 0.2),
        LayerFacts("late", "layer4", "gradcam++", (7, 7), 0.0, True, None),
    ),
    unenhanced=ClassScore(1, "ring", 0.55),
    clahe_changed_class=True,
)
FAILED = Failed("test/ring/b.jpg", "b", None, "invalid-image", "not, an image")


@pytest.mark.parametrize("row", [ROW, FAILED])
def test_rows_survive_json(row: Succeeded | Failed) -> None:
    assert row_from_json(row_to_json(row)) == row


def test_the_table_has_a_line_an_image_and_columns_a_layer() -> None:
    text = summary_csv([("cls_a", ROW), ("cls_a", FAILED)]).decode("utf-8-sig")
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["true"], first["predicted"], first["correct"]) == ("ring", "schizont", "false")
    assert first["early_grid"] == "28x28"
    assert first["target"] == "gametocyte"
    assert (first["late_maximum"], first["late_border_energy"]) == ("0", "")
    assert (first["class_without_clahe"], first["clahe_changed_class"]) == ("ring", "true")
    assert first["top_classes"] == "schizont 0.6100; ring 0.3900"
    assert (second["status"], second["error"]) == ("failed", "invalid-image")
    assert second["detail"] == "not, an image"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_of_the_table_is_a_formula(first: str) -> None:
    name = f"{first}1+2"
    row = replace(
        ROW,
        image=f"{name}.jpg",
        true_class=name,
        predicted=name,
        target=name,
        top=(ClassScore(0, name, 0.61),),
        unenhanced=ClassScore(0, name, 0.55),
        layers=(LayerFacts(name, name, "gradcam", (7, 7), -1.5, False, 0.2),),
    )
    failed = replace(FAILED, image=f"{name}.jpg", true_class=name, detail=name)
    text = summary_csv([(name, row), (name, failed)]).decode("utf-8-sig")
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    for cells in (header, *lines):
        assert [cell for cell in cells if cell.startswith(first) and cell != "-1.5"] == []
    first_line, second = (dict(zip(header, line, strict=True)) for line in lines)
    for line in (first_line, second):
        assert line["model"] == line["true"] == f"'{name}"
        assert line["image"] == f"'{name}.jpg"
    assert first_line["predicted"] == first_line["target"] == f"'{name}"
    assert first_line["class_without_clahe"] == f"'{name}"
    assert first_line["top_classes"] == f"'{name} 0.6100"
    assert first_line[f"'{name}_maximum"] == "-1.5"  # a number stays one
    assert second["detail"] == f"'{name}"
    assert row_to_json(row)["image"] == f"{name}.jpg"


def test_an_apostrophe_is_put_before_formulas_only() -> None:
    row = replace(ROW, image="a=b-c@d.jpg", true_class="'ring")
    [line] = csv.DictReader(io.StringIO(summary_csv([("cls_a", row)]).decode("utf-8-sig")))
    assert (line["image"], line["true"]) == ("a=b-c@d.jpg", "'ring")
