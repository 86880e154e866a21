"""What was left out, by reason and with a few examples: said by whoever lists images or models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from cam_engine.short_names import speakable

Reason = Literal[
    "another-kind",
    "format-not-read",
    "own-picture",
    "output-folder",
    "other-program",
    "hidden",
    "linked-again",
    "link-loop",
    "link-broken",
    "leads-out",
    "name-not-utf8",
    "no-path",
    "not-readable",
    "no-checkpoint",
]

MOST_EXAMPLES = 4

# After the number, before the examples: of one, of several.
_WORDS: Mapping[Reason, tuple[str, str]] = MappingProxyType(
    {
        "not-readable": ("that cannot be read", "that cannot be read"),
        "format-not-read": ("in a format that is not read", "in formats that are not read"),
        "link-broken": ("link that leads nowhere", "links that lead nowhere"),
        "leads-out": ("link out of the data root", "links out of the data root"),
        "name-not-utf8": (
            "under a name that is not UTF-8, to be renamed",
            "under names that are not UTF-8, to be renamed",
        ),
        "no-path": ("key of a bucket that is no path", "keys of a bucket that are no paths"),
        "linked-again": (
            "link to what is there already",
            "links to what is there already",
        ),
        "link-loop": ("link to a folder around it", "links to folders around them"),
        "own-picture": ("picture made by this software", "pictures made by this software"),
        "output-folder": ("image in the output folder", "images in the output folder"),
        "other-program": (
            "image in a folder of another program",
            "images in folders of other programs",
        ),
        "hidden": ("hidden", "hidden"),
        "no-checkpoint": ("cls_ folder without best.pt", "cls_ folders without best.pt"),
        "another-kind": ("of another kind", "of another kind"),
    }
)


@dataclass(frozen=True, slots=True)
class SkippedKind:
    """How many were left out for one reason, and what some of them are called."""

    reason: Reason
    count: int
    examples: tuple[str, ...]

    @property
    def words(self) -> str:
        """For a person: "3 of another kind: .pdf, .txt"."""
        one, several = _WORDS[self.reason]
        text = f"{self.count} {one if self.count == 1 else several}"
        more = ", ..." if len(self.examples) == MOST_EXAMPLES < self.count else ""
        return f"{text}: {', '.join(self.examples)}{more}" if self.examples else text


@dataclass(frozen=True, slots=True)
class Skipped:
    """All that was left out; kinds: those that a person should see first come first."""

    kinds: tuple[SkippedKind, ...] = ()

    @property
    def total(self) -> int:
        """Files, or folders where what is in them is not known."""
        return sum(kind.count for kind in self.kinds)

    @property
    def words(self) -> str:
        """For a person; "" where nothing was left out."""
        return f"{self.total} ({'; '.join(kind.words for kind in self.kinds)})" if self else ""

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return bool(self.kinds)

    def __add__(self, other: Skipped) -> Skipped:
        """Both."""
        return Tally.of((*self.kinds, *other.kinds)).skipped()


NOTHING = Skipped()


@dataclass(slots=True)
class Tally:
    """Counts while somebody looks."""

    _counts: dict[Reason, int] = field(default_factory=dict)
    _examples: dict[Reason, list[str]] = field(default_factory=dict)

    @staticmethod
    def of(kinds: Iterable[SkippedKind]) -> Tally:
        """What was counted before."""
        tally = Tally()
        for kind in kinds:
            tally.add(kind.reason, *kind.examples, count=kind.count)
        return tally

    def add(self, reason: Reason, *examples: str, count: int = 1) -> None:
        """So many more for the reason; none where count is 0."""
        if count == 0:
            return
        self._counts[reason] = self._counts.get(reason, 0) + count
        known = self._examples.setdefault(reason, [])
        for example in map(speakable, examples):
            if len(known) < MOST_EXAMPLES and example not in known:
                known.append(example)

    def skipped(self) -> Skipped:
        """What was counted so far."""
        return Skipped(
            tuple(
                SkippedKind(reason, self._counts[reason], tuple(self._examples[reason]))
                for reason in _WORDS
                if reason in self._counts
            )
        )
