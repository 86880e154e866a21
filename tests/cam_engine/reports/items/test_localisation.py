"""Maps against boxes: of blots that a network is known to see, and cut from fields."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cam_engine.evidence.controls import centred_gaussian
from cam_engine.evidence.localisation import average_precision
from cam_engine.experiments.finding import Experiment
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions
from cam_engine.reports import study as studies
from cam_engine.reports.crops import Crop, read_crops
from cam_engine.reports.items.localisation import Located, measure_localisation, wider
from cam_engine.reports.study import FUSED, Study
from tests.cam_engine.reports.conftest import TINY
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts
from tests.networks import small_network

SHARED = Path(__file__).resolve().parents[5] / "shared"
SIDE, BLOT = crafted.SIDE, crafted.BLOT


def test_a_network_that_sees_the_blot_passes(crafted_study: Study) -> None:
    section = measure_localisation(crafted_study)
    scores = table(section, "localisation.scores")
    found = criterion(section, "localisation.parasite")
    assert (found.verdict, found.n, found.threshold) == ("pass", 30, 0.0)
    own, spot = (cell(scores, name, "AP") for name in ("fused", "control: centred Gaussian"))
    assert found.value == pytest.approx(own - spot)
    assert found.sentence.startswith(
        f"The fused map's AP is {own:.2f}, a spot in the middle has {spot:.2f}: a lead of "
    )
    peak = criterion(section, "localisation.peak")
    assert (peak.verdict, peak.value, peak.threshold) == ("pass", 1.0, 0.8)
    assert {row[1] for row in scores.rows} == {"right"}
    assert cell(scores, "Grad-CAM late", "images") == 30
    assert cell(scores, "Grad-CAM late", "energy") > 0.5
    assert "the model names 30 correctly" in section.paragraphs[0]


def test_controls_have_the_expected_figures(crafted_study: Study) -> None:
    scores = table(measure_localisation(crafted_study), "localisation.scores")
    share = (BLOT / SIDE) ** 2
    for figure in ("peak", "IoU at 0.5", "IoU at Otsu", "energy"):
        assert cell(scores, "control: uniform", figure) == pytest.approx(share)
    # A uniform map's AP is the share, and what the first ranks add.
    assert cell(scores, "control: uniform", "AP") == pytest.approx(share, abs=0.003)
    masks = [
        Located(np.zeros((SIDE, SIDE, 3), np.uint8), crop.box, 0, "").mask
        for crop in crafted_study.crops
        if crop.box is not None
    ]
    spot = centred_gaussian((SIDE, SIDE))
    assert cell(scores, "control: centred Gaussian", "AP") == pytest.approx(
        np.mean([average_precision(spot, mask) for mask in masks])
    )


def test_a_spot_in_the_middle_does_not_beat_itself(crafted_study: Study, tmp_path: Path) -> None:
    """Where all blots lie in the middle, no map has a lead to speak of."""
    middle = (SIDE - BLOT) // 2
    box = (middle, middle, middle + BLOT, middle + BLOT)
    crops = [
        replace(crop, path=crafted.write(tmp_path / crop.label / crop.name, image), box=box)
        for crop, image in (
            (crop, crafted.picture(crop.label, (middle, middle), at))
            for at, crop in enumerate(crafted_study.crops)
        )
    ]
    section = measure_localisation(crafted.study_of(crafted_study.explainer.classifier, crops))
    assert cell(table(section, "localisation.scores"), "control: centred Gaussian", "AP") > 0.95
    assert criterion(section, "localisation.parasite").verdict == "fail"


def test_a_map_that_does_not_know_the_class_passes_here(
    crafted_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    eigen = CamOptions(method="eigencam", layers=("late",))
    monkeypatch.setattr(studies, "KINDS", {**studies.KINDS, "fused": eigen})
    section = measure_localisation(crafted_study)
    assert set(verdicts(section).values()) == {"pass"}
    assert "Eigen-CAM, which does not know the class" in section.paragraphs[1]


def test_wrong_answers_stand_apart(crafted_study: Study) -> None:
    names = crafted_study.class_names
    swapped = replace(
        crafted_study.explainer.classifier, class_names=(names[1], names[0], names[2])
    )
    section = measure_localisation(crafted.study_of(swapped, crafted_study.crops))
    scores = table(section, "localisation.scores")
    counts = {row[1]: row[2] for row in scores.rows if row[0] == "fused"}
    assert counts == {"right": 10, "wrong": 20}
    found = criterion(section, "localisation.parasite")
    assert (found.verdict, found.n) == ("cannot_tell", 10)
    assert "There are 10 independent units only" in found.sentence


def test_a_network_that_knows_nothing_passes_nothing(crafted_study: Study) -> None:
    for seed in range(2):
        classifier = crafted.classifier(small_network(seed))
        section = measure_localisation(crafted.study_of(classifier, crafted_study.crops))
        assert "pass" not in verdicts(section).values()


def none_measured(study: Study, beside: tuple[Crop, ...] = (), fields: Path | None = None) -> str:
    (found,) = measure_localisation(study, beside, fields).criteria
    assert (found.id, found.verdict, found.value) == ("localisation.parasite", "cannot_tell", None)
    return found.sentence


def test_without_boxes_it_cannot_be_told(crafted_study: Study) -> None:
    classifier = crafted_study.explainer.classifier

    def boxed(box: tuple[int, int, int, int] | None) -> Study:
        return crafted.study_of(classifier, [replace(c, box=box) for c in crafted_study.crops])

    assert "give boxes (--boxes)" in none_measured(boxed(None))
    filling = none_measured(boxed((0, 0, SIDE, SIDE - 4)))
    assert "its box fills 94% of them" in filling
    assert "No box lies in an image" in none_measured(boxed((SIDE, 0, SIDE + 20, 20)))
    assert "No box lies in an image" in none_measured(boxed((20, 20, 20, 30)))


def test_no_right_answers_cannot_be_told(crafted_study: Study) -> None:
    names = crafted_study.class_names
    wrong = replace(crafted_study.explainer.classifier, class_names=(*names[1:], names[0]))
    said = none_measured(crafted.study_of(wrong, crafted_study.crops))
    assert said == "The model names none of these images correctly."


def test_few_crops_cannot_be_told(crafted_study: Study) -> None:
    for count in (1, 8):
        few = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:count])
        assert set(verdicts(measure_localisation(few)).values()) == {"cannot_tell"}


def test_crops_that_were_given_are_measured_instead(crafted_study: Study) -> None:
    given = tuple(replace(crop, split="given") for crop in crafted_study.crops[::3])
    section = measure_localisation(crafted_study, given)
    assert section.paragraphs[0].startswith("Images that were given with their boxes.")
    assert cell(table(section, "localisation.scores"), "fused", "images") == 10
    unknown = tuple(replace(crop, label="fly") for crop in given)
    assert "No box lies in an image of a class" in none_measured(crafted_study, unknown)
    filled = tuple(replace(crop, box=(0, 0, SIDE, SIDE)) for crop in given)
    assert "its box fills 100%" in none_measured(crafted_study, filled)


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    few = replace(crafted_study, effort=replace(crafted.SMALL, located_crops=20))
    assert measure_localisation(few) == measure_localisation(few)
    assert measure_localisation(few) != measure_localisation(replace(few, seed=1))


# Wider crops, cut from field images.


def test_a_wider_crop_has_the_box_in_it_and_stays_in_the_field() -> None:
    rng = np.random.default_rng(0)
    field = rng.integers(0, 256, (90, 120, 3), np.uint8)
    offsets = []
    for _ in range(300):
        x, y = int(rng.integers(0, 100)), int(rng.integers(0, 70))
        box = (x, y, x + int(rng.integers(3, 20)), y + int(rng.integers(3, 20)))
        made = wider(field, box, rng)
        assert made is not None
        cut, (x0, y0, x1, y1) = made
        assert cut.shape[0] == cut.shape[1]
        longer = max(box[2] - box[0], box[3] - box[1])
        assert cut.shape[0] == round(2.2 * longer)
        assert 0 <= x0 < x1 <= cut.shape[1]
        assert 0 <= y0 < y1 <= cut.shape[0]
        assert (cut[y0:y1, x0:x1] == field[box[1] : box[3], box[0] : box[2]]).all()
        offsets.append(((x0 + x1) / 2 - cut.shape[1] / 2) / (cut.shape[1] - (x1 - x0)))
    assert np.abs(offsets).max() <= 0.5
    assert np.std(offsets) > 0.1


def test_a_wider_crop_is_off_the_middle_by_the_seed() -> None:
    field = np.zeros((400, 400, 3), np.uint8)
    places = []
    for seed in (0, 0, 1):
        made = wider(field, (180, 180, 220, 220), np.random.default_rng(seed))
        assert made is not None
        places.append(made[1])
    assert places[0] == places[1] != places[2]
    for x0, y0, _, _ in places:
        # 88 px have 48 of room, of which a start moves by at most 0.35 to either side of 24.
        assert 24 - 17 <= x0 <= 24 + 17
        assert 24 - 17 <= y0 <= 24 + 17


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 20), (5, 5, 20, 6), (400, 5, 420, 20), (-20, 5, -3, 20), (20, 20, 5, 5)]
)
def test_an_empty_box_has_no_wider_crop(box: tuple[int, int, int, int]) -> None:
    assert wider(np.zeros((90, 120, 3), np.uint8), box, np.random.default_rng(0)) is None


def test_a_box_beyond_the_edge_is_cut_off_there() -> None:
    field = np.zeros((90, 120, 3), np.uint8)
    made = wider(field, (-10, -10, 20, 20), np.random.default_rng(0))
    assert made is not None
    cut, box = made
    assert (cut.shape, box) == ((44, 44, 3), (0, 0, 20, 20))
    all_of_it = wider(field, (0, 0, 120, 90), np.random.default_rng(0))
    assert all_of_it is not None
    assert all_of_it[0].shape == (90, 90, 3)
    x0, y0, x1, y1 = all_of_it[1]
    assert 0 <= x0 < x1 <= 90
    assert (y0, y1) == (0, 90)


def field_study(study: Study, folder: Path) -> Study:
    """Crops in a row of six to a field of two rows of three."""
    crops = []
    for at, crop in enumerate(study.crops):
        row, column = divmod(at % 6, 3)
        assert crop.box is not None
        x0, y0, x1, y1 = crop.box
        left, top = column * SIDE, row * SIDE
        placed = (x0 + left, y0 + top, x1 + left, y1 + top)
        crops.append(replace(crop, box=None, field=f"smear_{at // 6}", field_box=placed))
    images = list(study.images(range(len(study.crops))))
    for field in range(len(crops) // 6):
        six = images[6 * field : 6 * field + 6]
        rows = [np.concatenate(six[:3], 1), np.concatenate(six[3:], 1)]
        crafted.write(folder / "images" / f"SMEAR_{field}.png", np.concatenate(rows, 0))
    return crafted.study_of(study.explainer.classifier, crops)


def test_crops_are_cut_from_fields(crafted_study: Study, tmp_path: Path) -> None:
    study = field_study(crafted_study, tmp_path)
    section = measure_localisation(study, (), tmp_path)
    assert section.paragraphs[0].startswith("Crops of 2.2 times the box, cut off-centre")
    assert "Boxes cover 21% of an image" in section.paragraphs[0]  # 20 px of 44
    scores = table(section, "localisation.scores")
    assert cell(scores, "control: uniform", "energy") == pytest.approx((20 / 44) ** 2)
    assert cell(scores, "fused", "peak") > 0.9
    assert criterion(section, "localisation.peak").verdict == "pass"
    assert section != measure_localisation(replace(study, seed=1), (), tmp_path)


def test_fields_that_are_not_there_cannot_be_told(crafted_study: Study, tmp_path: Path) -> None:
    assert "No field image of these crops" in none_measured(crafted_study, (), tmp_path)
    study = field_study(crafted_study, tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_stem(f"other_{path.stem}"))
    assert "No field image of these crops" in none_measured(study, (), tmp_path)


@pytest.mark.real
def test_crops_are_cut_from_real_fields() -> None:
    fields = SHARED / "fields/lifecycle"
    folder = SHARED / "results/optA_20250927_120000/experiments/experiment_iml_boxes"
    if not (fields.is_dir() and folder.is_dir()):
        pytest.skip(f"no real fields at {fields}")
    crops = [c for c in read_crops(Experiment(folder)) if c.split == "test"]
    classifier = load_classifier(folder / "cls_efficientnet_b1_focal/best.pt")
    crops = [crop for crop in crops if crop.label in classifier.class_names][::9][:30]
    study = Study(
        "b1",
        Explainer(classifier),
        tuple(crops),
        tuple(crop.cluster for crop in crops),
        (False,) * len(crops),
        replace(FUSED, clahe=False),
        effort=TINY,
    )
    section = measure_localisation(study, (), fields)
    scores = table(section, "localisation.scores")
    assert section.paragraphs[0].startswith("Crops of 2.2 times the box")
    of_right = replace(scores, rows=tuple(row for row in scores.rows if row[1] == "right"))
    assert 0.1 < cell(of_right, "control: uniform", "energy") <= 1 / 2.2**2 + 0.01
    assert cell(of_right, "fused", "AP") > cell(of_right, "control: uniform", "AP")
