"""Which crops of an experiment show one and the same cell, and what that does to its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cam_engine.class_names import folded
from cam_engine.errors import CamError
from cam_engine.evidence.images.twins import (
    Fingerprint,
    Twin,
    Twins,
    connected,
    find_twins,
    fingerprint,
)
from cam_engine.images.decoding import decode_image, read_image_bytes
from cam_engine.reports.crops import Crop


@dataclass(frozen=True, slots=True)
class TwinCrops:
    """The crops, their twins by index, and the indices of those whose pictures were compared."""

    crops: tuple[Crop, ...]
    twins: Twins
    compared: frozenset[int]

    @property
    def clusters(self) -> tuple[str, ...]:
        """(crops,): each crop's cluster, where clusters that twins connect are one.

        This is what to resample: crops of two clusters share no cell, as far as was seen.
        """
        clusters = [crop.cluster for crop in self.crops]
        numbers = {name: number for number, name in enumerate(sorted(set(clusters)))}
        names = list(numbers)
        links = [
            (numbers[clusters[group[0]]], numbers[clusters[other]])
            for group in self.twins.groups
            for other in group[1:]
        ]
        merged = dict(zip(names, names, strict=True))
        for group in connected(links, len(names)):
            merged |= {names[number]: names[group[0]] for number in group}
        return tuple(merged[name] for name in clusters)

    def leaked(self, split: str) -> dict[int, frozenset[str]]:
        """By index of the split's crops that show a cell of other splits, those splits."""
        return {
            index: elsewhere
            for group in self.twins.groups
            if (elsewhere := frozenset(self.crops[i].split for i in group) - {split})
            for index in group
            if self.crops[index].split == split
        }

    @property
    def conflicts(self) -> tuple[tuple[int, ...], ...]:
        """The groups whose crops do not all have one label."""
        return tuple(
            group
            for group in self.twins.groups
            if len({folded(self.crops[index].label) for index in group}) > 1
        )

    def crosses(self, twin: Twin) -> bool:
        """Whether the two are in different splits."""
        return self.crops[twin.one].split != self.crops[twin.other].split

    def contradicts(self, twin: Twin) -> bool:
        """Whether the two have different labels."""
        one, other = self.crops[twin.one].label, self.crops[twin.other].label
        return folded(one) != folded(other)

    def pairs(self, split: str) -> list[Twin]:
        """What matters first: labels that differ, the split with another, and two other splits.

        Of each kind, those least alike come first.
        """

        def rank(twin: Twin) -> tuple[bool, bool, bool, float]:
            apart = self.crosses(twin)
            of_split = split in {self.crops[twin.one].split, self.crops[twin.other].split}
            return not self.contradicts(twin), not (apart and of_split), not apart, twin.correlation

        return sorted(self.twins.pairs, key=rank)


def look_for_twins(crops: Sequence[Crop]) -> TwinCrops:
    """Compare all crops whose pictures can be read; of each, about 10 kB are kept meanwhile."""
    prints = [_print_of(crop) for crop in crops]
    compared = frozenset(index for index, one in enumerate(prints) if one is not None)
    return TwinCrops(tuple(crops), find_twins(prints), compared)


def _print_of(crop: Crop) -> Fingerprint | None:
    if crop.path is None:
        return None
    try:
        data = read_image_bytes(crop.path)
        return fingerprint(decode_image(data), data)
    except CamError:
        return None
