"""All pictures of one image: which files there are, in which order, and what they carry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cam_engine.confined import Below, ConfinedFolder
from cam_engine.errors import OutputNotWritable
from cam_engine.images.png import read_png_text
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs.figure_writer import FigureWriter, picture_files
from cam_engine.outputs.files import make_folder
from cam_engine.pictures.recipes import RunFacts, Succeeded
from tests.cam_engine.outputs.figures import figure
from tests.run_facts import run_facts

FACTS = run_facts(options=CamOptions(layers=("late",), fused=True, clahe=False))


@pytest.mark.parametrize(
    ("style", "beside"),
    [
        (FigureStyle(), []),
        (FigureStyle(save_maps=True), ["map"]),
        (FigureStyle(paper_format="pdf"), ["pdf"]),
        (FigureStyle(paper_dpi=300), []),
    ],
)
def test_an_images_files_are_known_before_they_are_made_and_are_all_that_is_made(
    tmp_path: Path, style: FigureStyle, beside: list[str]
) -> None:
    files = picture_files(Path("cls_a"), "x", FACTS.options, style)
    kinds = ["heatmap", "overlay", *(kind for kind in beside if kind == "map")]
    components = [f"cls_a/components/x_{n}_{k}.png" for n in ("late", "fused") for k in kinds]
    paper = ["cls_a/improved_gradcam_x.pdf"] if "pdf" in beside else []
    assert [file.as_posix() for file in files] == [
        *components,
        *paper,
        "cls_a/improved_gradcam_x.png",
    ]
    written = Recording(tmp_path / "cls_a")
    write(replace(FACTS, figures=style), written)
    assert [f"cls_a/{name}" for name in written.names] == [file.as_posix() for file in files]


class Recording(ConfinedFolder):
    """A folder that keeps the names of what is written, in their order."""

    def __init__(self, path: Path) -> None:
        make_folder(path)
        super().__init__(path)
        self.names: list[str] = []

    def write(self, path: Below, data: bytes) -> None:
        super().write(path, data)
        self.names.append(Path(path).as_posix())


def write(facts: RunFacts, folder: ConfinedFolder) -> Succeeded:
    return FigureWriter(facts, folder).write(figure())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out")
    make_folder(path)
    row = write(FACTS, ConfinedFolder(path))
    assert (row.image, row.name, row.predicted, row.correct) == ("ring/x.jpg", "x", "ring", True)
    assert [layer.name for layer in row.layers] == ["late", "fused"]
    return path


def test_every_picture_carries_the_recipe_of_the_run(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        recipe = json.loads(read_png_text(path.read_bytes())["Recipe"])
        assert (
            recipe["run"] == FACTS.digest == FigureWriter(FACTS, ConfinedFolder(folder)).run_digest
        )
        assert (recipe["image"], recipe["image_sha256"]) == ("ring/x.jpg", "1" * 64)
        assert recipe["layer"] == (path.stem.split("_")[1] if path.parent != folder else None)


def test_the_main_figure_carries_the_images_row(folder: Path) -> None:
    row = json.loads(read_png_text((folder / "improved_gradcam_x.png").read_bytes())["Row"])
    assert (row["predicted"], row["true_class"]) == ("ring", "ring")
    (component, *_) = (folder / "components").iterdir()
    assert "Row" not in read_png_text(component.read_bytes())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "components").write_bytes(b"")
    with pytest.raises(OutputNotWritable, match="components"):
        write(FACTS, ConfinedFolder(tmp_path))
    assert not (tmp_path / "improved_gradcam_x.png").exists()
