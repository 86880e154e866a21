"""The parts of a process: wired as the settings say, warmed up, and let go of."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from cam_engine.errors import InvalidOption
from service.components import Components, build
from service.settings import Settings
from tests.service.asking import CB, FOCAL

MISSING = "run/experiments/experiment_x/cls_none"


def parts(data: Path, **settings: Any) -> Components:
    return build(Settings.model_validate({"data": data, **settings}))


def warmed_up(built: Components) -> Components:
    """After all models that are loaded first, and the end."""

    async def work() -> None:
        async with built.running():
            await built._warm_up()

    asyncio.run(work())
    return built


@pytest.fixture
def data(sample_run: Path, tmp_path: Path) -> Path:
    """A data root with a copy of the bundled experiment."""
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    shutil.copytree(source, tmp_path / sample_run.name / "experiments" / source.name)
    return tmp_path


def test_pinned_models_and_the_default_one_are_loaded_first(sample_run: Path) -> None:
    built = parts(sample_run, pinned_models=FOCAL, default_model=CB)
    assert built.readiness.waiting == {FOCAL, "default"}
    assert warmed_up(built).readiness.ready
    assert set(built.models.loaded_ids) == {FOCAL, CB}


def test_a_model_that_cannot_be_used_is_said_by_its_code_alone(sample_run: Path) -> None:
    built = warmed_up(parts(sample_run, pinned_models=f"{MISSING},{FOCAL}"))
    assert built.readiness.failed == {MISSING: "model-not-found"}
    assert built.readiness.waiting == set()
    assert not built.readiness.ready


def test_a_damaged_model_keeps_no_other_from_being_loaded(data: Path) -> None:
    model = next(data.glob("*/experiments/*/cls_*_focal"))
    (model / "best.pt").write_bytes(b"no weights")
    id_ = model.relative_to(data).as_posix()
    built = warmed_up(parts(data, pinned_models=id_))
    assert built.readiness.failed == {id_: "checkpoint-invalid"}
    assert len(built.models.loaded_ids) == 1  # the default one is another


def test_a_root_without_models_is_ready_for_some(tmp_path: Path) -> None:
    assert warmed_up(parts(tmp_path)).readiness.ready


def test_threads_end_with_the_process(sample_run: Path) -> None:
    built = parts(sample_run.parent)
    warmed_up(built)
    assert built.admission.closing
    for executor in built.executors:
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(print)


@pytest.mark.parametrize(
    ("settings", "own_only"),
    [
        ({}, False),
        ({"api_keys": "gck_x"}, True),
        ({"api_keys": "gck_x", "jobs_visible": "all"}, False),
        ({"jobs_visible": "own"}, True),
    ],
)
def test_each_key_sees_its_own_jobs_unless_all_are_to(
    tmp_path: Path, settings: dict[str, str], own_only: bool
) -> None:
    built = parts(tmp_path, redis_url="redis://127.0.0.1:1/0", **settings)
    assert built.jobs is not None
    assert built.jobs._own_only is own_only
    assert built.jobs.threads.executor in built.executors
    assert parts(tmp_path).jobs is None


def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    told = {"max_upload_bytes": 1000, "max_pixels": 2000, "max_in_flight": 3, "io_threads": 5}
    built = parts(tmp_path, **told)
    assert (built.limits.max_bytes, built.limits.max_pixels) == (1000, 2000)
    assert built.executors[0]._max_workers == 5
    assert not built.keys
    assert parts(tmp_path, api_keys="gck_x").keys


def test_a_device_that_there_is_not_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption):
        parts(tmp_path, device="abacus")
