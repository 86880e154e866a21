"""What training scripts write beside the weights, under the many names that they use for it."""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeGuard
from unicodedata import category

from cam_engine.errors import CamError, CheckpointInvalid, InvalidOption
from cam_engine.images.preparing import Preprocessing

_NOT_SHOWN = frozenset({"Cc", "Cs"})  # control characters and lone surrogates
_MODEL_NAME = ("model_name", "arch", "architecture", "model_arch", "model", "backbone", "network")
_CLASS_NAMES = (
    *("class_names", "classes", "categories", "idx_to_class", "class_to_idx"),
    *("idx2class", "class2idx", "id2label", "label2id", "label_names"),
    *("CLASSES",),
)
# Of other things too: taken where they are as names of classes are.
_LIKELY_NAMES = (
    *("labels", "target_names", "label_encoder", "le", "vocab", "classes_", "class_map"),
    *("label_map", "idx2label", "label2idx", "idx_to_label", "label_to_idx"),
    *("index_to_class", "class_to_index", "index_to_label", "label_to_index"),
)
_ACCURACY = ("val_acc", "val_accuracy", "best_val_acc", "best_acc", "accuracy")
_EPOCH = ("epoch", "best_epoch")
_INPUT_SIZE = ("input_size", "image_size", "img_size")
_MEAN, _STD = ("mean",), ("std",)
# Entries that hold more of the same, looked into after the checkpoint's own.
_NESTED = (
    *("hyper_parameters", "hparams", "config", "cfg", "args", "meta", "metadata", "dataset_meta"),
    *("preprocessing", "data_config", "pretrained_cfg"),
)

_NAMES = (*_MODEL_NAME, *_CLASS_NAMES, *_LIKELY_NAMES)
WANTED = frozenset({*_NAMES, *_ACCURACY, *_EPOCH, *_INPUT_SIZE, *_MEAN, *_STD})
NESTED = frozenset(_NESTED)

_LARGEST_SIDE = 4096  # pixels; what an untrusted file may ask each image to be blown up to
_PERCENT = 100.0
_SIDES = 2
_MOST_LISTED = 20
_MOST_DIGITS = 9


def model_names_of(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """All that may name the architecture, the likeliest first."""
    values = (value for _, value in _entries(metadata, _MODEL_NAME))
    return tuple(dict.fromkeys(v.strip() for v in values if isinstance(v, str) and v.strip()))


def class_names_of(metadata: Mapping[str, object], path: Path) -> tuple[str, ...] | None:
    """The class names in the order of the outputs, None where there are none.

    Lists, and dicts from index to name or name to index. Raises CheckpointInvalid for names that
    are not text, repeat, or whose indices do not count from 0.
    """
    for key, value in _entries(metadata, _CLASS_NAMES):
        where = f"{key} in {path}"
        if isinstance(value, Mapping):
            return checked_names(_by_index(value, where), where, CheckpointInvalid)
        if isinstance(value, list | tuple):
            return checked_names(value, where, CheckpointInvalid)
    for key, value in _entries(metadata, _LIKELY_NAMES):
        if isinstance(value, list | Mapping) and len(value) > 1:
            with suppress(CheckpointInvalid):
                names = _by_index(value, key) if isinstance(value, Mapping) else value
                return checked_names(names, key, CheckpointInvalid)
    return None


def unread_names(metadata: Mapping[str, object]) -> str | None:
    """The key of class names that are there, but of a kind that is not read; None without one.

    None stands for those that are no plain value, such as a set, which has no order. A text may be
    of several names.
    """
    places = [metadata, *(metadata.get(name) for name in _NESTED)]
    return next(
        (
            key
            for place in places
            if isinstance(place, Mapping)
            for key in _CLASS_NAMES
            if key in place and (place[key] is None or isinstance(place[key], str))
        ),
        None,
    )


def checked_names(
    names: Sequence[object], where: str, error: type[CamError] = InvalidOption
) -> tuple[str, ...]:
    """The names as a tuple, or `error` where they are not text, empty or repeated."""
    if isinstance(names, str):
        raise error(f"{where}: {_shown(names)} is one text; give a list with a name for each class")
    texts = [name for name in names if isinstance(name, str) and name.strip()]
    if len(texts) < len(names):
        wrong = next(n for n in names if not isinstance(n, str) or not n.strip())
        raise error(f"{where}: {_shown(wrong)} is no class name; each must be text and not empty")
    strange = next((n for n in texts if any(category(c) in _NOT_SHOWN for c in n)), None)
    if strange is not None:
        raise error(f"{where}: class name {_shown(strange)} holds characters that cannot be shown")
    repeated = sorted(name for name, count in Counter(texts).items() if count > 1)
    if repeated:
        raise error(f"{where}: class names are repeated: {_listed(repeated)}")
    return tuple(texts)


def accuracy_of(metadata: Mapping[str, object]) -> float | None:
    """Validation accuracy, 0..1; files hold 0..1 or percent, above 1 being percent."""
    for _, value in _entries(metadata, _ACCURACY):
        if _is_number(value) and 0.0 <= float(value) <= _PERCENT:
            return float(value) if value <= 1.0 else float(value) / _PERCENT
    return None


def epoch_of(metadata: Mapping[str, object]) -> int | None:
    """The epoch that the weights are from, counted as the training script counted."""
    for _, value in _entries(metadata, _EPOCH):
        if _is_number(value) and float(value).is_integer():
            return int(value)
    return None


def preprocessing_of(
    metadata: Mapping[str, object],
    path: Path,
    default: Preprocessing,
    *,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Preprocessing:
    """What was passed; where nothing was, what the file says; where it is silent, the default.

    Raises InvalidOption for bad values that were passed, CheckpointInvalid for those of the file.
    """
    passed = {"input_size": input_size, "mean": mean, "std": std}
    given = {name: value for name, value in passed.items() if value is not None}
    recorded = {
        name: value
        for name, keys in (("input_size", _INPUT_SIZE), ("mean", _MEAN), ("std", _STD))
        for _, value in islice(_entries(metadata, keys), 1)
        if name not in given
    }
    try:
        from_file = _preprocessing(default, recorded)
    except InvalidOption as error:
        names = ", ".join(recorded)
        raise CheckpointInvalid(f"{path}: {error}; pass {names} to overrule the file") from error
    return _preprocessing(from_file, given)


def said_size(
    metadata: Mapping[str, object], path: Path, passed: int | tuple[int, int] | None
) -> tuple[int, int] | None:
    """(height, width) that was passed, else that the file says; None where neither does.

    Raises as `preprocessing_of`.
    """
    known = preprocessing_of(
        metadata, path, _UNSAID, input_size=passed, mean=_UNSAID.mean, std=_UNSAID.std
    ).input_size
    return None if known == _UNSAID.input_size else known


def sources_of_preprocessing(
    metadata: Mapping[str, object], passed: Mapping[str, object], default: str
) -> dict[str, str]:
    """Where input_size, mean and std are from: passed, in the file, or the default's own words."""
    keys = {"input_size": _INPUT_SIZE, "mean": _MEAN, "std": _STD}
    entries = {name: next(_entries(metadata, names), None) for name, names in keys.items()}
    return {
        name: "passed"
        if passed.get(name) is not None
        else f"{entry[0]} in the file"
        if entry is not None
        else default
        for name, entry in entries.items()
    }


_UNSAID = Preprocessing((1, 1))


def _preprocessing(base: Preprocessing, values: Mapping[str, object]) -> Preprocessing:
    kept = "mean" not in values and "std" not in values
    return Preprocessing(
        input_size=_size(values["input_size"]) if "input_size" in values else base.input_size,
        mean=_channels("mean", values["mean"]) if "mean" in values else base.mean,
        std=_channels("std", values["std"]) if "std" in values else base.std,
        divided_by_255=kept and base.divided_by_255,
    )


def _size(value: object) -> tuple[int, int]:
    """(height, width) of n, (h, w) or (channels, h, w)."""
    sides = list(value) if isinstance(value, list | tuple) else [value] * _SIDES
    if len(sides) == _SIDES + 1 and sides[0] == 3:  # R, G, B
        del sides[0]
    numbers = [int(side) for side in sides if _is_number(side) and float(side).is_integer()]
    if len(numbers) != len(sides) or len(sides) != _SIDES:
        raise InvalidOption(f"input_size must be a size or (height, width), got {_shown(value)}")
    if max(numbers) > _LARGEST_SIDE:
        raise InvalidOption(f"input_size must be {_LARGEST_SIDE} at most, got {_shown(value)}")
    return numbers[0], numbers[1]


def _channels(name: str, value: object) -> tuple[float, float, float]:
    """Of R, G and B; one number is that of all, and one of an alpha after them is left out."""
    if isinstance(value, Sequence) and all(map(_is_number, value)):
        numbers = [float(number) for number in value]
        if len(numbers) == 1:
            numbers *= 3
        if len(numbers) in (3, 4):
            return numbers[0], numbers[1], numbers[2]
    raise InvalidOption(f"{name} must be three numbers, one a channel, got {_shown(value)}")


def _entries(metadata: Mapping[str, object], keys: Sequence[str]) -> Iterator[tuple[str, object]]:
    """(key, value) of the entries under these keys, in their order, nested entries last."""
    sources = [metadata]
    for name in _NESTED:
        nested = metadata.get(name)
        sources += [nested] if isinstance(nested, Mapping) else []
    for source in sources:
        for key in keys:
            value = source.get(key)
            if value is not None:
                yield key, value


def _by_index(names: Mapping[object, object], where: str) -> list[object]:
    """Names in the order of their indices, of {index: name} or {name: index}."""
    pairs = list(names.items())
    if all(isinstance(value, int) for _, value in pairs) or (
        _are_numbers(names.values()) and not _are_numbers(names)
    ):
        pairs = [(value, key) for key, value in pairs]
    indexed = {_index(index, where): name for index, name in pairs}
    if sorted(indexed) != list(range(len(pairs))):
        raise CheckpointInvalid(
            f"{where} has the indices {_listed([str(index) for index in sorted(indexed)])}: they "
            f"must count from 0 to {len(pairs) - 1}"
        )
    return [indexed[index] for index in range(len(pairs))]


def _are_numbers(values: Iterable[object]) -> bool:
    """Whether all are whole numbers written as text."""
    return all(isinstance(value, str) and value.isdecimal() for value in values)


def _index(index: object, where: str) -> int:
    text = str(index) if isinstance(index, str | int) else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise CheckpointInvalid(f"{where} does not map indices to names: {_shown(index)}")
    return int(text)


class _Short(reprlib.Repr):
    """Values of files for messages: of those with many others in them, the first few."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 5
        self.maxstring = self.maxlong = 80

    def repr_instance(self, x: object, level: int) -> str:
        """Its own text may be as long as it likes."""
        return f"<{type(x).__name__}>"


def _shown(value: object) -> str:
    """A value of a file for a message, in bounded time and length."""
    return repr(value) if isinstance(value, bool | int | float | None) else _Short().repr(value)


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    return ", ".join(text[:80] for text in texts[:_MOST_LISTED]) + more


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
