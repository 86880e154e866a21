"""`gradcam report`: its files, statuses and sentences."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cam_engine.commands import exit_status, reporting
from cam_engine.reports import making, study
from cam_engine.reports.items.calibrated import measure_calibration
from cam_engine.reports.items.performance import measure_performance
from service.commands.arguments import main
from tests.cam_engine.reports.conftest import TINY

pytestmark = pytest.mark.usefixtures("one_thread", "two_measures")

FILES = {"report.html", "report.json", "report.pdf", "tables.xlsx"}
FOCAL = "cls_mobilenet_v3_small_focal"


@pytest.fixture
def two_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two that are over at once; what all of them answer is tested with them."""
    monkeypatch.setattr(study, "QUICK", TINY)
    monkeypatch.setattr(
        making._Making,
        "_measures",
        lambda _self, _study: iter(
            [
                ("performance", "Performance", measure_performance),
                ("calibration", "Calibration", measure_calibration),
            ]
        ),
    )


@pytest.fixture
def experiment(lifecycle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "optA_20260101_000000/experiments/experiment_lifecycle"
    shutil.copytree(lifecycle, folder)
    return folder


def report(folder: Path, output: Path, *options: str) -> int:
    return main(["report", "--exp-folder", str(folder), "--output", str(output), *options])


def test_a_report_that_nothing_failed_in(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(experiment, tmp_path / "out", "--models", "focal") == exit_status.DONE
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_file()} == FILES
    said = capsys.readouterr()
    assert f"{FOCAL} (1 of 1): calibration" in said.out
    assert "audit.leakage" in said.out
    assert "criteria passed" in said.out
    assert f"report in {tmp_path / 'out' / 'report.html'}" in said.out
    assert said.err == ""
    assert not (experiment / reporting.DEFAULT_OUTPUT).exists()


def test_again_is_kept_and_the_same_bytes(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    report(experiment, output, "--models", "focal")
    before = {name: (output / name).read_bytes() for name in FILES}
    capsys.readouterr()
    report(experiment, output, "--models", "focal")
    assert capsys.readouterr().out.count("(kept)") == 2
    assert {name: (output / name).read_bytes() for name in FILES} == before


def test_json_alone_is_on_standard_output(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(experiment, tmp_path / "out", "--models", "focal", "--json")
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document == json.loads((tmp_path / "out/report.json").read_text())
    assert [model["name"] for model in document["models"]] == [FOCAL]
    assert "criteria passed" in said.err


def test_quiet_says_nothing(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(experiment, tmp_path / "out", "--models", "focal", "--quiet")
    assert tuple(capsys.readouterr()) == ("", "")


def test_a_model_that_cannot_be_read_is_a_failed_report(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (experiment / FOCAL / "best.pt").write_bytes(b"nothing")
    assert report(experiment, tmp_path / "out") == exit_status.SOME_FAILED
    assert "error [checkpoint-invalid]" in capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text()
    assert "error [checkpoint-invalid]" in page


def test_no_model_at_all_is_no_report(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in experiment.glob("cls_*/best.pt"):
        path.write_bytes(b"nothing")
    assert report(experiment, tmp_path / "out") == exit_status.NOTHING_DONE
    said = capsys.readouterr().err
    assert "no model could be reported on; the first: error [checkpoint-invalid]" in said
    assert not FILES & {path.name for path in (tmp_path / "out").iterdir()}


def test_without_output_it_lies_in_the_experiment_and_is_no_image_of_it(experiment: Path) -> None:
    main(["report", "--exp-folder", str(experiment), "--models", "focal", "--quiet"])
    folder = experiment / reporting.DEFAULT_OUTPUT
    assert {path.name for path in folder.iterdir() if path.is_file()} >= FILES
    assert main(["report", "--exp-folder", str(experiment), "--models", "focal", "--quiet"]) == 0


def test_experiments_of_a_run_have_a_folder_each(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = experiment.with_name("experiment_empty")
    (other / "cls_x").mkdir(parents=True)
    shutil.copy(experiment / FOCAL / "best.pt", other / "cls_x/best.pt")
    status = report(experiment.parents[1], tmp_path / "out", "--models", "focal", "x", "--quiet")
    assert status == exit_status.SOME_FAILED
    assert "experiment_empty: error [no-images-found]" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out" / experiment.name).iterdir()} >= FILES


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--split", "tset"), "--split tset is none of test, train, val"),
        (("--boxes", "nowhere.json"), "nowhere.json is not there"),
        (("--fields", "nowhere"), "nowhere is not there"),
        (("--input-size", "1", "2", "3"), "--input-size takes one side, or a height and a width"),
    ],
)
def test_what_is_asked_wrongly_is_one_sentence_and_no_file(
    experiment: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = report(experiment, tmp_path / "out", "--models", "focal", *options)
    assert status == exit_status.NOTHING_DONE
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out/report.json").exists()


def test_what_is_not_installed_is_named_with_what_to_do(
    experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def found(name: str) -> object | None:
        return None if name in {"typst", "xlsxwriter"} else object()

    monkeypatch.setattr(reporting, "find_spec", found)
    assert report(experiment, tmp_path / "out") == exit_status.NOTHING_DONE
    assert (
        "a report needs typst, xlsxwriter: pip install 'gradcam-service[report]'"
        in capsys.readouterr().err
    )


def test_where_nothing_can_be_written_is_one_sentence(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    status = report(experiment, tmp_path / "file", "--models", "focal")
    assert status == exit_status.NOTHING_DONE
    assert "error [output-not-writable]" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
