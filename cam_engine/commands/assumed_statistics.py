"""Whether mean and std that no file records are those that the network was trained with.

Where nobody says them they are assumed, and a network that was trained with others is wrong far
more often. Crops whose classes are known tell: the network looks at the same ones with each of the
usual statistics, and where others make more of them right than chance would, that is said.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cam_engine.class_names import class_index
from cam_engine.experiments.finding import Experiment, ImageItem
from cam_engine.experiments.folder_depth import FolderDepth
from cam_engine.experiments.picking import pick_images
from cam_engine.images.decoding import DEFAULT_LIMITS
from cam_engine.images.preparing import IMAGENET_MEAN, IMAGENET_STD, Channels, Preprocessing
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import Classifier
from cam_engine.options import CamOptions
from cam_engine.outputs.pipeline import truth_margins

AS_READ = "as read"
MOST_CROPS = 64
_FIRST_CROPS = 16  # the others are looked at where these leave a doubt
_CHANCE = 0.01
_LEAST_WRONG = 0.01  # of images of validation, whatever a file says
_SEED = 0
# Crops that the network was not trained on, where there are any.
_SPLITS = (("val", "test"), ("train",))


@dataclass(frozen=True, slots=True)
class Statistics:
    """mean, std: of R, G and B on the scale 0..1. name: for a sentence."""

    name: str
    mean: Channels
    std: Channels

    @property
    def in_sidecar(self) -> str:
        """What stands for them in a sidecar, between its braces."""
        return json.dumps({"mean": self.mean, "std": self.std})[1:-1]


USUAL = (
    Statistics("ImageNet's statistics", IMAGENET_MEAN, IMAGENET_STD),
    Statistics("mean and std of 0.5", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Statistics("values of 0..1 as they are", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """Of so many labelled crops, how many are right, by name of the statistics.

    better: those by which more are right than as read, and by more than chance; None for none.
    """

    crops: int
    right: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    better: Statistics | None = None

    @property
    def words(self) -> str:
        """For a person: "16 labelled crops: right are 15 as read, 9 with ..."."""
        counts = (
            f"{count} {name if name == AS_READ else f'with {name}'}"
            for name, count in self.right.items()
        )
        return f"{self.crops} labelled crops: right are {', '.join(counts)}"


def are_assumed(classifier: Classifier) -> bool:
    """Whether nobody says its mean and std: no file, and no person."""
    return all(classifier.sources.get(name, "").startswith("assumed") for name in ("mean", "std"))


def labelled_crops(experiment: Experiment) -> list[ImageItem]:
    """Its crops with a folder of a class around them, of the splits that say most."""
    for splits in _SPLITS:
        items = [item for split in splits for item in experiment.look_for_images(split).items]
        if labelled := [item for item in items if item.true_class is not None]:
            return labelled
    return []


def compare_statistics(classifier: Classifier, crops: Sequence[ImageItem]) -> Compared | None:
    """Look at some of the crops with its own statistics and with the usual others.

    As many of each class as there are, without CLAHE, always the same ones. None where they are of
    fewer than two of its classes. Raises OutOfMemory, NonFiniteOutput.
    """
    names = classifier.class_names
    known = [crop for crop in crops if class_index(crop.true_class, names) is not None]
    if len(_by_class(known, names)) < 2:
        return None
    some = pick_images(pick_images(known, len(known), "random", _SEED), MOST_CROPS)
    compared = _compared(classifier, some[:_FIRST_CROPS])
    as_read = compared.right[AS_READ]
    if len(some) > _FIRST_CROPS and max(compared.right.values()) > as_read:
        compared = _compared(classifier, some)
    return compared


def warning(compared: Compared, sidecar: str, *, is_there: bool) -> str | None:
    """What to write where, if other statistics are better; None if none are.

    sidecar: its name. is_there: whether there is one already.
    """
    better = compared.better
    if better is None:
        return None
    line = better.in_sidecar
    what = f"add {line} to {sidecar}" if is_there else f"write {{{line}}} into {sidecar} beside it"
    return (
        f"mean and std are assumed, and others fit better: of {compared.crops} labelled crops "
        f"{compared.right[AS_READ]} are right, and {compared.right[better.name]} with "
        f"{better.name}. If it was trained with these, {what}"
    )


def doubt_after_a_run(classifier: Classifier, right: int, known: int) -> str | None:
    """A pointer to `gradcam inspect`, which takes longer than a run should to be sure of it.

    Where statistics are assumed, and of the images of known class fewer are right than the file
    says of validation, by more than chance; else None.
    """
    said = classifier.val_accuracy
    if said is None or not known or not are_assumed(classifier):
        return None
    if _chance_of_as_many(known - right, known, max(1 - said, _LEAST_WRONG)) >= _CHANCE:
        return None
    return (
        f"{right} of {known} images are right, where the file says {said:.0%} in validation; mean "
        "and std are assumed: gradcam inspect tries others on labelled crops"
    )


def _compared(classifier: Classifier, crops: Sequence[ImageItem]) -> Compared:
    seen = classifier.preprocessing
    as_read = _right(classifier, seen, crops)
    others = {
        usual: _right(classifier, replace(seen, mean=usual.mean, std=usual.std), crops)
        for usual in USUAL
        if (usual.mean, usual.std) != (seen.mean, seen.std)
    }
    # What a network that always says the same class has right is no merit.
    always_one = max(_by_class(crops, classifier.class_names).values()) / len(crops)
    better = [
        usual
        for usual, right in others.items()
        if sum(right) > sum(as_read)
        and _chance_of_both(as_read, right) * len(others) < _CHANCE
        and _chance_of_as_many(sum(right), len(crops), always_one) < _CHANCE
    ]
    counts = {AS_READ: sum(as_read), **{usual.name: sum(right) for usual, right in others.items()}}
    best = max(better, key=lambda usual: counts[usual.name], default=None)
    return Compared(len(crops), MappingProxyType(counts), best)


def _right(
    classifier: Classifier, preprocessing: Preprocessing, crops: Sequence[ImageItem]
) -> list[bool]:
    """Of each crop, whether its class is named; one that cannot be read is not right."""
    explainer = Explainer(
        replace(classifier, preprocessing=preprocessing), batch_size=classifier.most_images
    )
    options = FolderDepth(crops).added_to(CamOptions(clahe=False), crops)
    margins = truth_margins(explainer, crops, options, DEFAULT_LIMITS)
    return [margin is not None and margin > 0 for margin in margins]


def _by_class(crops: Iterable[ImageItem], class_names: Sequence[str]) -> Counter[int | None]:
    return Counter(class_index(crop.true_class, class_names) for crop in crops)


def _chance_of_both(before: Sequence[bool], after: Sequence[bool]) -> float:
    """McNemar's exact test (1947), two-sided: that chance splits those that differ as unevenly."""
    gained = sum(now and not was for was, now in zip(before, after, strict=True))
    lost = sum(was and not now for was, now in zip(before, after, strict=True))
    return min(1.0, 2 * _chance_of_as_many(max(gained, lost), gained + lost, 0.5))


def _chance_of_as_many(count: int, trials: int, chance: float) -> float:
    """Of the binomial distribution: that so many or more of the trials succeed."""
    return sum(
        math.comb(trials, n) * chance**n * (1 - chance) ** (trials - n)
        for n in range(count, trials + 1)
    )
