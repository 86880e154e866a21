"""The audit of planted faults, of the bundled run, of real experiments and of public tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cam_engine.experiments.finding import Experiment
from cam_engine.images.preparing import decode_image, read_image
from cam_engine.reports.audit import Audit, audit_of_data
from cam_engine.reports.criteria import Criterion, Section
from cam_engine.reports.crops import Crop, read_crops, read_table, with_slides

SHARED = Path(__file__).resolve().parents[4] / "shared"
LIFECYCLE = SHARED / "results/optA_20251005_182645/experiments/experiment_iml_lifecycle"
BOXES = SHARED / "results/optA_20250927_120000/experiments/experiment_iml_boxes"


@pytest.fixture
def clean(lifecycle: Path, tmp_path: Path) -> Path:
    """An experiment of 12 test and 36 train crops, each of a cell and a field of its own."""
    source = lifecycle / "crops_gt_crops/crops/test"
    rows = ["original_image,crop_filename,split,class_name,bbox_x1,bbox_y1,bbox_x2,bbox_y2"]
    for number, file in enumerate(sorted(source.glob("*/*.jpg"))):
        split, label = ("test" if number % 4 == 0 else "train"), file.parent.name
        target = tmp_path / "crops_gt_crops/crops" / split / label / f"cell{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        rows.append(f"field{number}.png,{target.name},{split},{label},5,5,200,200")
    table = tmp_path / "crops_gt_crops/ground_truth_crop_metadata.csv"
    table.write_text("\n".join(rows))
    return tmp_path


def audited(folder: Path) -> Audit:
    return audit_of_data(read_crops(Experiment(folder)))


def by_id(section: Section) -> dict[str, Criterion]:
    criteria = {criterion.id: criterion for criterion in section.criteria}
    assert len(criteria) == len(section.criteria) == 8
    return criteria


def plant(folder: Path, split: str, label: str, change: Callable[[Path, Path], object]) -> None:
    """A changed copy of test's first ring."""
    ring = min((folder / "crops_gt_crops/crops/test/ring").glob("*.jpg"))
    target = folder / "crops_gt_crops/crops" / split / label / "planted.jpg"
    change(ring, target)


def worse_photograph(source: Path, target: Path) -> None:
    """Shifted 3 px, out of focus, brighter, and compressed once more."""
    image = np.roll(read_image(source), 3, axis=1)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8)
    image = (image * 1.1 + 5).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(target), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])


def test_clean_data_pass(clean: Path) -> None:
    audit = audited(clean)
    criteria = by_id(audit.section)
    assert criteria["audit.leakage"].verdict == "pass"
    assert criteria["audit.shared_fields"].verdict == "pass"
    assert criteria["audit.shared_slides"].verdict == "cannot_tell"
    assert criteria["audit.independent_units"].value == 12
    assert audit.leaked == frozenset()
    assert len(set(audit.clusters)) == 48
    assert [table.id for table in audit.section.tables] == ["audit.class_counts"]
    assert audit.section.pictures == ()


@pytest.mark.parametrize("change", [shutil.copy, worse_photograph])
def test_a_planted_twin_in_training(clean: Path, change: Callable[[Path, Path], object]) -> None:
    plant(clean, "train", "ring", change)
    crops = read_crops(Experiment(clean))
    audit = audit_of_data(crops)
    criteria = by_id(audit.section)
    assert criteria["audit.leakage"].verdict == "fail"
    assert criteria["audit.leakage"].value == pytest.approx(1 / 12)
    assert criteria["audit.label_conflicts"].verdict == "pass"
    (leaked,) = audit.leaked
    (planted,) = (n for n, crop in enumerate(crops) if crop.name == "planted.jpg")
    assert audit.clusters[leaked] == audit.clusters[planted]
    assert (crops[leaked].split, crops[leaked].label) == ("test", "ring")
    (picture,) = audit.section.pictures
    assert decode_image(picture.data).shape[1] > 2 * 176


def test_a_planted_twin_of_another_label(clean: Path) -> None:
    plant(clean, "train", "schizont", worse_photograph)
    criteria = by_id(audited(clean).section)
    assert criteria["audit.leakage"].verdict == "fail"
    assert criteria["audit.label_conflicts"].verdict == "fail"
    assert "planted.jpg is schizont" in criteria["audit.label_conflicts"].sentence


def test_a_planted_slide(clean: Path) -> None:
    table = clean / "crops_gt_crops/ground_truth_crop_metadata.csv"
    apart = table.read_text()
    for number in range(48):
        slide = f"A{number % 4}" if number % 4 == 0 else f"B{number % 5}"
        apart = apart.replace(f"field{number}.png", f"{slide}-{number}.png")
    table.write_text(apart)
    assert by_id(audited(clean).section)["audit.shared_slides"].verdict == "pass"
    table.write_text(apart.replace("A0-4.png", "B1-99.png"))
    section = audited(clean).section
    criterion = by_id(section)["audit.shared_slides"]
    assert criterion.verdict == "fail"
    assert criterion.value == pytest.approx(1 / 12)
    assert "(B1)" in criterion.sentence
    assert section.tables[1].id == "audit.shared_slides"


def test_it_is_kept_and_made_again(clean: Path) -> None:
    plant(clean, "train", "schizont", shutil.copy)
    section = audited(clean).section
    assert Section.from_kept(section.kept()) == section


def test_a_split_without_crops_is_refused() -> None:
    with pytest.raises(ValueError, match="no crops in the split test"):
        audit_of_data([Crop("a", "train", "ring")])


def test_the_bundled_run(sample_run: Path) -> None:
    """Each cell of a field of its own, no twins; training crops are not bundled."""
    for folder in sorted(sample_run.glob("experiments/*")):
        criteria = by_id(audited(folder).section)
        verdicts = {name: criterion.verdict for name, criterion in criteria.items()}
        assert verdicts == {
            "audit.leakage": "cannot_tell",
            "audit.label_conflicts": "cannot_tell",
            "audit.shared_fields": "cannot_tell",
            "audit.shared_slides": "cannot_tell",
            "audit.independent_units": "pass",
            "audit.class_counts": "pass",
            "audit.single_class_images": "cannot_tell",
            "audit.class_names": "cannot_tell",
        }
        assert criteria["audit.independent_units"].value == 48


def twins_of(section: Section) -> set[frozenset[str]]:
    (table,) = (table for table in section.tables if table.id == "audit.twins")
    return {frozenset(str(row[at]).split(".")[0] for at in (0, 3)) for row in table.rows}


@pytest.mark.real
@pytest.mark.skipif(not LIFECYCLE.is_dir(), reason=f"no {LIFECYCLE}")
def test_a_cell_of_training_in_a_real_experiments_test() -> None:
    """Seen by eye: cells photographed twice at another focus, one pair 96 photographs apart."""
    audit = audited(LIFECYCLE)
    pairs = twins_of(audit.section)
    assert {frozenset({"PA171734_084", "PA171733_098"})} <= pairs
    assert {frozenset({"PA171910_087", "PA172006_086"})} <= pairs
    assert 75 <= len(pairs) <= 82
    criteria = by_id(audit.section)
    assert criteria["audit.leakage"].verdict == "fail"
    assert len(audit.leaked) == 14
    assert criteria["audit.shared_fields"].verdict == "pass"


@pytest.mark.real
@pytest.mark.skipif(not BOXES.is_dir(), reason=f"no {BOXES}")
def test_a_real_cell_with_two_labels() -> None:
    section = audited(BOXES).section
    assert frozenset({"PA171988_crop_000", "PA171989_crop_000"}) in twins_of(section)
    criterion = by_id(section)["audit.label_conflicts"]
    assert criterion.verdict == "fail"
    said = "PA171988_crop_000.jpg is trophozoite, PA171989_crop_000.jpg is gametocyte"
    assert said in criterion.sentence
    assert criterion.value is not None
    assert criterion.n is not None
    assert round(criterion.value * criterion.n) == 7


@pytest.mark.real
@pytest.mark.parametrize("name", ["species", "stages"])
def test_slides_of_the_public_tables_are_in_all_splits(name: str) -> None:
    path = SHARED / f"public/mp_idb_{name}_crop_metadata.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    criteria = by_id(audit_of_data(with_slides(read_table(path))).section)
    assert criteria["audit.shared_slides"].verdict == "fail"
    assert criteria["audit.shared_slides"].value == 1.0
    assert criteria["audit.independent_units"].verdict == "cannot_tell"
    assert criteria["audit.leakage"].verdict == "cannot_tell"
    expected = {"species": "fail", "stages": "cannot_tell"}
    assert criteria["audit.single_class_images"].verdict == expected[name]
