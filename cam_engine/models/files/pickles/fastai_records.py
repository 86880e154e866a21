"""What fastai keeps of a training beside its network: names of classes, mean and std, image size.

`learn.export` writes the learner with its `DataLoaders`, in which `Categorize` has the classes in
their order, `Normalize` mean and std, and `Resize` the size (https://docs.fast.ai/data.transforms.html).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cam_engine.models.files.pickles.reading import Call, Items, Pairs, PickleRefused
from cam_engine.models.files.pickles.values import (
    Budget,
    ReadStorage,
    TensorNote,
    attributes,
    plain,
)

_LIBRARY = "fastai."
_CATEGORIZE = "fastai.data.transforms.Categorize"
_NORMALIZE = "fastai.data.transforms.Normalize"
_AUGMENT = "fastai.vision.augment."
# What gives each image a size. Others that have one are of batches, and come later.
_OF_IMAGES = frozenset(
    {"Resize", "RandomResizedCrop", "RandomCrop", "OldRandomCrop", "CropPad", "RatioResize"}
)


def is_of_fastai(names: Collection[str]) -> bool:
    """Whether a pickle names its classes, by all that it names."""
    return any(name.startswith(_LIBRARY) for name in names)


def fastai_facts(values: Iterable[object], storage: ReadStorage | None) -> dict[str, object]:
    """Of the objects in these values: vocab, mean, std and input_size, as far as they are there.

    What several of them say in different ways is left out, and all where there are very many.
    """
    try:
        return _facts(_calls(values), storage)
    except PickleRefused:
        return {}


def _facts(calls: Iterable[Call], storage: ReadStorage | None) -> dict[str, object]:
    vocabularies: list[object] = []
    normalised: list[tuple[object, object]] = []
    of_images: list[object] = []
    of_batches: list[object] = []
    for call in calls:
        held = attributes(call)
        if call.name == _CATEGORIZE:
            vocabularies.append(plain(held.get("vocab"), storage))
        elif call.name == _NORMALIZE:
            mean, std = (_flat(plain(held.get(key), storage)) for key in ("mean", "std"))
            normalised.append((mean, std))
        elif call.name.startswith(_AUGMENT) and held.get("size") is not None:
            is_of_images = call.name.removeprefix(_AUGMENT) in _OF_IMAGES
            (of_images if is_of_images else of_batches).append(plain(held["size"], storage))
    facts: dict[str, object] = {"vocab": _same(vocabularies)}
    statistics = _same(normalised)
    if isinstance(statistics, tuple):
        facts["mean"], facts["std"] = statistics
    facts["input_size"] = _same(of_batches or of_images)
    return {key: value for key, value in facts.items() if value is not None}


def _same(values: list[object] | list[tuple[object, object]]) -> object:
    """The one value that all of them are; None where there are none, or several."""
    return values[0] if values and all(value == values[0] for value in values) else None


def _flat(value: object) -> object:
    """Three numbers of an array (1, 3, 1, 1)."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list):
        return None
    return [_first(one) for one in value]


def _first(value: object) -> object:
    while isinstance(value, list) and len(value) == 1:
        (value,) = value
    return value


def _calls(values: Iterable[object]) -> Iterator[Call]:
    """All objects in the values, each once. Raises PickleRefused where there are very many."""
    budget = Budget()
    seen: set[int] = set()
    waiting = [*values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, TensorNote) or id(value) in seen:
            continue
        inside: list[object] = []
        match value:
            case Call():
                pairs = [part for pair in value.pairs for part in pair]
                inside = [*value.arguments, value.state, *value.items, *pairs]
                yield value
            case Items():
                inside = value.values
            case Pairs():
                inside = [part for pair in value.pairs for part in pair]
            case _:
                continue
        seen.add(id(value))
        budget.spend(len(inside) + 1)
        waiting += inside
