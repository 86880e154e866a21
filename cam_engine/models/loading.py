"""A .pt file -> a classifier that can be explained, or an error that says what was tried."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from cam_engine.errors import CheckpointInvalid, ClassNamesMismatch, InvalidOption
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.architectures import NAMINGS, Layout, Naming, find_architecture
from cam_engine.models.assumed_inputs import check_size, default_preprocessing
from cam_engine.models.checkpoint_metadata import (
    NESTED,
    WANTED,
    accuracy_of,
    checked_names,
    class_names_of,
    epoch_of,
    preprocessing_of,
    said_size,
    sources_of_preprocessing,
    unread_names,
)
from cam_engine.models.choosing import BY_WEIGHTS, FOLDER_PREFIX, choose
from cam_engine.models.files.companions import Beside, beside, digest_with
from cam_engine.models.files.contents import CheckpointContents, read_contents
from cam_engine.models.files.opening import is_exported_program, opened
from cam_engine.models.fitting.adapting import logits_only, take_rgb, two_outputs
from cam_engine.models.fitting.comparing import Fit, Hints, loaded
from cam_engine.models.fitting.heads import head_layers
from cam_engine.models.libraries.plugins import OwnNetwork
from cam_engine.models.libraries.programs import loaded_program
from cam_engine.models.libraries.transformers_networks import TransformersNetwork
from cam_engine.models.networks import before_last_window, is_depthwise, recorded_layout
from cam_engine.models.tracing.layouts import layout_of, traced_layout
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
    most_images: that the network takes at once; None for any number.
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
    most_images: int | None = None


def load_classifier(
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    head: str | None = None,
    network: str | None = None,
    averaged: bool = False,
    trusted: bool = False,
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
    twice, the averages of several steps; trusted: a person trusts the file, so that a program of
    `torch.export` is loaded too, which can run what it says. Raises CheckpointNotFound,
    CheckpointInvalid, CheckpointUnsafe, ArchitectureUnknown, WeightsMismatch, ClassNamesMismatch
    or, for arguments, InvalidOption.
    """
    path = Path(path)
    of_it = beside(path)
    if trusted and is_exported_program(path):
        passed = {"input_size": input_size, "mean": mean, "std": std}
        asked = head is not None or network is not None or averaged
        return _of_a_program(path, of_it, class_names, passed, asked_for_more=asked)
    overruling = of_it.overruling
    averaged = averaged or overruling.get("weights") == _AVERAGED
    contents, sha256 = _read_and_digest(path, averaged=averaged)
    contents = replace(contents, metadata={**of_it.said, **contents.metadata, **overruling})
    head = head or _text(overruling.get("head"))
    layers = head_layers(head) if head is not None else ()
    size = said_size(contents.metadata, path, input_size)
    hints = Hints(layers=layers, image_size=size)
    chosen = choose(contents, path, network, hints, is_named="model_name" in overruling)
    fit, source, own, library = chosen.fit, chosen.source, chosen.own, chosen.library
    notices = [
        *chosen.assumed,
        *_assumptions(fit, source),
        *_of_the_files(path, of_it, averaged=averaged),
    ]
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
    default, default_source = default_preprocessing(fit, own)
    preprocessing = preprocessing_of(
        metadata, path, default, input_size=input_size, mean=mean, std=std
    )
    if fit.naming in NAMINGS:
        check_size(fit, preprocessing, path)
    names, names_source = _class_names(class_names, metadata, fit.classes, path)
    notices += _unread_names(names_source, metadata)
    passed = {"input_size": input_size, "mean": mean, "std": std}
    sources = {
        "architecture": source,
        "class_names": names_source,
        **sources_of_preprocessing(metadata, passed, default_source),
        **{key: of_it.sidecar for key in overruling if key != "model_name"},
    }
    if "model_name" in overruling:
        sources["architecture"] = f"{source} in {of_it.sidecar}"
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


def _of_a_program(
    path: Path,
    of_it: Beside,
    class_names: Sequence[str] | None,
    passed: Mapping[str, Any],
    *,
    asked_for_more: bool,
) -> Classifier:
    """A program that somebody trusts: what it was exported with, and what a sidecar says."""
    if asked_for_more:
        raise InvalidOption(f"{path} is a program: head, network and averaged are not for it")
    with opened(path) as file:
        data = file.read()
    program = loaded_program(data, str(path))
    metadata = {**of_it.said, **of_it.overruling}
    own = Preprocessing(program.input_size)
    preprocessing = preprocessing_of(metadata, path, own, **passed)
    if program.fixed_size and preprocessing.input_size != program.input_size:
        height, width = program.input_size
        raise InvalidOption(f"{path}: the program takes images of {height}x{width} px only")
    names, names_source = _class_names(class_names, metadata, program.classes, path)
    default = "assumed: as the program was exported, and ImageNet's statistics"
    notices = ["the file was trusted: loading a program can run what it says"]
    if program.most_images is not None:
        notices.append(f"the program takes {program.most_images} image at a time")
    return Classifier(
        network=program.network,
        architecture="program of torch.export",
        family="program",
        naming="file",
        layout=traced_layout(program.network, preprocessing.input_size),
        head=program.head,
        class_names=names,
        preprocessing=preprocessing,
        sha256=digest_with(hashlib.sha256(data).hexdigest(), path),
        path=path,
        val_accuracy=accuracy_of(metadata),
        epoch=epoch_of(metadata),
        depthwise=True,  # its convolutions are no modules, so that none can run in bfloat16
        notices=(*notices, *_of_the_files(path, of_it, averaged=False)),
        sources={
            "architecture": "the file's own program",
            "class_names": names_source,
            **sources_of_preprocessing(metadata, passed, default),
            **dict.fromkeys(of_it.overruling, of_it.sidecar),
        },
        most_images=program.most_images,
    )


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


def _unread_names(source: str, metadata: Mapping[str, object]) -> list[str]:
    key = unread_names(metadata) if source.startswith("assumed") else None
    if key is None:
        return []
    said = f"{key} in the file is of a kind that is not read, so that its names of classes are not"
    return [f"{said} known: pass them in the order of training"]


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
        return replace(row.variant(fit.naming).layout, image_size=input_size)
    recorded = recorded_layout(network) if library is None else library.layout
    return before_last_window(traced_layout(network, input_size, recorded), network)


def _of_the_files(path: Path, of_it: Beside, *, averaged: bool) -> list[str]:
    """Which of a folder's files, and which of a file's weights, as sentences."""
    said = []
    if averaged:
        said.append("averaged weights of the file are used")
    if of_it.overruling:
        said.append(f"{of_it.sidecar} overrules the file: {', '.join(of_it.overruling)}")
    if path.parent.name.startswith(FOLDER_PREFIX) and path.name not in _USUAL_NAMES:
        said.append(f"{path.parent.name} has no best.pt: {path.name} was read")
    return said


def _assumptions(fit: Fit, source: str) -> list[str]:
    """What weights cannot tell, as sentences."""
    said = []
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
