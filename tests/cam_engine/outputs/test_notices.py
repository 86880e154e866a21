"""What was assumed of pixels and models: in the summary, the recipe, on the terminal, the figure.

Both command lines on crops that a camera of 12 bits might have written into files of 16.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cam_engine.commands.arguments import images_main
from cam_engine.errors import InvalidOption
from cam_engine.images.png import read_png_text
from cam_engine.images.preparing import Preprocessing

FOLDER = "16 bits scaled by 12 bits (the folder's largest sample)"


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Small networks are quickest on one thread."""


def grey_crops(experiment: Path, folder: Path) -> list[Path]:
    """Three crops in grey as 16-bit TIFFs: two dim ones that need 10 bits, and one of 12."""
    crops = sorted((experiment / "crops_gt_crops/crops/test").glob("*/*.jpg"))[:3]
    folder.mkdir()
    for number, (crop, most) in enumerate(zip(crops, (900, 800, 4000), strict=True)):
        grey = np.asarray(Image.open(crop).convert("L")).astype(int)
        pixels = (grey * most // 255).astype(np.uint16)
        cv2.imwrite(str(folder / f"cell_{number}.tif"), pixels)
    return sorted(folder.iterdir())


def explained_images(experiment: Path, images: Path, output: Path, *more: str) -> Path:
    (checkpoint,) = experiment.glob("cls_*_focal/best.pt")
    words = ["--model", str(checkpoint), "--images", str(images), "--output", str(output)]
    assert images_main([*words, "--layers", "late", *more]) == 0
    return output


def rows_of(folder: Path) -> list[dict[str, str]]:
    text = (folder / "summary.csv").read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_depth_of_the_folder_is_that_of_all_its_images(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = grey_crops(lifecycle, tmp_path / "crops")
    done = explained_images(
        lifecycle, tmp_path / "crops", tmp_path / "figures", "--max-images", "2", "--pick", "first"
    )
    said = capsys.readouterr().out
    assert f"notice: 2 images: {FOLDER}" in said
    assert said.count("notice:") == 1
    rows = rows_of(done)
    assert [row["notices"] for row in rows] == [FOLDER, FOLDER]
    summary = json.loads((done / "summary.json").read_text())
    assert summary["notices"] == [f"2 images: {FOLDER}"]
    decoding = summary["images"][0]["decoding"]
    assert (decoding["format"], decoding["bits"], decoding["scaled_bits"]) == ("TIFF", 16, 12)
    figure = done / "improved_gradcam_cell_0.png"
    text = read_png_text(figure)
    assert text["Decoding"] == f"TIFF, 16 bits; {FOLDER}"
    assert json.loads(text["Recipe"])["decoding"] == decoding
    assert json.loads(text["Recipe"])["facts"]["options"]["decoding"]["depth_bits"] == 12
    left, top, width, height = json.loads(text["Places"])["original"]
    shown = np.asarray(Image.open(figure).convert("RGB"))
    truth = np.asarray(Image.open(files[0])) / 4095 * 255
    mean = shown[top : top + height, left : left + width].mean()
    assert abs(mean - truth.mean()) < 3  # as dim as it is, not stretched


def test_a_choice_is_part_of_what_resume_compares(lifecycle: Path, tmp_path: Path) -> None:
    grey_crops(lifecycle, tmp_path / "crops")
    output = tmp_path / "figures"
    explained_images(lifecycle, tmp_path / "crops", output)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.png")}
    explained_images(lifecycle, tmp_path / "crops", output, "--resume")
    assert {path: path.stat().st_mtime_ns for path in output.glob("*.png")} == before
    explained_images(lifecycle, tmp_path / "crops", output, "--resume", "--intensity", "min-max")
    after = {path: path.stat().st_mtime_ns for path in output.glob("*.png")}
    assert all(after[path] != before[path] for path in before)
    assert {row["notices"] for row in rows_of(output)} == {
        "16-bit samples scaled by the image's own min and max"
    }


def test_ordinary_crops_are_passed_over_in_silence(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = lifecycle / "crops_gt_crops/crops/test/ring"
    done = explained_images(lifecycle, crops, tmp_path / "figures", "--max-images", "1")
    assert "notice" not in capsys.readouterr().out
    assert [row["notices"] for row in rows_of(done)] == [""]
    assert json.loads((done / "summary.json").read_text())["notices"] == []


def test_mean_and_std_on_0_to_255_are_divided_and_it_is_said(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = lifecycle / "crops_gt_crops/crops/test"
    words = ["--mean", "123.675", "116.28", "103.53", "--std", "58.395", "57.12", "57.375"]
    bytes_ = explained_images(lifecycle, crops, tmp_path / "bytes", "--max-images", "3", *words)
    said = "The model's mean and std (0..255) were divided by 255"
    assert f"cls_mobilenet_v3_small_focal: {said}" in capsys.readouterr().out
    words = ["--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225"]
    units = explained_images(lifecycle, crops, tmp_path / "units", "--max-images", "3", *words)
    assert said not in capsys.readouterr().out
    for one, other in zip(rows_of(bytes_), rows_of(units), strict=True):
        assert one["predicted"] == other["predicted"]
        assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=1e-3)
    figure = next(bytes_.glob("*.png"))
    assert "(given on 0..255)" in read_png_text(figure)["Preprocessing"]
    assert json.loads((bytes_ / "summary.json").read_text())["notices"] == [said]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((123.675, 116.28, 103.53), (0.229, 0.224, 0.225)),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375)),
        ((123.0, 116.0, 300.0), (58.0, 57.0, 57.0)),
        ((-120.0, 116.0, 103.0), (58.0, 57.0, 57.0)),
    ],
)
def test_scales_that_do_not_fit_are_refused(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    with pytest.raises(
        InvalidOption, match=r"neither both on the scale 0\.\.1 nor both on 0\.\.255"
    ):
        Preprocessing(mean=mean, std=std)


def test_scales_that_fit_stay_or_are_divided() -> None:
    kept = Preprocessing(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    assert (kept.mean, kept.std, kept.divided_by_255) == ((0.5,) * 3, (1.0,) * 3, False)
    caffe = Preprocessing(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0))
    assert caffe.divided_by_255
    assert caffe.mean == pytest.approx([value / 255 for value in (104.0, 117.0, 123.0)])
    assert Preprocessing(mean=(0.0,) * 3, std=(255.0,) * 3).std == (1.0, 1.0, 1.0)
