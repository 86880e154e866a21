"""What is kept of files that are missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_engine.commands.findings import Finding, Findings
from cam_engine.errors import ImageTooLarge

ROOT = Path("/figures")


@pytest.fixture
def findings() -> Findings:
    return Findings(ROOT)


def test_each_file_is_told_of_once_and_in_order(findings: Findings) -> None:
    findings.add(ROOT / "b/x.png", "invalid-image", "first")
    findings.add(ROOT / "b/x.png", "not-readable", "second")
    findings.add(ROOT / "a.png", "not-readable", "third")
    findings.add(ROOT, "not-readable", "fourth")
    assert findings.all() == [
        Finding(".", "not-readable", "fourth"),
        Finding("a.png", "not-readable", "third"),
        Finding("b/x.png", "invalid-image", "first"),
    ]


def test_names_that_cannot_be_said_are_escaped(findings: Findings) -> None:
    findings.add(ROOT / "b\udcff.png", "invalid-image", "of b\udcff")
    (finding,) = findings.all()
    assert "\udcff" not in finding.path + finding.detail


@pytest.mark.parametrize(
    ("raised", "code", "detail"),
    [
        (FileNotFoundError(2, "No such file"), "image-not-found", "it is missing"),
        (PermissionError(13, "Permission denied"), "bad", "it cannot be read: Permission denied"),
        (OSError("truncated"), "bad", "it cannot be read: truncated"),
        (
            KeyError("Recipe"),
            "bad",
            "it is damaged, or not of this software (KeyError: 'Recipe')",
        ),
        (ValueError(), "bad", "it is damaged, or not of this software (ValueError)"),
        (ImageTooLarge("too many pixels"), "image-too-large", "too many pixels"),
    ],
)
def test_what_is_raised_within_the_fence_is_found_of_the_file(
    findings: Findings, raised: Exception, code: str, detail: str
) -> None:
    with findings.fence(ROOT / "x.png", "bad"):
        raise raised
    assert findings.all() == [Finding("x.png", code, detail)]


def test_damage_has_a_code_of_its_own_where_none_is_said(findings: Findings) -> None:
    with findings.fence(ROOT / "x.png"):
        raise TypeError
    assert [finding.code for finding in findings.all()] == ["invalid-image"]


def test_a_fault_of_ours_is_this_files_alone_as_well(findings: Findings) -> None:
    with findings.fence(ROOT / "x.png"):
        raise ZeroDivisionError
    (finding,) = findings.all()
    assert finding.path == "x.png"
    assert finding.code not in ("invalid-image", "image-not-found")


def test_who_stops_the_program_is_not_kept_in(findings: Findings) -> None:
    with pytest.raises(KeyboardInterrupt), findings.fence(ROOT / "x.png"):
        raise KeyboardInterrupt
    assert findings.all() == []


def test_where_nothing_is_raised_nothing_is_found(findings: Findings) -> None:
    with findings.fence(ROOT / "x.png"):
        pass
    assert findings.all() == []
