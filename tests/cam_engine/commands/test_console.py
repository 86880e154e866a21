"""What the commands show: lines in a log, and a table at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cam_engine.commands.console import Console, ModelResult
from cam_engine.pictures.recipes import Failed

ROW = Failed("ring/x.jpg", "x", "ring", "invalid-image", "not a whole image; send it again")


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_lines_are_said_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=False, json_output=False)
    console.experiment("run/x", 1, 20)
    console.experiment("run/x", 2, 1)
    console.replaced("cls_a", 0)
    console.replaced("cls_a", 1)
    console.replaced("cls_a", 3)
    console.notices(["[bold]Page 1[/bold] was read", "second"])
    console.skipped("", "1 hidden")
    console.skipped("cls_a", "1 hidden")
    console.skipped("cls_a", "")
    console.folders_of_no_class("cls_a", "elf")
    console.written(Path("out") / os.fsdecode(b"\xe9"))
    assert said(capsys) == (
        [
            "run/x: 1 classifier, 20 test images",
            "run/x: 2 classifiers, 1 test image",
            "cls_a: 1 picture of another recipe removed",
            "cls_a: 3 pictures of another recipe removed",
            "notice: [bold]Page 1[/bold] was read",
            "notice: second",
            "skipped: 1 hidden",
            "cls_a: skipped: 1 hidden",
            "folders that are no class of cls_a: elf",
            "figures in out/%E9",
        ],
        [],
    )


def test_beside_an_answer_in_json_all_of_it_goes_to_the_other_stream(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console(quiet=False, json_output=True)
    console.written(Path("out"))
    console.table([ModelResult("cls_a", images=3)])
    out, err = said(capsys)
    assert out == []
    assert err[0] == "figures in out"
    assert err[-1].startswith("cls_a")


def test_who_is_quiet_still_says_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True, json_output=False)
    console.written(Path("out"))
    console.table([ModelResult("cls_a")])
    console.problem("cls_a", "checkpoint-invalid", "[1] damaged")
    with console.progress("cls_b", 2) as advance:
        advance(ROW)
    assert said(capsys) == (
        [],
        [
            "cls_a: error [checkpoint-invalid]: [1] damaged",
            "cls_b: ring/x.jpg: error [invalid-image]: not a whole image; send it again",
        ],
    )


def test_a_log_has_a_line_at_the_end_and_one_for_each_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Console(quiet=False, json_output=False).progress("cls_a", 3) as advance:
        for _ in range(3):
            advance(ROW)
    out, err = said(capsys)
    assert out == ["cls_a: 3/3"]
    assert len(err) == 3


def test_a_slow_run_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cam_engine.commands.console._SECONDS_BETWEEN_LOG_LINES", -1.0)
    with Console(quiet=False, json_output=False).progress("cls_a", 3) as advance:
        advance(ROW)
        advance(ROW)
    assert said(capsys)[0] == ["cls_a: 1/3", "cls_a: 2/3"]


def cells(capsys: pytest.CaptureFixture[str], result: ModelResult) -> list[str]:
    """Of the table's line for that classifier; two blanks at least are between them."""
    Console(quiet=False, json_output=False).table([result])
    head, line = said(capsys)[0]
    assert head.split() == ["classifier", "images", "failed", "correct", "seconds", "images/s"]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            ModelResult("cls_a", images=4, failed=1, correct=3, known=4, seconds=2.0),
            ["cls_a", "4", "1", "3/4 (75%)", "2.0", "2.5"],
        ),
        (
            ModelResult("cls_a", images=4, correct=1, known=2, seconds=2.0, resumed=2),
            ["cls_a", "4 (2 kept)", "0", "1/2 (50%), 2 of 4 known", "2.0", "1.0"],
        ),
        (
            ModelResult("cls_a", images=4, resumed=4, seconds=1.0),
            ["cls_a", "4 (4 kept)", "0", "n/a", "1.0"],
        ),
        (ModelResult("cls_a", images=4), ["cls_a", "4", "0", "n/a", "0.0"]),
        (ModelResult("cls_a", error="checkpoint-invalid"), ["cls_a", "checkpoint-invalid"]),
    ],
)
def test_the_table_has_counts_shares_and_rates(
    capsys: pytest.CaptureFixture[str], result: ModelResult, expected: list[str]
) -> None:
    assert cells(capsys, result) == expected


def test_without_results_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    Console(quiet=False, json_output=False).table([])
    assert said(capsys) == ([], [])
