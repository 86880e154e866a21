"""Errors that are shown are the errors, and what is right is drawn and not picked."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cam_engine.reports import mosaics
from cam_engine.reports.criteria import Picture, Section
from cam_engine.reports.items import failures
from cam_engine.reports.items.failures import show_failures
from cam_engine.reports.mosaics import SIDE, Tile
from cam_engine.reports.study import Study
from cam_engine.results import RgbImage
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import table


@pytest.fixture(scope="module")
def wrong(crafted_study: Study) -> Study:
    """Blue crops are named green, and green ones blue."""
    names = crafted_study.class_names
    swapped = replace(
        crafted_study.explainer.classifier, class_names=(names[1], names[0], names[2])
    )
    return crafted.study_of(swapped, crafted_study.crops)


def picture(section: Section, id_: str) -> Picture:
    (found,) = [one for one in section.pictures if one.id == id_]
    return found


def test_all_errors_are_in_the_table_the_surest_first(wrong: Study) -> None:
    section = show_failures(wrong)
    rows = table(section, "failures.errors").rows
    assert len(rows) == 20
    assert {(row[1], row[2]) for row in rows} == {("green", "blue"), ("blue", "green")}
    shares = [float(row[3] or 0) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert section.paragraphs == ("20 errors among 30 crops (67%).",)
    assert section.criteria == ()


def test_tiles_are_of_the_errors_and_of_right_answers(
    wrong: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Tile]] = {}

    def mosaic(id_: str, caption: str, tiles: list[Tile], columns: int = 8) -> Picture:
        seen[id_] = list(tiles)
        return mosaics.mosaic(id_, caption, tiles, columns)

    monkeypatch.setattr(failures, "mosaic", mosaic)
    study = replace(wrong, effort=replace(wrong.effort, figures=20))
    section = show_failures(study)
    names = [(row[0], row[1], row[2]) for row in table(section, "failures.errors").rows]
    tiles = seen["failures.errors"]
    assert len(tiles) == 3 * 20
    for at, (crop, true, named) in enumerate(names):
        first, own, other = tiles[3 * at : 3 * at + 3]
        assert first.lines == (crop, f"true: {true}")
        assert own.lines[0] == f"named: {named}"
        assert own.red == {0}
        assert other.lines == ("map for", true)
        assert (own.image != other.image).any()
    sample = seen["failures.sample"]
    assert len(sample) == 3 * 10
    for first, own, other in zip(sample[::3], sample[1::3], sample[2::3], strict=True):
        assert first.lines[1] == "true: dark"
        assert own.lines[0] == "named: dark"
        assert not own.red
        assert other.lines[1] != "dark"
    means = {tile.lines for tile in seen["failures.mean_maps"]}
    assert means == {
        ("true: blue", "named: green", "10 maps"),
        ("true: green", "named: blue", "10 maps"),
        ("true: dark", "named: dark", "10 maps"),
    }


def pixels(of: Picture) -> RgbImage:
    read = cv2.imdecode(np.frombuffer(of.data, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    return np.asarray(read[..., ::-1], np.uint8)


def test_the_first_tile_is_the_surest_error(wrong: Study) -> None:
    section = show_failures(wrong)
    first = table(section, "failures.errors").rows[0]
    (at,) = [
        at for at, crop in enumerate(wrong.crops) if (crop.name, crop.label) == (first[0], first[1])
    ]
    (image,) = wrong.images([at])
    shown = pixels(picture(section, "failures.errors"))[8 : 8 + SIDE, 8 : 8 + SIDE]
    expected = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - expected).mean() < 12
    caption = picture(section, "failures.errors").caption
    assert caption.startswith("20 errors; the surest of them first. 4 are shown; all are in")


def test_without_errors_or_without_right_answers_there_is_no_picture_of_them(
    crafted_study: Study,
) -> None:
    section = show_failures(crafted_study)
    assert [one.id for one in section.pictures] == ["failures.sample", "failures.mean_maps"]
    assert section.paragraphs == ("0 errors among 30 crops (0%).",)
    assert table(section, "failures.errors").rows == ()
    names = crafted_study.class_names
    wrong = replace(crafted_study.explainer.classifier, class_names=(*names[1:], names[0]))
    section = show_failures(crafted.study_of(wrong, crafted_study.crops))
    assert [one.id for one in section.pictures] == ["failures.errors", "failures.mean_maps"]
    one = show_failures(crafted.study_of(wrong, crafted_study.crops[:1]))
    assert picture(one, "failures.errors").caption.startswith("1 error; the surest")


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    first, other = show_failures(crafted_study), show_failures(replace(crafted_study, seed=1))
    assert first == show_failures(crafted_study)
    assert picture(first, "failures.sample").data != picture(other, "failures.sample").data
    assert "(seed 1), not picked" in picture(other, "failures.sample").caption
