"""`python -m benchmarks.localisation` reads crops with boxes or masks and fills its page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import localisation
from cam_engine.images.preparing import read_image

EXPERIMENT = "experiments/experiment_synthetic_lifecycle"
KINDS = ("gametocyte", "ring")


@pytest.fixture
def masked(sample_run: Path, tmp_path: Path) -> Path:
    """One crop of each of two classes, with its mask."""
    root = sample_run / EXPERIMENT / "crops_gt_crops"
    for name in [f"{kind}/cell_001" for kind in KINDS]:
        for place in (f"crops/test/{name}.jpg", f"masks/test/{name}.png"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / place, tmp_path / place)
    return tmp_path


def test_masks_are_read_with_their_crops(masked: Path) -> None:
    crops = localisation.read_crops(masked)
    assert [crop.label for crop in crops] == list(KINDS)
    assert [crop.slide for crop in crops] == [f"test/{kind}/cell_001" for kind in KINDS]
    mask = read_image(masked / "masks/test/ring/cell_001.png")[..., 0] > 0
    assert np.array_equal(crops[1].mask, mask)
    assert 0.005 < mask.mean() < 0.2


def test_boxes_are_read_where_there_are_both(masked: Path) -> None:
    boxes = {"crops/test/ring/cell_001.jpg": [10, 20, 30, 60]}
    (masked / "boxes.json").write_text(json.dumps(boxes))
    [crop] = localisation.read_crops(masked)
    assert (crop.label, crop.slide, crop.mask.sum()) == ("ring", "cell", 20 * 40)


def test_a_folder_with_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither boxes\.json nor masks"):
        localisation.read_crops(tmp_path)


@pytest.mark.usefixtures("one_thread")
def test_families_stand_side_by_side(
    masked: Path, sample_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sample_run / EXPERIMENT / "cls_mobilenet_v3_small_focal/best.pt"
    page = masked / "page.md"
    page.write_text("before\n<!-- families -->\nold\n<!-- /families -->\nafter\n")
    words = ["--data", str(masked), "--models", str(model), str(model), "--block", "families"]
    monkeypatch.setattr("sys.argv", ["localisation", *words, "--output", str(page)])
    localisation.main()
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    name = model.parent.name
    assert f"| AP / peak | {name} | {name} |" in lines
    assert "| crops right | 2 of 2 | 2 of 2 |" in lines
    fused = next(line for line in lines if line.startswith("| fused "))
    precision, peak = map(float, fused.split("|")[2].split("/"))
    assert precision > 0.5
    assert peak in (0.0, 0.5, 1.0)
