"""A command line over a folder that holds another recipe's pictures: they go, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cam_engine.commands.arguments import experiment_main
from cam_engine.images.png import encode_png

MODEL = "cls_mobilenet_v3_small_focal"
PER_IMAGE = 7  # the main figure, and heatmap and overlay of three layers


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Small networks are quickest on one thread."""


def run(experiment: Path, output: Path, images: int, *more: str) -> int:
    words = ["--exp-folder", str(experiment), "--models", "focal", "--max-images", str(images)]
    return experiment_main([*words, "--output-base", str(output), *more])


def pictures(output: Path) -> dict[str, tuple[int, str]]:
    """What stands in the model's folder: time of change and method, by name."""
    made_by = {}
    for path in sorted((output / MODEL).rglob("*.png")):
        with Image.open(path) as picture:
            method = json.loads(picture.info["Recipe"])["facts"]["options"]["method"]
        made_by[path.relative_to(output / MODEL).as_posix()] = (path.stat().st_mtime_ns, method)
    return made_by


def test_pictures_of_another_recipe_are_replaced_and_a_line_says_so(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lifecycle, tmp_path, 5, "--format", "pdf") == 0
    folder = tmp_path / MODEL
    assert len(list(folder.glob("*.pdf"))) == 5
    grey = encode_png(np.zeros((4, 4), np.uint8), text={"Recipe": "of another program"})
    foreign = [
        folder / "notes.png",
        folder / "improved_gradcam_by_hand.png",
        folder / "components/by_hand_late_overlay.png",
        folder / "improved_gradcam_by_hand.pdf",
    ]
    for file in foreign:
        file.write_bytes(grey)
    assert "removed" not in capsys.readouterr().out
    assert run(lifecycle, tmp_path, 2, "--method", "eigencam") == 0
    # Of the two images that were made anew, the PDFs are left over; of the others, everything.
    stale = 2 + 3 * (PER_IMAGE + 1)
    assert f"{MODEL}: {stale} pictures of another recipe removed" in capsys.readouterr().out
    for file in foreign:
        assert file.read_bytes() == grey
        file.unlink()
    left = pictures(tmp_path)
    assert len(left) == 2 * PER_IMAGE
    assert {method for _, method in left.values()} == {"eigencam"}
    assert list(folder.glob("*.pdf")) == []


def test_more_images_of_one_recipe_stand_beside_each_other(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lifecycle, tmp_path, 2, "--pick", "first") == 0
    assert run(lifecycle, tmp_path, 2, "--pick", "random", "--seed", "3") == 0
    assert len(pictures(tmp_path)) == 4 * PER_IMAGE
    assert "removed" not in capsys.readouterr().out


def test_resume_keeps_what_is_the_same_and_makes_anew_what_differs(
    lifecycle: Path, tmp_path: Path
) -> None:
    assert run(lifecycle, tmp_path, 3) == 0
    before = pictures(tmp_path)
    assert run(lifecycle, tmp_path, 3, "--resume") == 0
    assert pictures(tmp_path) == before
    assert run(lifecycle, tmp_path, 2, "--resume", "--method", "layercam") == 0
    after = pictures(tmp_path)
    assert len(after) == 2 * PER_IMAGE
    assert {method for _, method in after.values()} == {"layercam"}


def test_a_run_that_makes_nothing_removes_nothing(lifecycle: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert run(lifecycle, output, 2) == 0
    before = pictures(output)
    broken = tmp_path / lifecycle.name
    (broken / "crops_gt_crops/crops/test/ring").mkdir(parents=True)
    (broken / "crops_gt_crops/crops/test/ring/x.jpg").write_bytes(b"no image")
    (broken / MODEL).symlink_to(lifecycle / MODEL)
    assert run(broken, output, 2, "--method", "eigencam") == 2
    assert pictures(output) == before


def test_resume_makes_anew_what_was_made_of_another_image(lifecycle: Path, tmp_path: Path) -> None:
    """The file's name is the same; its bytes are another's."""
    experiment, output = tmp_path / lifecycle.name, tmp_path / "output"
    shutil.copytree(lifecycle, experiment)
    assert run(experiment, output, 2, "--pick", "first") == 0
    before = pictures(output)
    first, second, *_ = sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    first.write_bytes(sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))[-1].read_bytes())
    assert run(experiment, output, 2, "--pick", "first", "--resume") == 0
    after = pictures(output)
    changed = {name for name in after if after[name] != before[name]}
    assert len(changed) == PER_IMAGE
    assert not any(second.stem in str(name) for name in changed)
