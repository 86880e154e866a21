"""The words of the commands: what they are read as, and how a command ends."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cam_engine.commands import exit_status
from cam_engine.commands.arguments import (
    add_commands,
    add_experiment_arguments,
    add_images_arguments,
    experiment_main,
    images_main,
    run_command,
)
from cam_engine.errors import InvalidOption
from cam_engine.options import CamOptions

Add = Callable[[argparse.ArgumentParser], None]
EXPERIMENT: tuple[Add, list[str]] = (add_experiment_arguments, ["--exp-folder", "x"])
IMAGES: tuple[Add, list[str]] = (add_images_arguments, ["--model", "best.pt", "--images", "x"])
BOTH = pytest.mark.parametrize("command", [EXPERIMENT, IMAGES], ids=["experiment", "images"])


def read(command: tuple[Add, list[str]], *words: str) -> argparse.Namespace:
    add, needed = command
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args([*needed, *words])


@BOTH
def test_what_is_not_said_is_the_engines_own_choice(command: tuple[Add, list[str]]) -> None:
    told = read(command)
    own = CamOptions()
    assert (told.taps, told.colormap, told.blend) == (own.taps, own.colormap, own.blend)
    assert (told.intensity, told.background) == (own.decoding.intensity, own.decoding.background)
    assert (told.device, told.precision, told.format, told.pick) == (
        "auto",
        "auto",
        "png",
        "balanced",
    )
    unsaid = ("method", "layers", "target", "alpha", "input_size", "mean", "std", "page", "dpi")
    assert [getattr(told, name) for name in (*unsaid, "batch_size", "head", "network")] == [
        None
    ] * 12
    flags = ("fused", "no_clahe", "resume", "save_maps", "quiet", "json", "averaged", "trust_file")
    assert not any(getattr(told, name) for name in flags)


def test_how_many_images_are_made_is_the_documented_number() -> None:
    assert (read(EXPERIMENT).max_images, read(IMAGES).max_images) == (10, 20)
    assert (read(EXPERIMENT).models, read(EXPERIMENT).output_base) == ([], None)
    assert read(IMAGES).output == Path("improved_gradcam_output")


@BOTH
@pytest.mark.parametrize("option", ["--max-images", "--batch-size", "--dpi", "--page"])
def test_numbers_are_whole_and_above_0(
    command: tuple[Add, list[str]], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = option.removeprefix("--").replace("-", "_")
    for text, number in (("1", 1), ("+12", 12), (" 7 ", 7)):
        assert getattr(read(command, option, text), name) == number
    for text in ("0", "-1", "1.5", "many", "", "1_0", "0x1"):
        with pytest.raises(SystemExit) as ended:
            read(command, option, text)
        assert ended.value.code == 2
        assert f"{text!r} is not a whole number above 0" in capsys.readouterr().err


def test_a_batch_size_may_be_left_to_us() -> None:
    assert read(IMAGES, "--batch-size", "auto").batch_size is None


def test_layers_stand_apart_or_with_commas() -> None:
    told = read(IMAGES, "--layers", "early,mid", "late", "layer3,")
    assert told.layers == [["early", "mid"], ["late"], ["layer3"]]


def test_commands_are_mounted_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    for words in (
        ["experiment", "--exp-folder", "x"],
        ["images", "--model", "m", "--images", "x"],
        ["verify", "x"],
        ["inspect", "x"],
    ):
        assert parser.parse_args(words).command.__name__ == f"{words[0]}_command"
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "Check a folder of figures" in " ".join(capsys.readouterr().out.split())


def test_a_commands_status_is_its_answer() -> None:
    assert run_command(lambda _: 7, argparse.Namespace()) == 7


def test_an_error_of_ours_is_one_line_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_: argparse.Namespace) -> int:
        raise InvalidOption("alpha is 2, not 0..1")

    assert run_command(command, argparse.Namespace()) == exit_status.NOTHING_DONE == 2
    assert capsys.readouterr() == ("", "error [invalid-option]: alpha is 2, not 0..1\n")


def test_other_errors_are_not_hidden() -> None:
    def command(_: argparse.Namespace) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(command, argparse.Namespace())


def test_who_stops_it_is_told_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert run_command(command, argparse.Namespace()) == exit_status.INTERRUPTED == 130
    assert "--resume goes on from here" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_it_without_a_trace() -> None:
    """As by `gradcam ... | head`."""
    code = (
        "import argparse, sys\n"
        "from cam_engine.commands.arguments import run_command\n"
        "def command(_):\n"
        "    while True: print('line', flush=True)\n"
        "sys.exit(run_command(command, argparse.Namespace()))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == exit_status.INTERRUPTED


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (experiment_main, ["--exp-folder", "missing"]),
        (images_main, ["--model", "missing.pt", "--images", "missing"]),
    ],
)
def test_the_documented_commands_end_with_one_line_where_nothing_is(
    main: Callable[[list[str]], int], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == exit_status.NOTHING_DONE
    said = capsys.readouterr().err
    assert said.startswith("error [")
    assert len(said.splitlines()) == 1


def test_reading_words_imports_nothing_heavy() -> None:
    code = (
        "import sys, cam_engine.commands.arguments\n"
        "print([name for name in ('torch', 'cv2', 'PIL', 'numpy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
