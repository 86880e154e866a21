"""What `from cam_engine import ...` offers, and what importing it costs."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import cam_engine

EXPORTED = [
    "COLORMAPS",
    "METHODS",
    "CamError",
    "CamOptions",
    "ClassScore",
    "Classifier",
    "Experiment",
    "Explainer",
    "Explanation",
    "FigureStyle",
    "ImageItem",
    "ImageLimits",
    "LayerMap",
    "ModelFolder",
    "OwnNetwork",
    "Preprocessing",
    "decode_image",
    "enhance",
    "find_experiments",
    "full_size_map",
    "heatmap",
    "load_classifier",
    "overlay",
    "read_image",
]
ROOT = Path(__file__).parents[2]


def test_the_names_are_these() -> None:
    """To take one away breaks programs; a new one is promised for long."""
    assert sorted(cam_engine.__all__) == sorted(EXPORTED)
    assert set(EXPORTED) <= set(dir(cam_engine))


@pytest.mark.parametrize("name", EXPORTED)
def test_each_is_there(name: str) -> None:
    exported = getattr(cam_engine, name)
    home = getattr(exported, "__module__", None)
    assert home is None or home.startswith("cam_engine.") or name in {"COLORMAPS", "METHODS"}


def test_others_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'GradCam'"):
        cam_engine.GradCam  # noqa: B018 (reading it is what is refused)


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, cam_engine; print([m for m in ('torch', 'cv2', 'numpy') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("module", ["cam_engine.maps.explainer", "cam_engine.models.loading"])
def test_the_examples_of_the_docstrings_run(
    module: str, sample_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sample_run.parents[2])
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_paths_may_be_text(sample_run: Path) -> None:
    experiment = sample_run / "experiments/experiment_synthetic_lifecycle"
    checkpoint = experiment / "cls_mobilenet_v3_small_cb/best.pt"
    image = experiment / "crops_gt_crops/crops/test/ring/cell_001.jpg"
    assert cam_engine.load_classifier(str(checkpoint)).path == checkpoint
    assert (cam_engine.read_image(str(image)) == cam_engine.read_image(image)).all()
