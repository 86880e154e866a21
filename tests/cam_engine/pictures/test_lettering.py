from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cam_engine.pictures import lettering
from cam_engine.pictures.lettering import (
    Style,
    face,
    fit,
    font_path,
    line_metrics,
    text_tile,
    text_width,
)

STYLE = Style(16)


def test_the_fonts_are_found_without_importing_matplotlib() -> None:
    code = (
        "import sys; from cam_engine.pictures.lettering import *; text_tile('ring', Style(16)); "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_tile_is_as_wide_as_said_and_keeps_the_baseline() -> None:
    tile = text_tile("early", STYLE)
    assert tile.shape == (line_metrics(STYLE)[1], text_width("early", STYLE), 3)
    ink = np.flatnonzero((text_tile("xxx", STYLE) != 255).any((1, 2)))
    assert ink[-1] == line_metrics(STYLE)[0] - 1


def test_ink_and_ground_have_the_styles_colours() -> None:
    style = Style(40, bold=True, colour=(200, 10, 20), background=(0, 50, 0))
    tile = text_tile("\u2588", style)
    assert (tile == (200, 10, 20)).all(-1).any()
    assert (text_tile(" ", style) == (0, 50, 0)).all()


def test_text_that_fits_is_left_as_it_is() -> None:
    assert fit("ring", STYLE, 100) == ("ring", STYLE)


def test_text_is_made_smaller_before_it_is_shortened() -> None:
    full = text_width("schizont", STYLE)
    text, style = fit("schizont", STYLE, round(full * 0.85))
    assert text == "schizont"
    assert 12 <= style.size < 16


@pytest.mark.parametrize("width", [20, 50, 100, 300, 900])
def test_text_is_shortened_in_its_middle_to_any_width(width: int) -> None:
    name = "features.denseblock3.denselayer24.norm2 of a very long name " * 3
    text, style = fit(name, STYLE, width)
    assert text_width(text, style) <= width
    head, tail = text.split("\u2026")
    assert name.startswith(head)
    assert name.strip().endswith(tail)


def test_line_breaks_and_control_characters_are_not_drawn() -> None:
    assert fit("a\nb\t\x00 c ", STYLE, 500)[0] == "a b c"


@pytest.mark.parametrize(
    "text", ["кольцо", "δακτύλιος", "حلقة", "טבעת", "28\u00d728 \u2714\u2718\u26a0\u2026"]
)
def test_the_shipped_font_writes_many_scripts(text: str) -> None:
    assert face(text, bold=True) == (font_path(bold=True), text)


def test_what_no_font_can_write_is_shown_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_system_fonts", tuple)
    assert face("A\u8f2a\u72b6", bold=False, truetype_only=True)[1] == "A U+8F2A U+72B6"


def test_a_system_font_is_used_where_it_can_write_the_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = font_path(bold=False).with_name("STIXGeneral.ttf")
    character = "\u23de"  # in STIX, not in DejaVu Sans
    copy = tmp_path / "NotoSansTest.ttf"
    shutil.copy(other, copy)
    monkeypatch.setattr(lettering, "SYSTEM_FONT_FOLDERS", (tmp_path,))
    lettering._system_fonts.cache_clear()
    face.cache_clear()
    try:
        assert face(character, bold=False) == (copy, character)
    finally:
        lettering._system_fonts.cache_clear()
        face.cache_clear()
