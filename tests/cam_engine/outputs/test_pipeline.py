"""One classifier over many images: when rows come, and how large passes are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cam_engine.errors import OutputNotWritable
from cam_engine.experiments.finding import Experiment
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs import pipeline
from cam_engine.outputs.drawing_pool import DrawingPool
from cam_engine.outputs.files import make_folder
from cam_engine.outputs.pipeline import RunRequest, run
from cam_engine.pictures.recipes import run_facts

IMAGES = 16


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Small networks are quickest on one thread."""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of each pass so far."""
    counts: list[int] = []
    explain_each = Explainer.explain_each

    def counted(self: Explainer, images: Sequence[Any], options: CamOptions) -> Any:
        counts.append(len(images))
        return explain_each(self, images, options)

    monkeypatch.setattr(Explainer, "explain_each", counted)
    return counts


@pytest.fixture
def explainer(lifecycle: Path) -> Explainer:
    (checkpoint,) = lifecycle.glob("cls_*_focal/best.pt")
    return Explainer(load_classifier(checkpoint), device="cpu", batch_size=4)


def request(lifecycle: Path, tmp_path: Path, **more: Any) -> RunRequest:
    make_folder(tmp_path)
    items = tuple(Experiment(lifecycle).images()[:IMAGES])
    return RunRequest(items, lifecycle, tmp_path, CamOptions(), **more)


def test_a_row_is_told_before_the_next_pass_where_it_is_done(
    lifecycle: Path,
    tmp_path: Path,
    explainer: Explainer,
    passes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With pictures that are always written before anybody asks whether they are."""

    def is_done(row: Future[Any] | object) -> bool:
        return not isinstance(row, Future) or row.exception() is None

    monkeypatch.setattr(pipeline, "_is_done", is_done)
    facts = run_facts("cls", explainer, CamOptions(), FigureStyle())
    seen: list[int] = []
    run(explainer, facts, request(lifecycle, tmp_path), lambda _row: seen.append(len(passes)))
    assert passes == [4, 4, 4, 4]
    assert seen == [number for number in (1, 2, 3, 4) for _ in range(4)]


def test_passes_are_as_long_as_is_wanted(
    lifecycle: Path,
    tmp_path: Path,
    explainer: Explainer,
    passes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock of the test's own, on which each pass takes 10 s."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("cam_engine.outputs.pipeline.time.perf_counter", lambda: float(next(clock)))
    facts = run_facts("cls", explainer, CamOptions(), FigureStyle())
    run(explainer, facts, request(lifecycle, tmp_path, pass_seconds=1.0))
    # Two batches are on their way before the first one has been timed.
    assert passes[:2] == [4, 4]
    assert set(passes[3:]) == {1}
    assert sum(passes) == IMAGES


def test_pictures_are_the_same_whoever_draws_them(
    lifecycle: Path, tmp_path: Path, explainer: Explainer
) -> None:
    facts = run_facts("cls", explainer, CamOptions(), FigureStyle())
    told: list[Any] = []
    here = run(explainer, facts, request(lifecycle, tmp_path / "threads"))
    with closing(DrawingPool(2)) as pool:
        wanted = request(lifecycle, tmp_path / "processes", drawing=pool)
        there = run(explainer, facts, wanted, told.append)
        assert len(pool.pids) == 2
    assert there.rows == here.rows == tuple(told)
    files = {
        place: {p.relative_to(tmp_path / place): p.read_bytes() for p in figures}
        for place in ("threads", "processes")
        if (figures := sorted((tmp_path / place).rglob("*.png")))
    }
    assert files["processes"] == files["threads"]


def test_no_room_ends_the_run_whoever_draws(
    lifecycle: Path, tmp_path: Path, explainer: Explainer
) -> None:
    facts = run_facts("cls", explainer, CamOptions(), FigureStyle())
    with closing(DrawingPool(2)) as pool:
        wanted = request(lifecycle, tmp_path, drawing=pool)
        (tmp_path / "components").rmdir()
        (tmp_path / "components").write_text("in the way")
        with pytest.raises(OutputNotWritable, match="components"):
            run(explainer, facts, wanted)
