"""The depth of a job's images: one for all its chunks and models, found once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.images.png import read_png_text
from cam_engine.options import Pick
from tests.worker.working import MODEL, Setting, crops
from worker.jobs.contract import JobRequest, JobState

SAID = "16 bits scaled by 12 bits (the folder's largest sample)"


def deep_crops(setting: Setting) -> list[Path]:
    """Four crops as 16-bit TIFFs, of which the last alone needs 12 bits."""
    made = []
    for crop, most in zip(crops(setting), (900, 800, 700, 4000), strict=True):
        grey = np.asarray(Image.open(crop).convert("L")).astype(int) * most // 255
        made.append(crop.with_suffix(".tif"))
        cv2.imwrite(str(made[-1]), grey.astype(np.uint16))
        crop.unlink()
    return made


def done(setting: Setting, **fields: Any) -> JobState:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    request = JobRequest(experiment=name, models=("mobilenet",), **fields)
    job = setting.jobs.accept(request, None).state.record.id
    while given := list(setting.jobs.store.out(job)):
        for image in given:
            setting.runner.run(image.chunk)
    return setting.jobs.get(job)


@pytest.mark.parametrize("pick", ["first", "errors"])
def test_it_is_that_of_the_whole_split(setting: Setting, pick: Pick) -> None:
    deep_crops(setting)
    job = done(setting, max_images=2, pick=pick)
    assert job.status == "succeeded"
    figures = sorted(setting.output.glob("*/improved_gradcam_*.png"))
    assert len(figures) == job.progress.total
    for figure in figures:
        recipe = json.loads(read_png_text(figure)["Recipe"])
        assert recipe["facts"]["options"]["decoding"]["depth_bits"] == 12
        assert recipe["decoding"]["scaled_bits"] == 12
    summary = json.loads((setting.output / MODEL / "summary.json").read_text())
    assert summary["notices"] == [f"2 images: {SAID}"]
    only = job.record.models if pick == "errors" else [None]
    said = [
        {"text": SAID, "count": 2, "of": "images", "model": model and model.id} for model in only
    ]
    assert [notice.model_dump() for notice in job.notices] == said
    (kept,) = setting.output.glob("runs/*/job.json")
    assert json.loads(kept.read_text())["notices"] == said


def test_a_job_that_finds_its_pictures_made_says_what_was_assumed_all_the_same(
    setting: Setting,
) -> None:
    deep_crops(setting)
    (model, *_) = sorted(setting.experiment.glob("cls_mobilenet*"))
    (model / "best.pt").rename(model / "last.pt")
    first, again = done(setting), done(setting, resume=True)
    assert [(said.text, said.count, said.of) for said in first.notices] == [
        (f"{model.name} has no best.pt: last.pt was read", 1, "models"),
        (SAID, 4, "images"),
    ]
    assert again.record.output == first.record.output
    assert again.notices == first.notices
    assert first.notices[0].model == first.record.models[0].id


def test_it_is_found_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    files = deep_crops(setting)
    decoded: list[int] = []
    decode = DecodingPool.decode

    def counted(pool: DecodingPool, data: bytes, *others: Any) -> object:
        decoded.append(len(data))
        return decode(pool, data, *others)

    monkeypatch.setattr(DecodingPool, "decode", counted)
    job = done(setting, max_images=None)
    models = len(job.record.models)
    assert models > 1
    assert len(decoded) == len(files) + models * len(files)


def test_requests_choose_how_files_become_pixels(setting: Setting) -> None:
    deep_crops(setting)
    done(setting, max_images=1, intensity="type", background="black")
    (figure, *_) = setting.output.glob("*/improved_gradcam_*.png")
    recipe = json.loads(read_png_text(figure)["Recipe"])
    assert recipe["facts"]["options"]["decoding"] == {
        "intensity": "type",
        "background": "black",
        "page": None,
        "depth_bits": None,
    }
    assert recipe["decoding"]["scaling"] == "type"
