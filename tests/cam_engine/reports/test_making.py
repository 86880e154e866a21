"""A whole report of the bundled experiment: all there, resumed, and one fault hides no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import NoImagesFound
from cam_engine.experiments.finding import Experiment
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.reports import making
from cam_engine.reports.criteria import Section
from cam_engine.reports.items.performance import measure_performance
from cam_engine.reports.making import ReportRequest, make_report
from cam_engine.reports.report import Report
from cam_engine.reports.study import KINDS, Effort, Study
from tests.cam_engine.reports.test_report import SCHEMA

TINY = Effort(tuple(KINDS), 4, 4, 2, 2, (0.2,), 1, 2, (0.0, 1.0), 4, 2, 2)
SECTIONS = (
    "inputs",
    "performance",
    "calibration",
    "localisation",
    "knowledge",
    "faithfulness",
    "cause",
    "shortcuts",
    "stability",
    "failures",
)


def load(checkpoint: Path) -> Explainer:
    return Explainer(load_classifier(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def experiment(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The bundled one, and a model that cannot be read."""
    folder = tmp_path_factory.mktemp("reported") / "experiment_lifecycle"
    shutil.copytree(lifecycle, folder)
    (folder / "cls_broken").mkdir()
    (folder / "cls_broken/best.pt").write_bytes(b"nothing")
    return Experiment(folder)


@pytest.fixture(scope="module")
def request_(experiment: Experiment) -> ReportRequest:
    models = [model for model in experiment.models() if not model.name.endswith("_cb")]
    return ReportRequest(experiment, tuple(models), load, max_images=8, effort=TINY)


@pytest.fixture(scope="module")
def made(
    request_: ReportRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, list[str], Path]:
    output = tmp_path_factory.mktemp("output")
    told: list[str] = []
    return make_report(request_, ConfinedFolder(output), told.append), told, output


def test_all_is_there_and_the_broken_model_hides_nothing(
    made: tuple[Report, list[str], Path],
) -> None:
    report, told, _ = made
    broken, whole = report.models
    assert broken.error is not None
    assert broken.error[0] == "checkpoint-invalid"
    assert any("error [checkpoint-invalid]" in line for line in told)
    assert tuple(section.id for section in whole.sections) == SECTIONS
    assert [section.id for section in report.sections] == ["audit"]
    assert [section.id for section in report.appendix] == ["methods"]
    measured = {criterion.id.partition(".")[2] for criterion in whole.criteria}
    assert "measured" not in measured  # which a measure that fails would leave
    assert whole.facts["crops"] == 8
    jsonschema.validate(report.as_json(), json.loads(SCHEMA.read_text()))


def test_as_many_of_each_class(made: tuple[Report, list[str], Path]) -> None:
    tables = {t.id: t for section in made[0].models[1].sections for t in section.tables}
    rows = tables["performance.predictions"].rows
    assert sorted(str(row[1]) for row in rows) == sorted(
        ["gametocyte", "ring", "schizont", "trophozoite"] * 2
    )


def test_what_is_done_is_not_done_again_and_answers_the_same(
    made: tuple[Report, list[str], Path], request_: ReportRequest
) -> None:
    report, _, output = made
    told: list[str] = []
    again = make_report(request_, ConfinedFolder(output), told.append)
    assert sum("(kept)" in line for line in told) == len(SECTIONS)
    assert json.dumps(again.as_json()) == json.dumps(report.as_json())
    assert again.models[1].sections == report.models[1].sections


@pytest.mark.system
def test_a_fresh_run_answers_the_same(
    made: tuple[Report, list[str], Path], request_: ReportRequest, tmp_path: Path
) -> None:
    fresh = make_report(request_, ConfinedFolder(tmp_path), lambda _: None)
    assert json.dumps(fresh.as_json()) == json.dumps(made[0].as_json())


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"effort": replace(TINY, steps=3)}, {"max_images": 12}],
    ids=["seed", "effort", "crops"],
)
def test_what_is_asked_otherwise_is_measured_anew(
    made: tuple[Report, list[str], Path],
    request_: ReportRequest,
    change: Mapping[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(made[2], tmp_path / "output")
    told: list[str] = []
    asked: list[str] = []

    def measure(study: Study) -> Section:
        asked.append(study.name)
        return Section("calibration", "Calibration")

    monkeypatch.setattr(
        making._Making,
        "_measures",
        lambda _self, _study: iter([("calibration", "Calibration", measure)]),
    )
    request = replace(request_, **change)  # type: ignore[arg-type]  # of several fields
    make_report(request, ConfinedFolder(tmp_path / "output"), told.append)
    assert asked == ["cls_mobilenet_v3_small_focal"]


def test_a_measure_that_fails_is_said_and_not_kept(
    request_: ReportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_study: Study) -> Section:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(
        making._Making,
        "_measures",
        lambda _self, _study: iter(
            [
                ("calibration", "Calibration", broken),
                ("performance", "Performance", measure_performance),
            ]
        ),
    )
    told: list[str] = []
    report = make_report(request_, ConfinedFolder(tmp_path), told.append)
    sections = {section.id: section for section in report.models[1].sections}
    (criterion,) = sections["calibration"].criteria
    assert (criterion.id, criterion.verdict) == ("calibration.measured", "cannot_tell")
    assert "error [internal-error]" in criterion.sentence
    assert sections["performance"].tables
    again: list[str] = []
    make_report(request_, ConfinedFolder(tmp_path), again.append)
    assert [line.partition(": ")[2] for line in again if "(kept)" in line] == ["performance (kept)"]


def test_a_split_without_crops_names_those_that_there_are(
    request_: ReportRequest, tmp_path: Path
) -> None:
    with pytest.raises(
        NoImagesFound, match=r"has no crops .* of the split train; splits: test, val"
    ):
        make_report(replace(request_, split="train"), ConfinedFolder(tmp_path), lambda _: None)


def test_models_are_compared_over_the_crops_that_they_share(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        making._Making,
        "_measures",
        lambda _self, _study: iter([("performance", "Performance", measure_performance)]),
    )
    models = tuple(model for model in experiment.models() if "mobilenet" in model.name)
    request = ReportRequest(experiment, models, load, effort=TINY)
    report = make_report(request, ConfinedFolder(tmp_path), lambda _: None)
    assert [section.id for section in report.sections] == ["audit", "comparison"]
    (table,) = report.sections[1].tables
    assert [row[:2] for row in table.rows] == [tuple(model.name for model in models)]
