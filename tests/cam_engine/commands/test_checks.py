"""The checklist passes on what the command writes, and fails on what has been spoilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cam_engine.commands.arguments import experiment_main
from cam_engine.commands.checks import verify
from cam_engine.images.png import encode_png, read_png_text
from cam_engine.pictures.measures import blockiness
from service.commands.arguments import main as gradcam


@pytest.fixture(scope="module")
def written(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("written")
    arguments = ["--exp-folder", str(lifecycle), "--models", "focal", "--max-images", "4"]
    assert experiment_main([*arguments, "--fused", "--quiet", "--output-base", str(base)]) == 0
    return base


@pytest.fixture
def output(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "output"))


def heatmaps(output: Path, layer: str) -> list[Path]:
    return sorted(output.rglob(f"*_{layer}_heatmap.png"))


def rewrite(path: Path, change: Callable[[np.ndarray, tuple[int, int]], np.ndarray]) -> None:
    """Change a heatmap's palette indices, and keep its palette and recipe."""
    text = read_png_text(path)
    with Image.open(path) as picture:
        indices = np.asarray(picture)
        palette = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3)
    grid = tuple(json.loads(text["Recipe"])["grid"])
    path.write_bytes(encode_png(change(indices, grid), palette=palette, text=text))


def nearest(indices: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    native = cv2.resize(indices, grid[::-1], interpolation=cv2.INTER_AREA)
    return cv2.resize(native, indices.shape[::-1], interpolation=cv2.INTER_NEAREST)


def uniform(indices: np.ndarray, _grid: tuple[int, int]) -> np.ndarray:
    return np.full_like(indices, 128)


def failed(output: Path) -> list[str]:
    return [check.name for check in verify(output) if check.passed is False]


def test_what_the_command_writes_passes(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gradcam(["verify", str(output)]) == 0
    shown = capsys.readouterr().out
    assert shown.count(" ok ") == 6
    assert "4 of 4" in shown
    assert "28x28, 14x14, 7x7" in shown


def test_a_missing_component_fails(output: Path) -> None:
    heatmaps(output, "mid")[1].unlink()
    assert failed(output) == ["components complete"]
    assert gradcam(["verify", str(output)]) == 1


def test_a_missing_main_figure_is_known_from_the_summary(output: Path) -> None:
    next(iter(output.rglob("improved_gradcam_*.png"))).unlink()
    assert failed(output) == ["main figures there and whole"]


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_a_truncated_png_fails(output: Path, share: float) -> None:
    main = next(iter(output.rglob("improved_gradcam_*.png")))
    main.write_bytes(main.read_bytes()[: int(main.stat().st_size * share)])
    assert failed(output) == ["main figures there and whole"]
    overlay = next(iter(output.rglob("*_late_overlay.png")))
    overlay.write_bytes(overlay.read_bytes()[: int(overlay.stat().st_size * share)])
    assert "components complete" in failed(output)


@pytest.mark.parametrize("count", [1, 16])
def test_a_uniform_map_is_not_focused(output: Path, count: int) -> None:
    for path in [p for layer in ("early", "mid", "late", "fused") for p in heatmaps(output, layer)][
        :count
    ]:
        rewrite(path, uniform)
    assert failed(output) == ["heatmaps focused"]


@pytest.mark.parametrize("layer", ["early", "mid", "late"])
def test_a_single_map_upsampled_by_nearest_neighbour_is_blocky(output: Path, layer: str) -> None:
    rewrite(heatmaps(output, layer)[0], nearest)
    assert failed(output) == ["heatmaps smooth"]


@pytest.mark.parametrize(("wanted", "passes"), [(0.2, True), (0.3, False)])
def test_how_blocky_a_map_may_be(output: Path, wanted: float, passes: bool) -> None:
    def mixed(indices: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        native = np.random.default_rng(0).random(grid, np.float32)
        size = indices.shape[::-1]
        blocks = cv2.resize(native, size, interpolation=cv2.INTER_NEAREST)
        smooth = cv2.resize(native, size, interpolation=cv2.INTER_LINEAR)
        for share in np.linspace(0.0, 1.0, 1001):
            values = np.rint(255 * (share * blocks + (1 - share) * smooth)).astype(np.uint8)
            if (blockiness(values.astype(np.float32) / 255, grid) or 0.0) >= wanted:
                return np.asarray(values)
        raise AssertionError(wanted)

    rewrite(heatmaps(output, "late")[0], mixed)
    assert ("heatmaps smooth" not in failed(output)) is passes


def test_what_does_not_apply_is_said_so(lifecycle: Path, tmp_path: Path) -> None:
    arguments = ["--exp-folder", str(lifecycle), "--models", "focal", "--max-images", "2"]
    arguments += ["--no-clahe", "--layers", "late", "--quiet", "--output-base", str(tmp_path)]
    assert experiment_main(arguments) == 0
    answers = {check.name: check.passed for check in verify(tmp_path)}
    assert answers["CLAHE visible"] is None
    assert answers["several resolutions"] is None
    assert answers["main figures there and whole"]
    assert answers["heatmaps smooth"]


def test_paper_figures_are_verified_as_well(lifecycle: Path, tmp_path: Path) -> None:
    arguments = ["--exp-folder", str(lifecycle), "--models", "cb", "--max-images", "2"]
    arguments += ["--dpi", "300", "--quiet", "--output-base", str(tmp_path)]
    assert experiment_main(arguments) == 0
    assert all(check.passed for check in verify(tmp_path))


def test_an_empty_folder_fails_and_none_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gradcam(["verify", str(tmp_path)]) == 1
    assert gradcam(["verify", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_json(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gradcam(["verify", str(output), "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [check["passed"] for check in checks] == [True] * 6


def test_links_below_the_folder_are_not_followed(output: Path, tmp_path: Path) -> None:
    """What they lead to may be whole; it is not what the command wrote here."""
    (component,) = heatmaps(output, "late")[:1]
    kept = shutil.move(component, tmp_path / "kept.png")
    component.symlink_to(kept)
    assert failed(output) == ["components complete"]
    summary = next(output.rglob("cls_*/summary.json"))
    summary.unlink()
    summary.symlink_to("/dev/zero")
    assert failed(output) == ["components complete"]


def spoil_recipe(path: Path, **changes: object) -> None:
    """Change entries of a picture's recipe; everything else stays."""
    text = read_png_text(path)
    text["Recipe"] = json.dumps({**json.loads(text["Recipe"]), **changes})
    with Image.open(path) as picture:
        palette = picture.getpalette()
        colours = None if palette is None else np.asarray(palette, np.uint8).reshape(-1, 3)
        path.write_bytes(encode_png(np.asarray(picture), palette=colours, text=text))


def to_colours(path: Path) -> None:
    text = read_png_text(path)
    with Image.open(path) as picture:
        path.write_bytes(encode_png(np.asarray(picture.convert("RGB")), text=text))


def spoil_places(path: Path, places: object) -> None:
    text = {**read_png_text(path), "Places": json.dumps(places)}
    with Image.open(path) as picture:
        path.write_bytes(encode_png(np.asarray(picture.convert("RGB")), text=text))


def spoil_summary(output: Path, **row: object) -> None:
    path = next(output.rglob("cls_*/summary.json"))
    summary = json.loads(path.read_text())
    summary["images"][0] |= row
    path.write_text(json.dumps(summary))


def main_of(output: Path) -> Path:
    return min(output.rglob("improved_gradcam_*.png"))


def bomb(path: Path) -> None:
    """A head that promises more pixels than Pillow decodes."""
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4) * 2
    path.write_bytes(data)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "grid of one number": (
        lambda o: spoil_recipe(heatmaps(o, "mid")[0], grid=[7]),
        "invalid-image",
    ),
    "grid of nothing": (
        lambda o: spoil_recipe(heatmaps(o, "mid")[0], grid=[0, 0]),
        "invalid-image",
    ),
    "colours, not a map": (lambda o: to_colours(heatmaps(o, "mid")[0]), "invalid-image"),
    "a heatmap without a recipe": (
        lambda o: heatmaps(o, "mid")[0].write_bytes(encode_png(np.zeros((9, 9, 3), np.uint8))),
        "invalid-image",
    ),
    "a heatmap too large": (lambda o: bomb(heatmaps(o, "mid")[0]), "invalid-image"),
    "a folder for a heatmap": (
        lambda o: heatmaps(o, "mid")[0].unlink(),
        "image-not-found",
    ),
    "no places": (lambda o: spoil_places(main_of(o), 3), "invalid-image"),
    "places of words": (
        lambda o: spoil_places(main_of(o), {"original": ["a", "b", "c", "d"]}),
        "invalid-image",
    ),
    "places outside": (
        lambda o: spoil_places(
            main_of(o), {"original": [9**6, 9**6, 5, 5], "enhanced": [0, 0, 9, 9]}
        ),
        "invalid-image",
    ),
    "facts of a list": (lambda o: spoil_recipe(main_of(o), facts=[1]), "invalid-image"),
    "layers of a number": (
        lambda o: spoil_recipe(main_of(o), facts={"options": {"layers": 5}}),
        "invalid-image",
    ),
    "a main figure without a recipe": (
        lambda o: main_of(o).write_bytes(encode_png(np.zeros((9, 9, 3), np.uint8))),
        "invalid-image",
    ),
    "a name that is a number": (lambda o: spoil_summary(o, name=5), "invalid-summary"),
    "a name that leads out": (lambda o: spoil_summary(o, name="../../x"), "invalid-summary"),
    "a name of nothing": (lambda o: spoil_summary(o, name="a/b\0"), "invalid-summary"),
    "a summary of nothing": (
        lambda o: next(o.rglob("cls_*/summary.json")).write_bytes(b""),
        "invalid-summary",
    ),
    "a summary of bytes": (
        lambda o: next(o.rglob("cls_*/summary.json")).write_bytes(b"\xff\xfe{"),
        "invalid-summary",
    ),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_is_damaged_is_a_finding_and_the_rest_is_checked(
    output: Path, spoilt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, code = SPOILT[spoilt]
    change(output)
    assert gradcam(["verify", str(output), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert code in {finding["code"] for finding in answer["findings"]}
    assert all(finding["path"] and finding["detail"] for finding in answer["findings"])
    checks = {check["name"]: check for check in answer["checks"]}
    # The others were looked at: three of four figures are as they were.
    assert "median of" in checks["CLAHE visible"]["figure"]
    assert checks["heatmaps smooth"]["passed"]
    assert gradcam(["verify", str(output)]) == 1
    assert f"error [{code}]: " in capsys.readouterr().out


def test_what_is_sound_has_no_findings(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gradcam(["verify", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
