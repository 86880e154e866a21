"""What was saved, sorted: the weights of one network, and what is beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cam_engine.errors import CheckpointInvalid
from cam_engine.models.files.foreign import SAVE_AGAIN, foreign_object, foreign_weights
from cam_engine.models.files.pickles.module_records import ModuleRecord, is_module, module_record
from cam_engine.models.files.pickles.reading import Call, Global, Items, Pairs, Value
from cam_engine.models.files.pickles.values import TensorNote, shallow

WEIGHT_KEYS = (
    "model_state_dict",
    "state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "model_weights",
    "params",
)
_OF_OPTIMISERS = "optimizer"
_MOST_LOOKED = 1_000_000  # entries of all that weights may be in
_MOST_PARTS = 20
_MOST_IN_A_HEAD = 8  # tensors of what cannot be told to be one network twice
_PLACES_OF_LOSSES = frozenset({"loss", "losses"})  # modules, as of torch.nn, timm and fastai
_MOST_AROUND = 2  # tuples and dicts around that of the weights
_AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")


@dataclass(frozen=True, slots=True)
class Entries:
    """What was saved, sorted: the weights, and the entries beside them.

    key: of the entry with the weights; None where they were saved without others. record: where a
    whole network was saved, its modules. averaged: keys of averages of several steps that are not
    used. others: those of other networks.
    """

    weights: Mapping[str, TensorNote]
    beside: Mapping[str, object]
    key: str | None = None
    record: ModuleRecord | None = None
    averaged: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def sorted_out(saved: Value, path: Path, *, averaged: bool = False) -> Entries:
    """Weights and what is beside them, also in a tuple, or in a dict within another.

    averaged: those of several steps, which training scripts keep beside the last ones. Raises
    CheckpointInvalid without weights.
    """
    around: dict[str, object] = {}
    looked = _Looked()
    for _ in range(_MOST_AROUND):
        inner, beside = _inside(saved, path, looked)
        if inner is None:
            break
        saved, around = inner, {**around, **beside}
    entries = _sorted_out(saved, path, looked, averaged=averaged)
    return replace(entries, beside={**around, **entries.beside}) if around else entries


class _Looked:
    """How many weights values hold, looked up once each, of as many as honest files have.

    They may be referred to often, and what they hold as well.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._within: dict[int, bool] = {}
        self._left = _MOST_LOOKED

    def _may_look_into(self, value: Pairs | Call) -> bool:
        state = value.state if isinstance(value, Call) else None
        states = state.values if isinstance(state, Items) else [state]
        pairs = [part.pairs for part in (value, *states) if isinstance(part, Pairs | Call)]
        self._left -= sum(map(len, pairs)) + 1
        return self._left >= 0

    def count(self, value: object) -> int:
        """Of a dict of tensors, how many; 1 for a network; else 0, also of a loss."""
        if not isinstance(value, Pairs | Call) or _is_loss(value):
            return 0
        if id(value) not in self._counts:
            if not self._may_look_into(value):
                return 0
            self._counts[id(value)] = 1 if is_module(value) else len(_tensors(value))
        return self._counts[id(value)]

    def hold_weights(self, value: object) -> bool:
        """Whether it is a network, or a dict of tensors, or of one of them."""
        if not isinstance(value, Pairs | Call):
            return False
        if id(value) not in self._within:
            if not self._may_look_into(value):
                return False
            held = shallow(value) if not self.count(value) else {}
            entries = _but_optimisers(held) if isinstance(held, Mapping) else []
            self._within[id(value)] = bool(self.count(value)) or any(
                self.count(entry) for _, entry in entries
            )
        return self._within[id(value)]


def _is_loss(value: Pairs | Call) -> bool:
    """Whether it is what a training minimises, by its class's name: a module, but no network.

    One with many tensors has a network in it.
    """
    if not isinstance(value, Call):
        return False
    *places, kind = value.name.lower().split(".")
    if not kind.endswith("loss") and _PLACES_OF_LOSSES.isdisjoint(places):
        return False
    record = module_record(value)
    return record is None or len(record.state()) <= _MOST_IN_A_HEAD


def _inside(saved: Value, path: Path, looked: _Looked) -> tuple[Value, dict[str, object]]:
    """(the one part of it that holds weights, what is beside that); None where it holds them."""
    if looked.hold_weights(saved):
        return None, {}
    if isinstance(saved, Items):
        networks = [value for value in saved.values if looked.hold_weights(value)]
        if len(networks) > 1:
            raise CheckpointInvalid(
                f"{path} holds {len(networks)} networks in a list: save each in a file of its own"
            )
        return (networks[0] if networks else None), {}
    held = shallow(saved)
    entries = held if isinstance(held, Mapping) else {}
    keys = [key for key, value in _but_optimisers(entries) if looked.hold_weights(value)]
    if len(keys) != 1:
        return None, {}
    return entries[keys[0]], {str(k): v for k, v in entries.items() if k != keys[0]}


def _but_optimisers(entries: Mapping[Any, object]) -> list[tuple[Any, object]]:
    return [pair for pair in entries.items() if not str(pair[0]).startswith(_OF_OPTIMISERS)]


def _sorted_out(saved: Value, path: Path, looked: _Looked, *, averaged: bool) -> Entries:
    record = module_record(saved)
    if record is not None:
        return Entries(record.state(), {}, record=record)
    held = shallow(saved)
    if isinstance(saved, Call) and foreign_object(saved.name) is not None:
        held = None
    if not isinstance(held, Mapping):
        raise CheckpointInvalid(f"{path} holds {_kind(saved)}")
    entries = {str(key): value for key, value in held.items()}
    bare = {key: value for key, value in entries.items() if isinstance(value, TensorNote)}
    sets = {key: value for key, value in _but_optimisers(entries) if looked.count(value)}
    means = tuple(key for key in _AVERAGED if key in sets)
    if averaged and not means:
        raise CheckpointInvalid(
            f"{path} holds no averaged weights, under {', '.join(_AVERAGED)}; load its others"
        )
    named = [key for key in WEIGHT_KEYS if key in sets]
    unnamed = [key for key in sets if key not in _AVERAGED and key not in WEIGHT_KEYS]
    if not averaged and not named and sum(looked.count(sets[key]) for key in unnamed) < len(bare):
        return Entries(bare, {key: value for key, value in entries.items() if key not in bare})
    if not averaged and not named and len(unnamed) > 1:
        return _put_together({key: sets[key] for key in unnamed}, entries, path)
    for key in means if averaged else (*named, *unnamed, *means):
        record = module_record(sets[key])
        beside = {k: v for k, v in entries.items() if k != key}
        return Entries(
            record.state() if record is not None else _tensors(sets[key]),
            beside,
            key,
            record,
            tuple(k for k in means if k != key),
            tuple(k for k in (*named, *unnamed) if k != key),
        )
    if bare:
        return Entries(bare, {key: value for key, value in entries.items() if key not in bare})
    raise CheckpointInvalid(f"{path} {_no_weights(entries)}")


def _no_weights(entries: Mapping[str, object]) -> str:
    if entries.keys() == {"state", "param_groups"}:
        return "is the state of an optimiser: name the file with the network's weights"
    there = ", ".join(key[:80] for key in list(entries)[:8]) or "nothing"
    return (
        f"holds no model weights, under {', '.join(WEIGHT_KEYS[:4])} or bare; its entries are "
        f"{there}; {SAVE_AGAIN}"
    )


def _put_together(sets: Mapping[str, object], entries: Mapping[str, object], path: Path) -> Entries:
    """Parts of one network, each in an entry of its own: a backbone, and its head.

    Raises CheckpointInvalid for several networks, whose keys are the same.
    """
    some = dict(islice(sets.items(), _MOST_PARTS))
    weights = {key: _tensors(value) for key, value in some.items()}
    large = [set(weight) for weight in weights.values() if len(weight) > _MOST_IN_A_HEAD]
    alike = any(
        2 * len(one & other) > min(len(one), len(other))
        for number, one in enumerate(large)
        for other in large[:number]
    )
    if alike or len(sets) > _MOST_PARTS or any(is_module(value) for value in some.values()):
        raise CheckpointInvalid(
            f"{path} holds several networks, {', '.join(key[:80] for key in list(sets)[:8])}: save "
            "each in a file of its own"
        )
    together = {f"{key}.{name}": one for key, own in weights.items() for name, one in own.items()}
    return Entries(together, {k: v for k, v in entries.items() if k not in sets})


def check_keys(keys: Collection[str], path: Path, names: Collection[str] = ()) -> None:
    """Refuse weights that are of no network by themselves. Raises CheckpointInvalid.

    names: all that the file's pickle names.
    """
    what = foreign_weights(keys, names)
    if what is not None:
        raise CheckpointInvalid(f"{path} holds {what}")


def _tensors(value: object) -> dict[str, TensorNote]:
    """The tensors of a state dict by name; empty for anything else."""
    held = shallow(value)
    if not isinstance(held, Mapping):
        return {}
    return {k: v for k, v in held.items() if isinstance(k, str) and isinstance(v, TensorNote)}


def _kind(value: Value) -> str:
    """What a value is, in a word."""
    match value:
        case Call() | Global():
            told = foreign_object(value.name)
            return told or f"an object of {value.name[:200] or 'no name'}, not a dict of weights"
        case Items(is_tuple=True):
            return "a tuple, not a dict of weights"
        case Items():
            return "a list, not a dict of weights"
    return f"a {type(value).__name__}, not a dict of weights"
