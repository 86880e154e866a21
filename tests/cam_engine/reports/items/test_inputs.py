"""Faults planted in how a network sees its crops: each is named, and none where there is none."""

from __future__ import annotations

import copy
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cam_engine.images.preparing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import Classifier
from cam_engine.reports.criteria import Section
from cam_engine.reports.crops import Crop
from cam_engine.reports.items.inputs import audit_inputs
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts
from tests.networks import small_network

RIGHT = "100%"  # of the bundled crops, as training saw them
Statistics = tuple[Sequence[float], Sequence[float]]


def by(study: Study, classifier: Classifier) -> Study:
    return replace(study, explainer=Explainer(classifier))


def wanting(classifier: Classifier, own: Statistics, other: Statistics) -> Classifier:
    """A classifier of pixels normalised by `own`, as if it had been trained on those by `other`."""
    network = copy.deepcopy(classifier.network)
    (mean, std), (other_mean, other_std) = (
        [torch.tensor(values).view(1, 3, 1, 1) for values in pair] for pair in (own, other)
    )

    def renormalised(_: nn.Module, passed: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return ((passed[0] * other_std + other_mean - mean) / std,)

    network.register_forward_pre_hook(renormalised)
    return replace(classifier, network=network)


def exchanged(study: Study, folder: Path) -> Study:
    """With crops whose red and blue somebody exchanged."""
    crops = [
        replace(crop, path=crafted.write(folder / crop.label / f"{crop.file.stem}.png", image))
        for crop, image in zip(
            study.crops,
            (image[..., ::-1] for image in study.images(range(len(study.crops)))),
            strict=True,
        )
    ]
    return replace(study, crops=tuple(crops))


def test_nothing_is_named_of_a_clean_model(species: Study) -> None:
    section = audit_inputs(species)
    assert verdicts(section) == {
        "audit.preprocessing": "pass",
        "audit.class_order": "pass",
        "audit.recorded": "cannot_tell",  # of validation, whose crops are not given
    }
    variants = table(section, "inputs.variants")
    assert cell(variants, "as explained", "accuracy") == species.right.mean()
    assert cell(variants, "red and blue exchanged", "accuracy") < 0.5
    assert [row[0] for row in variants.rows] == [
        "as explained",
        "with CLAHE",
        "red and blue exchanged",
        "no normalisation (0..1)",
        "mean and std of 0.5",
        "160 x 160 px",
        "288 x 288 px",
    ]


def fault_of(section: Section) -> str:
    """What the one failed criterion is about."""
    assert verdicts(section)["audit.class_order"] == "pass"
    found = criterion(section, "audit.preprocessing")
    assert found.verdict == "fail"
    assert found.interval is not None
    assert found.interval.low > 0
    assert found.value is not None
    variants = table(section, "inputs.variants")
    right = f"{100 * cell(variants, 'as explained', 'accuracy'):.0f}% of the crops are right"
    assert right in found.sentence
    named = found.sentence.partition("; ")[2].partition(":")[0]
    assert cell(variants, named, "difference") == pytest.approx(found.value)
    return found.sentence


def test_exchanged_channels_are_named(species: Study, tmp_path: Path) -> None:
    said = fault_of(audit_inputs(exchanged(species, tmp_path)))
    right = f"{100 * species.right.mean():.0f}%"
    assert f"red and blue exchanged: {right}. The model was probably trained with it." in said


def part(study: Study, indices: range, split: str) -> Study:
    return replace(
        study,
        crops=tuple(replace(study.crops[index], split=split) for index in indices),
        clusters=tuple(study.clusters[index] for index in indices),
        leaked=tuple(study.leaked[index] for index in indices),
    )


def test_crops_of_validation_tell_where_those_of_the_split_are_few(
    species: Study, tmp_path: Path
) -> None:
    wrong, count = exchanged(species, tmp_path), len(species.crops)
    step = count // 5
    few, rest = part(wrong, range(0, count, step), "test"), part(wrong, range(1, count), "val")
    assert verdicts(audit_inputs(few))["audit.preprocessing"] != "fail"
    section = audit_inputs(few, rest)
    both = few.joined(rest)
    found = criterion(section, "audit.preprocessing")
    assert (found.verdict, found.n) == ("fail", both.units())
    right = f"{100 * both.right.mean():.0f}%"
    assert found.sentence.startswith(f"As it is explained, {right} of the crops of test and val")
    assert "red and blue exchanged" in found.sentence
    assert "crops of test, and of val where a change is no worse" in section.paragraphs[0]
    variants = table(section, "inputs.variants")
    assert cell(variants, "as explained", "crops") == len(few.crops)
    assert cell(variants, "red and blue exchanged", "crops") == len(both.crops)


def test_a_change_that_is_worse_is_not_tried_on_those_of_validation(species: Study) -> None:
    count = len(species.crops)
    few, rest = part(species, range(0, count, 2), "test"), part(species, range(1, count, 2), "val")
    section = audit_inputs(few, rest)
    assert verdicts(section)["audit.preprocessing"] == "pass"
    crops = {row[0]: row[1] for row in table(section, "inputs.variants").rows}
    assert crops["red and blue exchanged"] == crops["as explained"] == len(few.crops)


def test_a_network_of_pixels_that_are_not_normalised_is_named(species: Study) -> None:
    imagenet = (IMAGENET_MEAN, IMAGENET_STD)
    other = wanting(species.explainer.classifier, imagenet, ((0.0,) * 3, (1.0,) * 3))
    assert "no normalisation (0..1): " in fault_of(audit_inputs(by(species, other)))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.5)])
def test_a_record_of_another_mean_is_named(species: Study, mean: float, std: float) -> None:
    classifier = species.explainer.classifier
    wrong = replace(classifier.preprocessing, mean=(mean,) * 3, std=(std,) * 3)
    said = fault_of(audit_inputs(by(species, replace(classifier, preprocessing=wrong))))
    assert f"ImageNet's mean and std: {RIGHT}" in said


def test_permuted_names_are_named_and_nothing_else(species: Study) -> None:
    classifier = species.explainer.classifier
    names = classifier.class_names
    renamed = replace(classifier, class_names=(*names[1:], names[0]))
    section = audit_inputs(by(species, renamed))
    found = criterion(section, "audit.class_order")
    assert found.verdict == "fail"
    assert (
        f"With other names of classes {RIGHT} of the crops would be right, not " in found.sentence
    )
    for name, meant in zip(renamed.class_names, names, strict=True):
        assert f"{name} is {meant}" in found.sentence
    assert verdicts(section)["audit.preprocessing"] == "pass"


def test_two_faults_at_once_are_both_named(species: Study, tmp_path: Path) -> None:
    classifier = species.explainer.classifier
    names = classifier.class_names
    renamed = replace(classifier, class_names=(names[1], names[0], *names[2:]))
    section = audit_inputs(by(exchanged(species, tmp_path), renamed))
    found = criterion(section, "audit.class_order")
    assert found.verdict == "fail"
    assert f"({names[1]} is {names[0]}, {names[0]} is {names[1]})" in found.sentence
    found = criterion(section, "audit.preprocessing")
    assert found.sentence.startswith("With names put right, ")
    assert f"red and blue exchanged: {100 * species.right.mean():.0f}%" in found.sentence


# Stripes two pixels wide, and a network that sees those of more than a contrast.

STRIPED = ("even", "striped")
SEEN = 32  # of 255, between two neighbouring stripes; CLAHE makes 34 of 30


def stripes_classifier(side: int = crafted.SIDE) -> Classifier:
    network = crafted.network()
    early, norm = network.early[0], network.early[1]
    assert isinstance(early, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        early.weight.zero_()
        norm.bias.zero_()
        early.weight[0, :, 1, 0], early.weight[0, :, 1, 2] = 1 / 3, -1 / 3
        norm.bias[0] = -SEEN / 255
        network.head.weight.zero_()
        network.head.weight[1, 0] = 1000.0
        network.head.bias[0] = 3.0
        # Pixels below 0, which are none in 0..1, are another class: not any contrast will do.
        early.weight[1, :, 1, 1] = -1 / 3
        network.head.weight[2, 1] = 10_000.0
        network.head.bias[2] = -50.0
    unit = Preprocessing((side, side), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return replace(crafted.classifier(network, (*STRIPED, "other")), preprocessing=unit)


def striped_study(
    folder: Path, contrasts: tuple[int, int], classifier: Classifier, side: int = crafted.SIDE
) -> Study:
    """Twelve crops of each class, whose stripes have these contrasts."""
    crops = []
    for label, contrast in zip(STRIPED, contrasts, strict=True):
        for number in range(12):
            grey = np.full((side, side), 90 + number, np.uint8)
            grey[:, np.arange(side) % 4 >= 2] += np.uint8(contrast)
            path = crafted.write(folder / label / f"{number}.png", np.stack([grey] * 3, -1))
            crops.append(Crop(path.name, "test", label, path))
    return crafted.study_of(classifier, crops)


@pytest.mark.parametrize("clahe", [False, True])
def test_a_network_that_was_trained_with_clahe_is_named(tmp_path: Path, clahe: bool) -> None:
    """Faint stripes, which CLAHE alone raises above what the network sees."""
    study = striped_study(tmp_path, (0, 30), stripes_classifier())
    section = audit_inputs(replace(study, options=replace(study.options, clahe=clahe)))
    if clahe:
        assert criterion(section, "audit.preprocessing").verdict == "pass"
    else:
        said = fault_of(section)
        assert "; with CLAHE: " in said
        assert said.endswith(
            "The model was probably trained with CLAHE, and figures are made "
            "without it: leave --no-clahe out."
        )


@pytest.mark.parametrize("clahe", [False, True])
def test_a_network_that_was_trained_without_clahe_is_named(tmp_path: Path, clahe: bool) -> None:
    """Faint stripes are nothing to it, and CLAHE makes strong ones of them."""
    study = striped_study(tmp_path, (30, 60), stripes_classifier())
    section = audit_inputs(replace(study, options=replace(study.options, clahe=clahe)))
    if clahe:
        said = fault_of(section)
        assert said.endswith(
            "without CLAHE: 100%. The model was probably trained without CLAHE, and figures are "
            "made with it: use --no-clahe."
        )
    else:
        assert criterion(section, "audit.preprocessing").verdict == "pass"


def test_another_size_is_named(tmp_path: Path) -> None:
    """Crops of 96 px, whose stripes are lost at 64."""
    study = striped_study(tmp_path, (0, 50), stripes_classifier(), side=96)
    assert "96 x 96 px: 100%" in fault_of(audit_inputs(study))
    right_size = striped_study(tmp_path, (0, 50), stripes_classifier(96), side=96)
    assert criterion(audit_inputs(right_size), "audit.preprocessing").verdict == "pass"


# What others wrote down.


def recorded(study: Study, around: Path | None = None, others: Study | None = None) -> Section:
    return audit_inputs(study, others, around)


def test_an_accuracy_in_the_checkpoint_is_held_against_validation(crafted_study: Study) -> None:
    classifier = crafted_study.explainer.classifier
    others = replace(
        crafted_study, crops=tuple(replace(crop, split="val") for crop in crafted_study.crops)
    )
    for accuracy, verdict in ((1.0, "pass"), (0.8, "fail")):
        said = by(crafted_study, replace(classifier, val_accuracy=accuracy))
        found = criterion(recorded(said, others=others), "audit.recorded")
        assert (found.verdict, found.value, found.threshold) == (verdict, 1.0, accuracy)
        assert f"The checkpoint records {100 * accuracy:.0f}% over val" in found.sentence
        assert "it is 100% (95% interval 100 to 100%)" in found.sentence
    found = criterion(recorded(said), "audit.recorded")
    assert found.verdict == "cannot_tell"
    assert "of which there are no crops here" in found.sentence
    assert criterion(recorded(crafted_study), "audit.recorded").sentence == (
        "No accuracy is recorded with the model."
    )


@pytest.mark.parametrize(("accuracy", "verdict"), [("1.0", "pass"), ("93.65", "fail")])
def test_a_table_of_the_test_split_is_held_against_it(
    crafted_study: Study, tmp_path: Path, accuracy: str, verdict: str
) -> None:
    classifier = replace(crafted_study.explainer.classifier, architecture="densenet121")
    study = replace(by(crafted_study, classifier), name="cls_densenet121_focal")
    with (tmp_path / "table9_focal_loss.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Class", "Metric", "densenet121", "resnet50"])
        writer.writerow(["ring", "accuracy", "0.5", "0.5"])
        writer.writerow(["Overall", "accuracy", accuracy, "0.5"])
    section = recorded(study, tmp_path)
    found = criterion(section, "audit.recorded")
    assert found.verdict == verdict
    share = float(accuracy) / (100 if float(accuracy) > 1 else 1)
    assert found.threshold == share
    assert table(section, "inputs.recorded").rows == (
        ("table9_focal_loss.csv", "test", share, 1.0, 1.0, 1.0),
    )
    other_loss = replace(study, name="cls_densenet121_cb")
    assert criterion(recorded(other_loss, tmp_path), "audit.recorded").value is None


def test_the_best_epoch_of_a_trainers_table_is_read(crafted_study: Study, tmp_path: Path) -> None:
    folder = tmp_path / crafted_study.name
    folder.mkdir()
    (folder / "results.csv").write_text(
        "epoch, metrics/accuracy_top1, train/loss\n1, 0.7, 3\n2, 0.9, nan\n3, nan, 1\n"
    )
    section = recorded(crafted_study, tmp_path)
    (row,) = table(section, "inputs.recorded").rows
    assert row[:3] == ("results.csv", "val", 0.9)
    (folder / "results.csv").write_bytes(b"\xff\xfe\x00")
    assert not table(recorded(crafted_study, tmp_path), "inputs.recorded").rows


# What cannot be told.


def test_a_network_that_knows_nothing_cannot_be_told(crafted_study: Study) -> None:
    for seed in range(4):
        other = by(crafted_study, crafted.classifier(small_network(seed)))
        section = audit_inputs(other)
        assert verdicts(section)["audit.class_order"] == "pass"
        found = criterion(section, "audit.preprocessing")
        assert found.verdict == "cannot_tell"
        assert found.sentence.endswith("The model is right by chance however it sees the crops.")


def test_few_units_cannot_be_told(crafted_study: Study) -> None:
    paired = replace(crafted_study, clusters=tuple(str(at % 6) for at in range(30)))
    found = audit_inputs(paired).criteria
    assert {one.verdict for one in found} == {"cannot_tell"}
    assert "There are 6 independent units only" in found[0].sentence
    assert [one.n for one in found[:2]] == [6, 6]


def test_crops_of_one_class_or_a_single_one_cannot_be_told(crafted_study: Study) -> None:
    for count in (10, 1):
        few = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:count])
        assert set(verdicts(audit_inputs(few)).values()) == {"cannot_tell"}


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    first, again, *others = (
        table(audit_inputs(replace(crafted_study, seed=seed)), "inputs.variants")
        for seed in (0, 0, 1, 2)
    )
    assert first == again
    assert any(first != other for other in others)
    for other in others:
        assert [row[:3] for row in first.rows] == [row[:3] for row in other.rows]
