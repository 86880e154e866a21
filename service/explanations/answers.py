"""Answers that can be had again: what was computed, by digest, bounded by bytes."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace

from cam_engine.images.decoded import ImageFacts
from cam_engine.options import CamOptions
from cam_engine.pictures.picture_set import ShownImage
from cam_engine.pictures.recipes import Recipes, RunFacts
from cam_engine.results import Explanation
from service.explanations.large_images import LargeImage
from service.explanations.requests import ExplanationOptions
from service.models.model_cache import LoadedModel

_OVERHEAD_BYTES = 2048  # objects around files and maps


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image as it came: its file's bytes and their digest, and what it is called.

    data: empty in an answer that is kept, where a LargeImage stands for it. stored: whether it lies
    below the data root, its name being its path there.
    """

    data: bytes
    sha256: str
    name: str
    true_class: str | None = None
    stored: bool = False

    @property
    def title(self) -> str:
        """The name without folders and suffix, as figures and files show it."""
        last = self.name.replace("\\", "/").rsplit("/", 1)[-1]
        return last.rsplit(".", 1)[0] or last or "image"


@dataclass(frozen=True, slots=True)
class Explained:
    """One image and its explanation.

    size: (H, W) in pixels of its pictures. facts: what was done to make its pixels. large: what is
    kept of a large image. shown: the pixels of another, where they are at hand; else they are
    decoded from the file's bytes again.
    """

    source: ImageSource
    explanation: Explanation
    size: tuple[int, int]
    facts: ImageFacts
    large: LargeImage | None = None
    shown: ShownImage | None = None

    def without_pixels(self) -> Explained:
        """The same, to be kept for long."""
        source = self.source if self.large is None else replace(self.source, data=b"")
        return replace(self, source=source, shown=None)


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """What an answer says of the model that it is from."""

    id: str
    name: str
    architecture: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a POST computed: one image's explanation, or several for a contact sheet.

    run: what its pictures share, as `recipes` put it into words. heading: of a contact sheet; None
    for the answer on one image.
    """

    digest: str
    model: ModelLabel
    options: ExplanationOptions
    run: RunFacts
    recipes: Recipes
    items: tuple[Explained, ...]
    heading: str | None = None

    @property
    def cam_options(self) -> CamOptions:
        """The engine's options that were really used."""
        return self.run.options

    @property
    def is_sheet(self) -> bool:
        """Whether it answers for an experiment and not for one image."""
        return self.heading is not None

    def notices(self, item: Explained) -> tuple[str, ...]:
        """What was assumed of the model and of an item's pixels, as sentences."""
        return (*self.recipes.notices, *item.facts.notices)

    def without_pixels(self) -> Answer:
        """The same, to be kept for long."""
        return replace(self, items=tuple(item.without_pixels() for item in self.items))

    @property
    def large_images(self) -> tuple[LargeImage, ...]:
        """What is kept of its large images; other answers may hold the same."""
        return tuple(item.large for item in self.items if item.large is not None)

    @property
    def bytes_used(self) -> int:
        """Bytes held: files and maps, and something for the rest; large images not counted."""
        maps = (layer.values.nbytes for item in self.items for layer in item.explanation.layers)
        files = (len(item.source.data) for item in self.items)
        return sum(maps) + sum(files) + _OVERHEAD_BYTES


def make_answer(
    model: LoadedModel,
    options: ExplanationOptions,
    cam_options: CamOptions,
    items: tuple[Explained, ...],
    heading: str | None = None,
) -> Answer:
    """The answer, with the digest of all that it depends on; cam_options: those really used."""
    run, recipes = model.run(cam_options)
    return answer_of(model.name, options, run, recipes, items, heading)


def answer_of(
    model_name: str,
    options: ExplanationOptions,
    run: RunFacts,
    recipes: Recipes,
    items: tuple[Explained, ...],
    heading: str | None,
) -> Answer:
    """The same from its parts; model_name: that of its folder."""
    # The run's digest covers the model's id and file, the versions, and what maps depend on.
    words = [recipes.run_digest, options.model_dump_json(), heading or ""]
    for item in items:
        words += [item.source.sha256, item.source.name, item.source.true_class or ""]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()
    label = ModelLabel(run.model, model_name, run.architecture, run.model_sha256)
    return Answer(digest, label, options, run, recipes, items, heading)


class AnswerCache:
    """The last answers, by digest; used in one event loop only."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._used = 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._holders: Counter[LargeImage] = Counter()  # in how many answers each one is

    @property
    def bytes_used(self) -> int:
        """Bytes held by all of them; what several answers share counts once."""
        return self._used

    def put(self, answer: Answer) -> None:
        """Keep the answer; the least recently used ones make room for it."""
        self._forget(answer.digest)
        kept = answer.without_pixels()
        self._answers[answer.digest] = kept
        self._used += kept.bytes_used
        for image in kept.large_images:
            self._used += 0 if self._holders[image] else image.bytes_used
            self._holders[image] += 1
        while self._used > self._most_bytes:
            self._forget(next(iter(self._answers)))

    def get(self, digest: str) -> Answer | None:
        """The answer, if it is here; it counts as used."""
        if digest in self._answers:
            self._answers.move_to_end(digest)
        return self._answers.get(digest)

    def peek(self, digest: str) -> Answer | None:
        """The same, which does not count as used."""
        return self._answers.get(digest)

    def _forget(self, digest: str) -> None:
        answer = self._answers.pop(digest, None)
        if answer is None:
            return
        self._used -= answer.bytes_used
        for image in answer.large_images:
            self._holders[image] -= 1
            if not self._holders[image]:
                del self._holders[image]
                self._used -= image.bytes_used
