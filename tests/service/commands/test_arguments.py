"""`gradcam` and the words that its commands take."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from service.commands.arguments import DEFAULT_URL, VIEWS, build_parser, main
from service.explanations.requests import View

COMMANDS = [
    *(
        "experiment",
        "images",
        "verify",
        "inspect",
        "serve",
        "explain",
        "up",
        "key",
        "worker",
        "jobs",
    )
]


def test_it_says_its_commands_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\b", out, re.MULTILINE), command
    assert f"gradcam-service {version('gradcam-service')}" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: gradcam {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["jobs"], ["nothing"], ["explain"], ["explain", "x", "y"]])
def test_what_is_no_command_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from service.commands.arguments import build_parser\n"
        "build_parser().format_help()\n"
        "print([name for name in ('torch', 'cv2', 'fastapi', 'celery', 'httpx') "
        "if name in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_views_are_those_of_the_api() -> None:
    assert get_args(View) == VIEWS


def test_what_is_not_said_is_the_services_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADCAM_API_KEY", raising=False)
    told = build_parser().parse_args(["explain", "x.jpg"])
    assert (told.image, told.view, told.url) == (Path("x.jpg"), "overlay", DEFAULT_URL)
    optional = (
        "model",
        "layer",
        "method",
        "target",
        "colormap",
        "alpha",
        "intensity",
        "background",
    )
    assert [getattr(told, name) for name in (*optional, "page", "api_key")] == [None] * 10
    submitted = build_parser().parse_args(["jobs", "submit", "run/x"])
    assert (submitted.experiment, submitted.max_images, submitted.all) == ("run/x", 10, False)
    assert (submitted.models, submitted.pick, submitted.method) == ([], None, None)


def test_the_api_key_may_stand_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADCAM_API_KEY", "gck_x")
    for words in (["explain", "x.jpg"], ["jobs", "status"]):
        assert build_parser().parse_args(words).api_key == "gck_x"
        assert build_parser().parse_args([*words, "--api-key", "gck_y"]).api_key == "gck_y"


def test_a_key_is_made_with_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key"]) == 0
    said = capsys.readouterr().out
    (key,) = {word for word in said.split() if word.startswith("gck_")}
    assert f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" in said


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["explain", "missing.jpg"], "image-not-found"),
        (["serve", "--data", "missing"], "invalid-option"),
    ],
)
def test_an_error_is_one_line_with_its_code(
    words: list[str],
    code: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error [{code}]: ")
    assert len(err.splitlines()) == 1
