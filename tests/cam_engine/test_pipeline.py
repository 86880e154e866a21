"""When the network runs and when pictures are made: in turns on a CPU that it fills."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cam_engine.checkpoints import load_classifier
from cam_engine.engine import Explainer, PreparedImage, Target
from cam_engine.errors import NonFiniteOutput
from cam_engine.experiments import Experiment
from cam_engine.options import CamOptions
from cam_engine.outputs import make_folder
from cam_engine.pipeline import RunRequest, run
from cam_engine.records import FigureStyle, Succeeded, run_facts
from cam_engine.results import Explanation

PASS, ROW = "pass", "row"


class Watched(Explainer):
    """Notes when a batch is computed."""

    events: list[str]

    def explain_each(
        self,
        images: Sequence[PreparedImage],
        options: CamOptions,
        targets: Sequence[Target] | None = None,
    ) -> list[Explanation | NonFiniteOutput]:
        self.events.append(PASS)
        return super().explain_each(images, options, targets)


def events_of_a_run(experiment: Path, output: Path) -> list[str]:
    """Eight images in batches of two."""
    found = Experiment(experiment)
    model = found.models([])[0]
    explainer = Watched(load_classifier(model.checkpoint), device="cpu", batch_size=2)
    explainer.events = []
    options = CamOptions()
    make_folder(output)
    outcome = run(
        explainer,
        run_facts(model.name, explainer, options, FigureStyle()),
        RunRequest(tuple(found.images()[:8]), found.folder, output, options),
        lambda _row: explainer.events.append(ROW),
    )
    assert all(isinstance(row, Succeeded) for row in outcome.rows)
    return explainer.events


@pytest.fixture
def cores() -> int:
    pinned = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if pinned else os.cpu_count() or 1


def test_a_network_on_all_cores_waits_until_its_pictures_are_written(
    lifecycle: Path, tmp_path: Path, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert events_of_a_run(lifecycle, tmp_path / "out") == [PASS, ROW, ROW] * 4


def test_a_network_that_leaves_cores_free_runs_while_pictures_are_written(
    lifecycle: Path, tmp_path: Path, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores - 1)
    events = events_of_a_run(lifecycle, tmp_path / "out")
    assert events == [*[PASS] * 3, ROW, ROW, PASS, *[ROW] * 6]
