"""What a job assumed of its models and images, beneath its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from processes.jobs import Stack, copy_experiment, stack_on
from tests.pages.conftest import grave_violations

FOCAL = "cls_mobilenet_v3_small_focal"
SAID = [
    f"{FOCAL}: {FOCAL} has no best.pt: last.pt was read.",
    "2 images: 16 bits scaled by 12 bits (the folder's largest sample).",
]


@pytest.fixture(scope="module")
def stack(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two of three crops of 12 bits; a model that is not `best.pt`."""
    scratch = tmp_path_factory.mktemp("job_notices")
    experiment = copy_experiment(sample_run, scratch / "results", 3)
    (experiment / FOCAL / "best.pt").rename(experiment / FOCAL / "last.pt")
    for crop in sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))[:2]:
        grey = cv2.imread(str(crop), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        cv2.imwrite(str(crop.with_suffix(".tif")), grey.astype(np.uint16) * (4000 // 255))
        crop.unlink()
    with stack_on(scratch / "results", scratch) as made:
        yield made


@pytest.mark.system
def test_a_job_says_what_it_assumed_as_it_happens_and_afterwards(
    stack: Stack, open_page: Callable[..., Any]
) -> None:
    job = stack.submit(max_images=None)
    with open_page(f"/jobs?id={job['id']}", stack.server.url) as page:
        expect(page.locator("#job-count")).to_be_visible()
        expect(page.locator("#job-notices")).to_be_hidden()
        stack.add_worker()
        expect(page.locator("#job-status")).to_have_text("Done", timeout=90_000)
        assert stack.job(job["id"])["notices"][1]["count"] == 2
        for _ in ("as it happened", "afterwards"):
            expect(page.get_by_role("heading", name="What was assumed")).to_be_visible()
            expect(page.locator("#job-notices li")).to_have_text(SAID)
            page.reload()
        assert grave_violations(page) == []
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 320
