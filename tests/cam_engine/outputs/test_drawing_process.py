"""What is said to the process that draws, and what it says."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cam_engine.confined import ConfinedFolder
from cam_engine.outputs.drawing_process import Drawer, Task, figure_of, run_bytes, task_of
from cam_engine.outputs.figure_writer import FigureWriter
from cam_engine.outputs.files import make_folder
from cam_engine.outputs.summaries import row_to_json
from cam_engine.pictures.recipes import to_json
from tests.cam_engine.outputs.figures import figure
from tests.run_facts import run_facts

FACTS = run_facts()


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def test_pixels_and_maps_travel_in_the_file_and_not_in_the_message() -> None:
    sent = figure(enhanced=True)
    with tempfile.TemporaryFile() as file:
        task = task_of(b"run", sent, file.fileno())
        shown = (sent.shown.original, sent.shown.enhanced)
        maps = (layer.values for layer in sent.explanation.layers)
        pixels = sum(array.nbytes for array in (*shown, *maps) if array is not None)
        assert sum(task.sizes) == pixels
        assert len(pickle.dumps(task)) < pixels / 2
        came = figure_of(task, file.fileno())
    np.testing.assert_array_equal(came.shown.original, sent.shown.original)
    assert came.shown.enhanced is not None
    np.testing.assert_array_equal(came.shown.enhanced, sent.shown.enhanced)
    for one, other in zip(came.explanation.layers, sent.explanation.layers, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.values.dtype == np.float32
    assert replace(came, shown=sent.shown, explanation=sent.explanation) == sent


def test_a_drawer_writes_what_a_writer_does(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    make_folder(here)
    make_folder(there)
    drawer = Drawer()
    with tempfile.TemporaryFile() as file:
        for name, seed in (("a", 1), ("b", 2)):
            row = FigureWriter(FACTS, ConfinedFolder(here)).write(figure(name, seed))
            run = run_bytes(FACTS, ConfinedFolder(there))
            reply = drawer.draw(task_of(run, figure(name, seed), file.fileno()), file.fileno())
            assert to_json(reply) == to_json(row_to_json(row))
    assert tree(there) == tree(here) != {}


def test_another_run_is_drawn_as_its_own_facts_say(tmp_path: Path) -> None:
    drawer = Drawer()
    with tempfile.TemporaryFile() as file:
        for model in ("cls_a", "cls_b", "cls_a"):
            folder = tmp_path / model
            make_folder(folder)
            facts = run_facts(model=model)
            run = run_bytes(facts, ConfinedFolder(folder))
            drawer.draw(task_of(run, figure(), file.fileno()), file.fileno())
            plain = tmp_path / f"plain_{model}"
            make_folder(plain)
            FigureWriter(facts, ConfinedFolder(plain)).write(figure())
            assert tree(folder) == tree(plain)


def test_what_goes_wrong_is_said_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "components").write_text("in the way")
    with tempfile.TemporaryFile() as file:
        run = run_bytes(FACTS, ConfinedFolder(tmp_path))
        reply = Drawer().draw(task_of(run, figure(), file.fileno()), file.fileno())
    assert reply["code"] == "output-not-writable"
    assert "components" in str(reply["detail"])


def test_what_nobody_foresaw_is_said_with_its_place(tmp_path: Path) -> None:
    make_folder(tmp_path)
    drawer = Drawer()
    with tempfile.TemporaryFile() as file:
        run = run_bytes(FACTS, ConfinedFolder(tmp_path))
        task = task_of(run, figure(), file.fileno())
        short = replace(task, sizes=(*task.sizes[:-1], 10**6))
        reply = drawer.draw(short, file.fileno())
        assert str(reply["unexpected"]).startswith("ValueError at children.py:")
        wrong = Task(run, pickle.dumps("no figure"), ())
        assert "no figure" in str(drawer.draw(wrong, file.fileno())["unexpected"])
        good = drawer.draw(task, file.fileno())
    assert good["status"] == "succeeded"


def test_it_imports_no_torch() -> None:
    said = "import sys, cam_engine.outputs.drawing_process; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", said], check=True, capture_output=True, text=True, timeout=120
    )
    assert answer.stdout.split() == ["False"]


@pytest.mark.parametrize("enhanced", [False, True])
def test_what_is_drawn_can_be_written_to(enhanced: bool) -> None:
    """As arrays are that were made here: libraries draw into them."""
    with tempfile.TemporaryFile() as file:
        came = figure_of(task_of(b"", figure(enhanced=enhanced), file.fileno()), file.fileno())
    assert came.shown.original.flags.writeable
