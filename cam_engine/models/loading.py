"""A .pt file -> a classifier that can be explained, or an error that says what was tried."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from cam_engine.errors import (
    ArchitectureUnknown,
    CheckpointInvalid,
    ClassNamesMismatch,
    InvalidOption,
    WeightsMismatch,
)
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.adapting import logits_only, take_rgb, two_outputs
from cam_engine.models.architectures import (
    NAMINGS,
    Layout,
    Naming,
    find_architecture,
    supported,
)
from cam_engine.models.checkpoint_metadata import (
    NESTED,
    WANTED,
    accuracy_of,
    checked_names,
    class_names_of,
    epoch_of,
    model_names_of,
    preprocessing_of,
    said_size,
    sources_of_preprocessing,
)
from cam_engine.models.files.companions import beside, digest_with, sidecar_of
from cam_engine.models.files.contents import CheckpointContents, read_contents
from cam_engine.models.files.scan import opened, scan
from cam_engine.models.fitting import (
    Fit,
    Hints,
    Part,
    as_it_is,
    closest_row,
    compare,
    loaded,
    of_torchvision,
    parts,
)
from cam_engine.models.heads import head_layers
from cam_engine.models.libraries.fastai_learners import bodies_of_learners, is_learner, learner
from cam_engine.models.libraries.plugins import (
    GROUP,
    Factory,
    OwnNetwork,
    find_factory,
    made,
    named_factory,
)
from cam_engine.models.libraries.transformers_networks import (
    TransformersNetwork,
    is_of_transformers,
    named_in_config,
    transformers_network,
)
from cam_engine.models.networks import (
    config_of,
    current_timm_name,
    find_network,
    find_torchvision_model,
    is_depthwise,
    libraries_of,
    recorded_layout,
)
from cam_engine.models.rebuilding import LayerUnknown, rebuilt
from cam_engine.models.tracing import layout_of, traced_layout
from cam_engine.short_names import first

_log = logging.getLogger(__name__)

_FOLDER_PREFIX = "cls_"
_POSITIONS = ("pos_embed", "pos_embedding")
_SHAPE_OF_POSITIONS = ("batch", "tokens", "channels")
_PATCHES = (16, 14, 32, 8)  # pixels a side
_BEHIND = ", its head "
_AVERAGED = "averaged"  # in a sidecar
_BY_WEIGHTS = "the weights' keys and shapes"
_USUAL_NAMES = ("best.pt", "best_model.pt")


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A trained network and all that is known of it.

    network: float32, on the CPU, in eval mode, every parameter frozen.
    architecture: a row's name; timm's for a network without a row, whose family is "timm".
    head: dotted name of the last layer, whose outputs are the logits.
    class_names: in the order of the outputs.
    sha256: of the whole file, in hexadecimal.
    val_accuracy: 0..1, as the training script measured it.
    depthwise: some convolutions work on each channel alone, which the choice of precision minds.
    notices: what a reader of its pictures must not miss, as sentences. remarks: what else was left
    aside or changed. sources: where architecture, class_names, input_size, mean and std are from.
    """

    network: nn.Module
    architecture: str
    family: str
    naming: Naming
    layout: Layout
    head: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    sha256: str
    path: Path | None
    val_accuracy: float | None
    epoch: int | None
    depthwise: bool
    notices: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckpointHeader:
    """What a file says of itself; None where it is silent. Nothing here was checked on weights.

    architecture: the network that the file, else its folder, names; else the file's word for it.
    input_size: (height, width) in pixels, the network's own where the file is silent; None where
    the architecture is not known either. val_accuracy: 0..1.
    """

    path: Path
    architecture: str | None
    class_names: tuple[str, ...] | None
    input_size: tuple[int, int] | None
    val_accuracy: float | None
    epoch: int | None


def load_classifier(
    path: Path,
    *,
    class_names: Sequence[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    head: str | None = None,
    network: str | None = None,
    averaged: bool = False,
) -> Classifier:
    """Load a checkpoint without running anything that it says.

    >>> from cam_engine import load_classifier
    >>> run = Path("sample/results/optA_20260115_090000/experiments/experiment_synthetic_lifecycle")
    >>> classifier = load_classifier(run / "cls_mobilenet_v3_small_focal" / "best.pt")
    >>> classifier.class_names
    ('gametocyte', 'ring', 'schizont', 'trophozoite')

    Arguments overrule what the file says; input_size is a side or (height, width) in pixels, mean
    and std are on the scale 0..1; head: its layers where there are several, in words
    ("linear relu dropout linear"); network: a lab's own, "package.module:factory" or the name of
    an installed one (`cam_engine.models.libraries.plugins`); averaged: of weights that are there
    twice, the averages of several steps. Raises CheckpointNotFound, CheckpointInvalid,
    CheckpointUnsafe, ArchitectureUnknown, WeightsMismatch, ClassNamesMismatch or, for arguments,
    InvalidOption.
    """
    said, overruling = beside(path)
    averaged = averaged or overruling.get("weights") == _AVERAGED
    contents, sha256 = _read_and_digest(path, averaged=averaged)
    contents = replace(contents, metadata={**said, **contents.metadata, **overruling})
    head = head or _text(overruling.get("head"))
    layers = head_layers(head) if head is not None else ()
    size = said_size(contents.metadata, path, input_size)
    own = library = None
    factory = _factory(network, contents.metadata)
    if factory is not None:
        source = f"network {factory[0]}"
        fit, aside, own = _of_a_factory(*factory, contents, path)
    elif is_of_transformers(contents.metadata) and "model_name" not in overruling:
        source, aside = "architectures in config.json", ()
        library = transformers_network(contents.metadata, contents.weights, str(path))
        fit = _as_built(library)
    else:
        fit, aside, source = _fitting(contents, path, layers, size)
    notices = [*_assumptions(fit, source), *_of_the_files(path, overruling, averaged=averaged)]
    remarks = [*contents.remarks]
    if library is not None:
        notices += library.notices
        remarks += library.remarks
    if aside:
        remarks.append(
            f"{len(aside)} tensors that are not the network's were left aside: {first(aside)}"
        )
    metadata = contents.metadata
    row = find_architecture(fit.name)
    default, default_source = _default_preprocessing(fit, own)
    preprocessing = preprocessing_of(
        metadata, path, default, input_size=input_size, mean=mean, std=std
    )
    if fit.naming in NAMINGS:
        _check_size(fit, preprocessing, path)
    names, names_source = _class_names(class_names, metadata, fit.classes, path)
    passed = {"input_size": input_size, "mean": mean, "std": std}
    sources = {
        "architecture": source,
        "class_names": names_source,
        **sources_of_preprocessing(metadata, passed, default_source),
        **{key: sidecar_of(path).name for key in overruling if key != "model_name"},
    }
    if "model_name" in overruling:
        sources["architecture"] = f"{source} in {sidecar_of(path).name}"
    trained = loaded(fit)
    if ending := logits_only(trained, fit.head_region):
        remarks.append(f"its last step, {ending}, was left out: what is explained are logits")
    if fit.classes == 1:
        two_outputs(trained, fit.head)
        notices.append(f"one output with a sigmoid: its probability is that of {names[1]}")
    if fit.first_layer is not None:
        notices.append(take_rgb(trained, fit.first_layer[0], alpha=1.0))
    return Classifier(
        network=trained,
        architecture=fit.name,
        family=fit.naming if row is None else row.family,
        naming=fit.naming,
        layout=_layout(trained, fit, preprocessing.input_size, own, library),
        head=fit.head,
        class_names=names,
        preprocessing=preprocessing,
        sha256=sha256,
        path=path,
        val_accuracy=accuracy_of(metadata),
        epoch=epoch_of(metadata),
        depthwise=is_depthwise(trained),
        notices=tuple(notices),
        remarks=tuple(remarks),
        sources=sources,
    )


def read_header(path: Path) -> CheckpointHeader:
    """The cheap facts of a checkpoint: no network is built, and no weight is read.

    Raises CheckpointNotFound, CheckpointInvalid or CheckpointUnsafe.
    """
    return header_of(path, scan(path, WANTED, NESTED))


def header_of(path: Path, metadata: Mapping[str, object]) -> CheckpointHeader:
    """The header of a checkpoint from what `scan` found in it, and what is beside it."""
    said_beside, overruling = beside(path)
    metadata = {**said_beside, **metadata, **overruling}
    said = model_names_of(metadata)
    known = (_known_name(name) for name in (*said, *_folder_guesses(path)))
    try:
        class_names = class_names_of(metadata, path)
    except CheckpointInvalid:  # loading will say so
        class_names = None
    unknown = next(iter((*said, *named_in_config(metadata))), None)
    architecture = next((name for name in known if name), unknown)
    return CheckpointHeader(
        path=path,
        architecture=architecture,
        class_names=class_names,
        input_size=_header_size(architecture, metadata, path),
        val_accuracy=accuracy_of(metadata),
        epoch=epoch_of(metadata),
    )


def _header_size(
    architecture: str | None, metadata: Mapping[str, object], path: Path
) -> tuple[int, int] | None:
    known = None if architecture is None else _known_name(architecture)
    if known is None:
        return None
    try:
        return preprocessing_of(metadata, path, _recorded_preprocessing(known)).input_size
    except (ArchitectureUnknown, CheckpointInvalid):  # loading will say so
        return None


def _read_and_digest(path: Path, *, averaged: bool) -> tuple[CheckpointContents, str]:
    with opened(path) as file:
        before = os.fstat(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        contents = read_contents(file, path, WANTED, NESTED, averaged=averaged)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CheckpointInvalid(f"{path} was written to while it was read; try again")
    return contents, digest_with(sha256, path)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _fitting(
    contents: CheckpointContents,
    path: Path,
    layers: tuple[str, ...],
    size: tuple[int, int] | None,
) -> tuple[Fit, tuple[str, ...], str]:
    """The network that the weights fit without a difference, keys left aside, who named it."""
    said = model_names_of(contents.metadata)
    guesses = _folder_guesses(path)
    sources = [(name, f"model_name {name!r}") for name in said]
    sources += [(name, f"folder {path.absolute().parent.name!r}") for name in guesses]
    found = parts(contents.weights, contents.record)
    first_part = next(found)
    try:
        fit, source = _fitting_part(first_part, layers, size, sources, path)
        return fit, first_part.aside, source
    except (ArchitectureUnknown, WeightsMismatch) as error:
        for part in found:
            with suppress(ArchitectureUnknown, WeightsMismatch):
                fit, source = _fitting_part(part, layers, size, sources, path)
                if part.lone_head is not None:
                    source = f"{source}{_BEHIND}{part.lone_head}"
                return fit, part.aside, source
        own = _of_the_file(first_part, sources)
        if own is None:
            raise error from None
        return own, (), "the file's own layers"


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


def _as_built(library: TransformersNetwork) -> Fit:
    """The network has its weights already; they are compared and copied as any others."""
    network = library.network
    hints = Hints(image_size=library.image_size)
    return as_it_is(library.name, network, network.state_dict(), "transformers", hints)


def _of_a_factory(
    name: str, factory: Factory, contents: CheckpointContents, path: Path
) -> tuple[Fit, tuple[str, ...], OwnNetwork]:
    """The network of a lab's own code, which its weights must fit. Raises WeightsMismatch."""
    nearest: Fit | None = None
    for part in parts(contents.weights, None):
        for classes in _outputs(part.weights):
            own = made(name, factory, classes)
            fit = as_it_is(name, own.network, part.weights)
            if not fit.differences:
                return fit, part.aside, own
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
    part: Part,
    layers: tuple[str, ...],
    size: tuple[int, int] | None,
    sources: Sequence[tuple[str, str]],
    path: Path,
) -> tuple[Fit, str]:
    weights, hints = part.weights, Hints(part.record, layers, size)
    for name, source in sources:
        known = _known_name(name)
        if known is not None:
            _say_what_is_used(name, known, path)
            return _fitting_as(known, source, weights, hints, path), source
    closest = closest_row(weights, hints)
    if closest is not None and not closest.differences:
        return closest, _BY_WEIGHTS
    if (other := of_torchvision(weights, hints)) is not None:
        return other, _BY_WEIGHTS
    tried = list(dict.fromkeys(source for _, source in sources)) or ["no name in file or folder"]
    raise ArchitectureUnknown(
        f"{path}: the architecture is unknown. Tried: {', '.join(tried)}, the weights' keys and "
        f"shapes{_nearly(closest)}. Set model_name in the checkpoint to one of {supported()}"
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


def _known_name(name: str) -> str | None:
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


def _folder_guesses(path: Path) -> list[str]:
    """Of a folder cls_<arch>_<loss>: what may be the architecture, the longest first."""
    folder = path.absolute().parent.name
    if not folder.lower().startswith(_FOLDER_PREFIX):
        return []
    tokens = folder[len(_FOLDER_PREFIX) :].split("_")
    return ["_".join(tokens[:count]) for count in range(len(tokens), 0, -1)]


def _nearly(closest: Fit | None) -> str:
    if closest is None:
        return " (like none of the table)"
    return f" (nearest is {closest.name}, {closest.naming} naming: {closest.describe()})"


def _class_names(
    passed: Sequence[str] | None, metadata: Mapping[str, object], count: int, path: Path
) -> tuple[tuple[str, ...], str]:
    """The names in the order of the outputs, and where they are from."""
    if passed is not None:
        names, source = checked_names(passed, "class_names"), "were passed"
    else:
        recorded = class_names_of(metadata, path)
        source = "are in the file" if recorded else "are assumed: the file names none"
        names = recorded or tuple(f"Class_{index}" for index in range(max(2, count)))
    if count == 1:
        names = (f"not {names[0]}", names[0]) if len(names) == 1 else names
        count = 2
    if len(names) != count:
        raise ClassNamesMismatch(
            f"{path}: {len(names)} class names {source} ({', '.join(names[:8])}), but the network "
            f"has {count} outputs; pass one name for each output, in the order of training"
        )
    return names, source.removeprefix("are ").removeprefix("were ")


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


def _layout(
    network: nn.Module,
    fit: Fit,
    input_size: tuple[int, int],
    own: OwnNetwork | None,
    library: TransformersNetwork | None,
) -> Layout:
    """Of the table, of what timm or a lab's own code says, or found by running the network once."""
    if own is not None and own.layers:
        return layout_of(own.layers, network, input_size)
    row = find_architecture(fit.name)
    if row is not None:
        return row.variant(fit.naming).layout
    recorded = recorded_layout(network) if library is None else library.layout
    return traced_layout(network, input_size, recorded)


def _default_preprocessing(fit: Fit, own: OwnNetwork | None = None) -> tuple[Preprocessing, str]:
    """What is assumed where the file is silent, and why."""
    if own is not None:
        return Preprocessing(own.input_size, own.mean, own.std), f"assumed: as {fit.name} says"
    row = find_architecture(fit.name)
    if fit.naming == "transformers" and fit.image_size is not None:
        source = "assumed: image_size in config.json, and ImageNet's statistics"
        return Preprocessing(fit.image_size), source
    if fit.naming not in NAMINGS or (row is not None and fit.naming == "torchvision"):
        return Preprocessing(), "assumed: 224 x 224 px and ImageNet's statistics"
    name = fit.name if row is None else row.timm.builder
    config = config_of(name, fit.naming)
    recorded = Preprocessing(fit.image_size or config.input_size, config.mean, config.std)
    return recorded, f"assumed: as {fit.naming} records them of {name}"


def _of_the_files(path: Path, overruling: Mapping[str, object], *, averaged: bool) -> list[str]:
    """Which of a folder's files, and which of a file's weights, as sentences."""
    said = []
    if averaged:
        said.append("averaged weights of the file are used")
    if overruling:
        said.append(f"{sidecar_of(path).name} overrules the file: {', '.join(overruling)}")
    if path.parent.name.startswith(_FOLDER_PREFIX) and path.name not in _USUAL_NAMES:
        said.append(f"{path.parent.name} has no best.pt: {path.name} was read")
    return said


def _assumptions(fit: Fit, source: str) -> list[str]:
    """What weights cannot tell, as sentences."""
    said = []
    if _BEHIND in source:
        said.append(
            f"{source.partition(_BEHIND)[2]} stands beside the network in the file, and is taken "
            "for its head, with nothing but dropout between"
        )
    row = find_architecture(fit.name)
    is_plain = row is not None and row.name.startswith("efficientnet_b")
    if source == _BY_WEIGHTS and fit.naming == "timm" and is_plain and row is not None:
        said.append(
            f"taken for {fit.name} by its weights, whose names tf_{row.timm.builder} has too, "
            "which pads otherwise; model_name in the file would tell"
        )
    if getattr(fit.skeleton, "transform_input", None) is False and fit.hints.record is None:
        said.append(
            f"{fit.name} is taken without transform_input, which torchvision's pretrained ones have"
        )
    return said


def _recorded_preprocessing(name: str) -> Preprocessing:
    """As `_default_preprocessing`, where nothing is known but the name."""
    if find_architecture(name) is not None:
        return Preprocessing()
    config = config_of(name, libraries_of(name)[0])
    return Preprocessing(config.input_size, config.mean, config.std)


def _check_size(fit: Fit, preprocessing: Preprocessing, path: Path) -> None:
    row = find_architecture(fit.name)
    fixed = config_of(fit.name, fit.naming).fixed_size if row is None else row.fixed_size
    own = fit.image_size or _default_preprocessing(fit)[0].input_size
    if fixed and preprocessing.input_size != own:
        raise InvalidOption(
            f"{path}: {fit.name} takes images of {own[0]}x{own[1]} px only, input_size is "
            f"{preprocessing.input_size[0]}x{preprocessing.input_size[1]}"
        )
