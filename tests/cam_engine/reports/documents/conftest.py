"""A report with one of everything: names that are hard to show, no figure, a model that failed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cam_engine.evidence.resampling import Interval
from cam_engine.reports import plots
from cam_engine.reports.criteria import Criterion, Picture, Section, make_table
from cam_engine.reports.report import ModelReport, Report

HOSTILE = '<script>alert(1)</script> & "#x" $y$ *z* _w_ \\ 疟原虫'


def _jpeg() -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


@pytest.fixture(scope="session")
def report() -> Report:
    rows = [(f"cell_{n:03}.jpg", "ring", n / 40, (n / 40) - 0.1, (n / 40) + 0.1) for n in range(40)]
    section = Section(
        "performance",
        "Performance",
        (f"Over crops of {HOSTILE}.", "\n@article{a, title={T}}"),
        (
            Criterion("performance.a", "pass", "It is so.", 0.9, Interval(0.9, 0.8, 1.0), 30, 0.5),
            Criterion("performance.b", "fail", f"Not {HOSTILE}.", 0.1, None, 30, 0.5),
        ),
        (
            make_table(
                "performance.crops",
                "Every crop",
                "crop, class, p:share, low:share, high:share",
                rows,
            ),
            make_table(
                "performance.classes",
                "Classes",
                "class, cases:count, F1:number, F1 low:number, F1 high:number",
                [(HOSTILE, 1200, 0.5, 0.25, 0.75), ("none", 0, float("nan"), None, None)],
                "A note.",
            ),
        ),
        (
            plots.confusion("performance.plot", np.array([[3, 1], [0, 9]]), ["a", "b"]),
            Picture("performance.tiles", f"Tiles of {HOSTILE}.", _jpeg(), "image/jpeg"),
        ),
    )
    unsure = Section(
        "calibration", "Calibration", (), (Criterion("calibration.a", "cannot_tell", "Too few."),)
    )
    facts = {
        "architecture": "resnet50",
        "preprocessing": "no CLAHE; resize 224x224",
        "precision": "float32",
        "sha256": "0" * 64,
    }
    return Report(
        f"experiment_{HOSTILE}",
        {"split": "test", "seed": 0, "crops": 40, "software": "gradcam-service 0.1.0"},
        (Section("audit", "Data", ("One.",), (Criterion("audit.a", "pass", "Apart."),)),),
        (
            ModelReport("cls_resnet50_focal", facts, (section, unsure)),
            ModelReport(f"cls_{HOSTILE}", {}, error=("checkpoint-invalid", HOSTILE)),
        ),
        ("A limit.",),
        (Section("methods", "Methods", ("Text.",)),),
    )
