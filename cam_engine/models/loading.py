"""A .pt file -> a classifier that can be explained, or an error that says what was tried."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from cam_engine.errors import (
    ArchitectureUnknown,
    CheckpointInvalid,
    ClassNamesMismatch,
    InvalidOption,
)
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.adapting import logits_only, take_rgb, two_outputs
from cam_engine.models.architectures import (
    NAMINGS,
    Layout,
    Naming,
    find_architecture,
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
from cam_engine.models.choosing import (
    BEHIND,
    BY_WEIGHTS,
    FOLDER_PREFIX,
    choose,
    folder_guesses,
    known_name,
)
from cam_engine.models.files.companions import beside, digest_with, sidecar_of
from cam_engine.models.files.contents import CheckpointContents, read_contents
from cam_engine.models.files.scan import opened, scan
from cam_engine.models.fitting import (
    Fit,
    Hints,
    loaded,
)
from cam_engine.models.heads import head_layers
from cam_engine.models.libraries.plugins import (
    OwnNetwork,
)
from cam_engine.models.libraries.transformers_networks import (
    TransformersNetwork,
    named_in_config,
)
from cam_engine.models.networks import (
    config_of,
    is_depthwise,
    libraries_of,
    recorded_layout,
)
from cam_engine.models.tracing import layout_of, traced_layout
from cam_engine.short_names import first

_log = logging.getLogger(__name__)

_AVERAGED = "averaged"  # in a sidecar
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
    hints = Hints(layers=layers, image_size=size)
    chosen = choose(contents, path, network, hints, is_named="model_name" in overruling)
    fit, source, own, library = chosen.fit, chosen.source, chosen.own, chosen.library
    notices = [*_assumptions(fit, source), *_of_the_files(path, overruling, averaged=averaged)]
    remarks = [*contents.remarks]
    if library is not None:
        notices += library.notices
        remarks += library.remarks
    if layers and fit.hints.record is not None:
        notices.append("the file records its own head: the one in words was left aside")
    if aside := chosen.aside:
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
    known = (known_name(name) for name in (*said, *folder_guesses(path)))
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
    known = None if architecture is None else known_name(architecture)
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
    if path.parent.name.startswith(FOLDER_PREFIX) and path.name not in _USUAL_NAMES:
        said.append(f"{path.parent.name} has no best.pt: {path.name} was read")
    return said


def _assumptions(fit: Fit, source: str) -> list[str]:
    """What weights cannot tell, as sentences."""
    said = []
    if BEHIND in source:
        said.append(
            f"{source.partition(BEHIND)[2]} stands beside the network in the file, and is taken "
            "for its head, with nothing but dropout between"
        )
    row = find_architecture(fit.name)
    is_plain = row is not None and row.name.startswith("efficientnet_b")
    if source == BY_WEIGHTS and fit.naming == "timm" and is_plain and row is not None:
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
