"""What paper figures import: matplotlib takes half a second, and a PNG needs only its fonts."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import io, sys
import numpy as np
from cam_engine.options import CamOptions
from cam_engine.pictures.paper import save_paper_figure
from cam_engine.pictures.wording import FigureFacts
from cam_engine.results import ClassScore, Explanation, LayerMap

score = ClassScore(0, "ring", 1.0)
layer = LayerMap("late", "layer4", "gradcam++", np.ones((7, 7), np.float32), 1.0)
image, maps = np.zeros((40, 50, 3), np.uint8), {"late": np.ones((40, 50), np.float32)}
inputs = image, None, Explanation(score, (score,), (layer,)), maps, CamOptions()
target = io.BytesIO()
facts = FigureFacts("image", "cls_a", "ring")
save_paper_figure(target, *inputs, facts, format=sys.argv[1], dpi=100)
assert target.getvalue()
print(*(name for name in sys.modules if name.split(".")[0] == "matplotlib"))
"""


def matplotlib_after(form: str) -> list[str]:
    """Modules of matplotlib that a figure of that form has imported."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, form], capture_output=True, text=True, check=True
    )
    return ended.stdout.split()


def test_a_png_imports_nothing_of_matplotlib() -> None:
    assert matplotlib_after("png") == []


def test_a_pdf_imports_its_drawing_without_pyplot() -> None:
    imported = matplotlib_after("pdf")
    assert "matplotlib.backends.backend_pdf" in imported
    assert "matplotlib.pyplot" not in imported


@pytest.mark.parametrize("module", ["picture_set", "panel", "sheet", "paper"])
def test_no_other_module_imports_it(module: str) -> None:
    code = f"import sys, cam_engine.pictures.{module}; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
