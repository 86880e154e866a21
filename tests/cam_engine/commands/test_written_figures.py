"""What is seen of figures that a run left in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cam_engine.commands.arguments import experiment_main
from cam_engine.commands.findings import Findings
from cam_engine.commands.written_figures import WrittenFigure, written_figures
from cam_engine.confined import ConfinedFolder
from cam_engine.outputs.files import PicturePaths


@pytest.fixture(scope="module")
def written(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("written")
    arguments = ["--exp-folder", str(lifecycle), "--models", "focal", "--max-images", "2"]
    assert experiment_main([*arguments, "--fused", "--quiet", "--output-base", str(base)]) == 0
    return base


@pytest.fixture
def output(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "output"))


def seen(output: Path) -> tuple[list[WrittenFigure], list[tuple[str, str]]]:
    findings = Findings(output)
    figures = list(written_figures(output, findings))
    return figures, [(finding.path, finding.code) for finding in findings.all()]


def test_all_that_a_figure_shows_is_seen(output: Path) -> None:
    figures, findings = seen(output)
    assert findings == []
    assert len(figures) == 2
    for figure in figures:
        assert figure.options is not None
        assert figure.layers == ["early", "mid", "late", "fused"]
        assert figure.grids == {(28, 28), (14, 14), (7, 7)}
        assert figure.clahe_gain is not None
        assert figure.clahe_gain > 1
        assert {path.name.rsplit("_", 2)[1] for path, _ in figure.focus} == set(figure.layers)
        assert all(0 <= value < 0.1 for _, value in figure.blockiness)
        assert figure.folder.is_file(figure.paths.main())


def test_a_figure_that_only_its_summary_knows_is_one_without_options(output: Path) -> None:
    main = min(output.rglob("improved_gradcam_*.png"))
    main.unlink()
    figures, findings = seen(output)
    assert findings == [(main.relative_to(output).as_posix(), "image-not-found")]
    (without,) = (figure for figure in figures if figure.options is None)
    assert without.paths.main().name == main.name
    assert (without.grids, without.focus, without.clahe_gain) == (frozenset(), (), None)


def test_a_heatmap_that_is_gone_leaves_the_others(output: Path) -> None:
    heatmap = min(output.rglob("*_mid_heatmap.png"))
    heatmap.unlink()
    figures, findings = seen(output)
    assert findings == [(heatmap.relative_to(output).as_posix(), "image-not-found")]
    assert sorted(len(figure.focus) for figure in figures) == [3, 4]
    assert min(figures, key=lambda figure: len(figure.grids)).grids == {(28, 28), (7, 7)}


def test_components_alone_say_where_a_figure_was(output: Path) -> None:
    """Without a summary, nothing says which."""
    for file in [*output.rglob("improved_gradcam_*.png"), *output.rglob("summary.json")]:
        file.unlink()
    assert seen(output) == ([], [])


def test_without_a_recipe_the_documented_layers_are_expected(tmp_path: Path) -> None:
    plain = WrittenFigure(ConfinedFolder(tmp_path), PicturePaths(Path(), "x"))
    assert plain.layers == ["early", "mid", "late"]


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert seen(tmp_path) == ([], [])
