"""Which network a file's weights are of: by its name, its folder's, or the weights themselves."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from cam_engine.errors import ArchitectureUnknown, CamError, InvalidOption, WeightsMismatch
from cam_engine.models.architectures import NAMINGS, find_architecture, supported
from cam_engine.models.checkpoint_metadata import model_names_of
from cam_engine.models.files.contents import CheckpointContents
from cam_engine.models.fitting.comparing import (
    Fit,
    Hints,
    as_it_is,
    closest_row,
    compare,
    of_torchvision,
)
from cam_engine.models.fitting.heads import headed, sites_of, suggested_head
from cam_engine.models.fitting.parts import Part, parts
from cam_engine.models.fitting.rebuilding import LayerUnknown, rebuilt
from cam_engine.models.libraries.fastai_learners import bodies_of_learners, is_learner, learner
from cam_engine.models.libraries.plugins import (
    GROUP,
    Factory,
    OwnNetwork,
    find_factory,
    made,
    named_factory,
)
from cam_engine.models.libraries.transformers_configs import is_of_transformers
from cam_engine.models.libraries.transformers_networks import (
    TransformersNetwork,
    transformers_network,
)
from cam_engine.models.networks import (
    config_of,
    current_timm_name,
    find_network,
    find_torchvision_model,
    libraries_of,
)
from cam_engine.short_names import first

_log = logging.getLogger(__name__)

FOLDER_PREFIX = "cls_"
BEHIND = ", its head "  # in a source, before the key of a layer that stood beside the network
_IN_WORDS = "--head"  # of an error that a person can do away with
BY_WEIGHTS = "the weights' keys and shapes"
_POSITIONS = ("pos_embed", "pos_embedding")
_SHAPE_OF_POSITIONS = ("batch", "tokens", "channels")
_PATCHES = (16, 14, 32, 8)  # pixels a side


@dataclass(frozen=True, slots=True)
class Chosen:
    """The network that the weights fit without a difference.

    source: who named it. aside: keys of the file that are not the network's. own, library: what a
    lab's own code, or transformers, says of it. assumed: what was taken for granted, as sentences.
    """

    fit: Fit
    source: str
    aside: tuple[str, ...] = ()
    own: OwnNetwork | None = None
    library: TransformersNetwork | None = None
    assumed: tuple[str, ...] = ()


def choose(
    contents: CheckpointContents,
    path: Path,
    network: str | None,
    hints: Hints,
    *,
    is_named: bool,
) -> Chosen:
    """The network of a file.

    network: a lab's own, by name or place; None: whatever the file names. is_named: a sidecar names
    it, which overrules a library's own files. Raises ArchitectureUnknown, WeightsMismatch,
    InvalidOption.
    """
    factory = _factory(network, contents.metadata)
    of_transformers = is_of_transformers(contents.metadata) and not is_named
    if hints.layers and factory is not None:
        raise InvalidOption(f"{path}: its network is made with a head of its own; leave head out")
    if factory is not None:
        return _of_a_factory(*factory, contents, path)
    if of_transformers:
        library = transformers_network(contents.metadata, contents.weights, str(path))
        fit = _as_built(library, hints, path)
        return Chosen(fit, "architectures in config.json", library=library)
    return _fitting(contents, path, hints)


def _fitting(contents: CheckpointContents, path: Path, hints: Hints) -> Chosen:
    """By the names that file and folder say, else by the weights."""
    said = model_names_of(contents.metadata)
    guesses = folder_guesses(path)
    sources = [(name, f"model_name {name!r}") for name in said]
    sources += [(name, f"folder {path.absolute().parent.name!r}") for name in guesses]
    candidates = parts(contents.weights, contents.record)
    first_part = next(candidates)
    try:
        fit, source = _fitting_part(first_part, hints, sources, path)
        return Chosen(fit, source, first_part.aside, assumed=first_part.assumed)
    except (ArchitectureUnknown, WeightsMismatch) as first_error:
        error: CamError = first_error
        for part in candidates:
            try:
                fit, source = _fitting_part(part, hints, sources, path)
            except (ArchitectureUnknown, WeightsMismatch) as later:
                if part.lone_head is not None and _IN_WORDS in str(later):
                    error = later  # all that is in the way
                continue
            if part.lone_head is not None:
                source = f"{source}{BEHIND}{part.lone_head}"
            return Chosen(fit, source, part.aside, assumed=part.assumed)
        own = _of_the_file(first_part, sources)
        if own is None:
            raise error from None
        return Chosen(own, "the file's own layers")


def _of_the_file(part: Part, sources: Sequence[tuple[str, str]]) -> Fit | None:
    """A network that is no library's but of layers that are known: whole, or of fastai."""
    if part.record is not None:
        with suppress(LayerUnknown):
            fit = as_it_is(
                part.record.kind.rpartition(".")[2], rebuilt(part.record, None), part.weights
            )
            return None if fit.differences else fit
    if not is_learner(part.weights):
        return None
    said = [name for name, _ in sources if find_torchvision_model(name)]
    for name in dict.fromkeys((*said, *bodies_of_learners())):
        network = learner(name, part.weights)
        if network is not None:
            return as_it_is(f"fastai learner of {name}", network, part.weights)
    return None


def _as_built(library: TransformersNetwork, hints: Hints, path: Path) -> Fit:
    """The network has its weights already; they are compared and copied as any others.

    But for a head that took the place of its own. Raises WeightsMismatch, InvalidOption.
    """
    network, head = library.network, library.head
    named = f"{library.name} (from architectures in config.json)"
    if not library.unfitting and hints.layers.count("linear") > 1:
        raise WeightsMismatch(
            f"{path}: the weights do not fit {named}: its head ({head}) is one linear layer, not "
            f"{' '.join(hints.layers)}"
        )
    weights = network.state_dict()
    if library.unfitting:
        weights = _with_own_head(library, hints, f"{path}: the weights do not fit {named}")
    built = replace(hints, image_size=library.image_size, layers=())
    return as_it_is(library.name, network, weights, "transformers", built)


def _with_own_head(library: TransformersNetwork, hints: Hints, problem: str) -> dict[str, Tensor]:
    """Put the head that was said into the network; the weights under its names."""
    sites = sites_of(library.head)[:-1]  # the last is the library's network itself
    if not hints.layers:
        likely = suggested_head(sites[-1], library.unfitting)
        raise WeightsMismatch(
            f"{problem}: another head took the place of its own ({first([*library.unfitting])}), "
            "and what lies between its layers is not recorded in weights: say it, all layers in "
            f'their order, such as --head "{likely}"'
        )
    own = library.network.state_dict()
    body = {key: one for key, one in own.items() if not key.startswith(f"{sites[-1]}.")}
    placed = headed(library.network, sites, library.unfitting, hints.layers)
    if placed is None:
        raise WeightsMismatch(
            f"{problem}: its head has other layers ({first([*library.unfitting])})"
        )
    return {**body, **placed[0]}


def _of_a_factory(name: str, factory: Factory, contents: CheckpointContents, path: Path) -> Chosen:
    """The network of a lab's own code, which its weights must fit. Raises WeightsMismatch."""
    nearest: Fit | None = None
    for part in parts(contents.weights, None):
        for classes in _outputs(part.weights):
            own = made(name, factory, classes)
            fit = as_it_is(name, own.network, part.weights)
            if not fit.differences:
                return Chosen(fit, f"network {name}", part.aside, own)
            if nearest is None or fit.differences < nearest.differences:
                nearest = fit
    said = "it holds no matrix" if nearest is None else nearest.describe()
    raise WeightsMismatch(f"{path}: the weights do not fit the network {name}: {said}")


def _outputs(weights: Mapping[str, Tensor]) -> list[int]:
    """How many classes there may be: the rows of the last matrices."""
    rows = [
        len(weight)
        for weight in weights.values()
        if weight.ndim == len(("out", "in")) and len(weight)
    ]
    return list(dict.fromkeys(rows[::-1]))[:3]


def _fitting_part(
    part: Part, given: Hints, sources: Sequence[tuple[str, str]], path: Path
) -> tuple[Fit, str]:
    weights, hints = part.weights, replace(given, record=part.record)
    for name, source in sources:
        known = known_name(name)
        if known is not None:
            _say_what_is_used(name, known, path)
            return _fitting_as(known, source, weights, hints, path), source
    closest = closest_row(weights, hints)
    if closest is not None and not closest.differences:
        return closest, BY_WEIGHTS
    if (other := of_torchvision(weights, hints)) is not None:
        return other, BY_WEIGHTS
    tried = list(dict.fromkeys(source for _, source in sources)) or ["no name in file or folder"]
    raise ArchitectureUnknown(
        f"{path}: the architecture is unknown. Tried: {', '.join(tried)}, the weights' keys and "
        f"shapes{_nearly(closest)}. Set model_name in the checkpoint, or a sidecar beside it, to "
        f"one of {supported()}; a network of your own is named with --network"
    )


def _fitting_as(
    name: str, source: str, weights: Mapping[str, Tensor], hints: Hints, path: Path
) -> Fit:
    fits = []
    for size in _sizes(weights, hints):
        for fit in _comparisons(name, weights, replace(hints, image_size=size)):
            if not fit.differences:
                return fit
            fits.append(fit)
    nearest = min(fits, key=lambda fit: fit.differences)
    other = closest_row(weights, hints)
    hint = ""
    if other is not None and not other.differences:
        hint = f". They do fit {other.name} ({other.naming} naming): correct the name"
    raise WeightsMismatch(
        f"{path}: the weights do not fit {name} (from {source}; {nearest.naming} naming is the "
        f"nearest): {nearest.describe()}{hint}"
    )


def _sizes(weights: Mapping[str, Tensor], hints: Hints) -> Iterator[tuple[int, int] | None]:
    """(height, width) that a network may have been built for; None: its own.

    As is said comes first: weights may fit several sizes of a network that takes only its own.
    """
    if hints.image_size is not None:
        yield hints.image_size
    yield None
    for key, tensor in weights.items():
        if key.rpartition(".")[2] in _POSITIONS and tensor.ndim == len(_SHAPE_OF_POSITIONS):
            for patch in _PATCHES:
                side = math.isqrt(tensor.shape[1])
                yield side * patch, side * patch


def _comparisons(name: str, weights: Mapping[str, Tensor], hints: Hints) -> Iterator[Fit]:
    row = find_architecture(name)
    if row is None:
        for naming in libraries_of(name):
            yield compare(name, naming, config_of(name, naming).head, weights, hints)
        return
    for naming in NAMINGS:
        yield compare(name, naming, row.variant(naming).head, weights, hints)


def known_name(name: str) -> str | None:
    """The name of a row, or under which a library builds the network; None for others."""
    row = find_architecture(name)
    if row is not None:
        return row.name
    current = find_network(name)
    row = None if current is None else find_architecture(current)
    return current if row is None else row.name


def _say_what_is_used(said: str, known: str, path: Path) -> None:
    if find_architecture(said) is None and current_timm_name(said) is not None:
        folder = path.absolute().parent.name
        _log.warning("%s: timm's deprecated name %s is read as %s", folder, said, known)


def folder_guesses(path: Path) -> list[str]:
    """Of a folder cls_<arch>_<loss>: what may be the architecture, the longest first."""
    folder = path.absolute().parent.name
    if not folder.lower().startswith(FOLDER_PREFIX):
        return []
    tokens = folder[len(FOLDER_PREFIX) :].split("_")
    return ["_".join(tokens[:count]) for count in range(len(tokens), 0, -1)]


def _nearly(closest: Fit | None) -> str:
    if closest is None:
        return " (like none of the table)"
    return f" (nearest is {closest.name}, {closest.naming} naming: {closest.describe()})"


def _factory(wanted: str | None, metadata: Mapping[str, object]) -> tuple[str, Factory] | None:
    """(name, factory) of a lab's own network: that was asked for, else that the file names.

    Raises InvalidOption for one that was asked for and is not there.
    """
    if wanted is not None and ":" in wanted:
        return wanted, named_factory(wanted)
    for name in [wanted] if wanted is not None else model_names_of(metadata):
        factory = find_factory(name)
        if factory is not None:
            return name, factory
    if wanted is not None:
        raise InvalidOption(
            f"network {wanted!r} is not installed here; give package.module:factory, or the name "
            f"of an entry point in {GROUP}"
        )
    return None
