"""Atomic files, rows that survive JSON, summaries."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cam_engine.errors import OutputNotWritable
from cam_engine.outputs.files import file_part, make_folder, remove_half_written, write_atomically
from cam_engine.outputs.summaries import row_from_json, row_to_json, summary_csv
from cam_engine.pictures.recipes import Failed, LayerFacts, Succeeded, border_energy
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


def test_border_energy_by_hand() -> None:
    flat = np.ones((10, 20), np.float32)
    assert border_energy(flat) == pytest.approx(1 - 8 * 16 / 200)
    inside = np.zeros((10, 20), np.float32)
    inside[4, 9] = 1
    assert border_energy(inside) == 0.0
    assert border_energy(np.zeros((4, 4), np.float32)) is None
    assert border_energy(np.ones((1, 1), np.float32)) == 1.0


def test_writing_replaces_whole_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.png"]  # noqa: PTH208 (hidden files too)


def test_a_write_that_fails_in_its_middle_keeps_the_old_file(tmp_path: Path) -> None:
    """Files of this process may have 1000 bytes; the second write reaches that in its middle."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from cam_engine.errors import OutputNotWritable\n"
        "from cam_engine.outputs.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "path = Path(sys.argv[1])\n"
        "write_atomically(path, b'old' * 100)\n"
        "try: write_atomically(path, b'new' * 1000)\n"
        "except OutputNotWritable as error: print(error)\n"
    )
    path = tmp_path / "a.png"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "cannot write" in ended.stdout, ended.stderr
    assert path.read_bytes() == b"old" * 100
    assert os.listdir(tmp_path) == ["a.png"]  # noqa: PTH208


def test_what_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputNotWritable, match=r"cannot write .*a.png.*choose another"):
        write_atomically(tmp_path / "a.png", b"data")
    assert os.listdir(tmp_path) == ["a.png"]  # noqa: PTH208
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritable, match="file"):
        make_folder(tmp_path / "file" / "below")


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path: Path) -> None:
    make_folder(tmp_path)
    whole = [tmp_path / "improved_gradcam_a.png", tmp_path / "components/a_late_heatmap.png"]
    for path in whole:
        write_atomically(path, b"whole")
    for part in (tmp_path / "components/.a.png.1.part", tmp_path / ".b.png.2.part"):
        part.write_bytes(b"half")
    remove_half_written(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(whole)


@pytest.mark.parametrize(("layer", "part"), [("early", "early"), ("a/../b c", "a_.._b_c")])
def test_layer_names_cannot_leave_the_folder(layer: str, part: str) -> None:
    assert file_part(layer) == part
