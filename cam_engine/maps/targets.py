"""From what a caller says to what the engine does: classes to indices, layer names to taps."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cam_engine.class_names import class_index, classes_like
from cam_engine.errors import ClassNotFound, LayerNotFound, LayerNotSpatial
from cam_engine.method_facts import METHOD_FACTS, Method, Score
from cam_engine.models.architectures import Layout, Sign, Stage, Tap
from cam_engine.models.tracing.named import named_tap
from cam_engine.options import STAGES, Taps


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One requested layer: the name it was asked for by, the label shown, and where to tap.

    depth: of a stage, the share of all stages that have run by its end, 0..1.
    """

    name: str
    label: str
    tap: Tap
    depth: float | None = None


def resolve_class(target: int | str, class_names: Sequence[str]) -> int:
    """The index of a class given by index or name (exact, else as `class_index` finds it).

    Raises ClassNotFound, which names the classes that there are.
    """
    if isinstance(target, str):
        index = _class_by_name(target, class_names)
    else:
        index = target if 0 <= target < len(class_names) else None
    if index is None:
        alike = classes_like(target, class_names) if isinstance(target, str) else []
        if alike:
            raise ClassNotFound(
                f"class {target!r} may mean {' or '.join(alike)}; give it exactly, or by its index"
            )
        raise ClassNotFound(
            f"class {target!r} is unknown to this classifier; "
            f"choose an index from 0 to {len(class_names) - 1} or one of {', '.join(class_names)}"
        )
    return index


def plan_layers(
    names: Sequence[str], layout: Layout, network: nn.Module, taps: Taps
) -> list[PlannedLayer]:
    """Taps for the layers asked for, in that order.

    A name is early, mid or late, a stage's label or module, or any dotted module name. Raises
    LayerNotFound, which names the nearest modules that there are.
    """
    return [_plan_layer(name, layout, network, taps) for name in names]


def stage_at(layout: Layout, position: str) -> Stage:
    """The stage behind "early", "mid" or "late"."""
    label = getattr(layout, position)
    return next(stage for stage in layout.stages if stage.label == label)


def spatial(output: Tensor, tap: Tap) -> Tensor:
    """A tapped tensor as (N, C, h, w): tokens folded to their grid, channels brought forward.

    Raises LayerNotSpatial where there is no grid of at least two cells.
    """
    if tap.tokens is not None and output.ndim == 3:  # batch, tokens, channels
        output = _fold_tokens(output[:, tap.tokens :], tap)
    if output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
        raise LayerNotSpatial(
            f"layer {tap.module} answers with shape {tuple(output.shape)}: no grid of cells to "
            "make a map of; name a layer before pooling and flattening"
        )
    return output if tap.channels is None else output.permute(0, 3, 1, 2)


def rectified(activations: Tensor, sign: Sign, method: Method) -> Tensor:
    """The activation as the method needs it: relu(A) where it is signed and the formula is not.

    (Where the network's next step is a ReLU, the tap has rectified it already.)
    """
    if sign is Sign.SIGNED and METHOD_FACTS[method].needs_rectified:
        return activations.relu()
    return activations


def score_of(logits: Tensor, chosen: Tensor, score: Score) -> Tensor:
    """(N, classes) logits and the classes explained (N,) -> (N,), what the gradients are of.

    The margin is the logit less the mean of the others, weighted by their softmax (which counts as
    constant): what sets the class apart from those that are nearest to it, as Finer-CAM (Zhang
    et al. 2025) does for similar classes that are chosen.
    """
    own = logits.gather(1, chosen[:, None])[:, 0]
    if score == "logit" or logits.shape[1] == 1:
        return own
    others = logits.detach().scatter(1, chosen[:, None], -torch.inf)
    return own - (others.softmax(1) * logits).sum(1)


def _class_by_name(name: str, class_names: Sequence[str]) -> int | None:
    index = class_index(name, class_names)
    if index is None and name.isdecimal() and int(name) < len(class_names):
        return int(name)
    return index


def _plan_layer(name: str, layout: Layout, network: nn.Module, taps: Taps) -> PlannedLayer:
    for number, stage in enumerate(layout.stages, start=1):
        here = name in {stage.label, stage.raw, stage.tap.module if taps == "rectified" else ""}
        if here or (name in STAGES and stage == stage_at(layout, name)):
            depth = number / len(layout.stages)
            return PlannedLayer(name, stage.label, _stage_tap(stage, taps), depth)
    modules = dict(network.named_modules())
    if name not in modules or not name:
        raise LayerNotFound(_no_such_layer(name, layout, list(modules)))
    sign = Sign.NONNEGATIVE if taps == "raw" else Sign.SIGNED
    near = replace(_nearest_stage(name, layout).tap, sign=sign)
    return PlannedLayer(name, name, named_tap(network, name, near, layout.image_size))


def _nearest_stage(module: str, layout: Layout) -> Stage:
    """The stage of which the module is a part, as far as names tell: it is laid out alike."""
    words = module.split(".")

    def shared(stage: Stage) -> int:
        pairs = zip(words, stage.tap.module.split("."), strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), len(words))

    return max(layout.stages, key=shared)


def _stage_tap(stage: Stage, taps: Taps) -> Tap:
    if taps == "rectified":
        return stage.tap
    # Raw: the block's own output, and no method rectifies it.
    return replace(stage.tap, module=stage.raw, sign=Sign.NONNEGATIVE)


def _no_such_layer(name: str, layout: Layout, modules: list[str]) -> str:
    known = [*STAGES, "fused", *(stage.label for stage in layout.stages)]
    near = difflib.get_close_matches(name, list(dict.fromkeys([*known, *modules])), n=4, cutoff=0.5)
    hint = f"; near it: {', '.join(near)}" if near else ""
    choices = f"choose from {', '.join(known)}, or any module name{hint}"
    return f"layer {name!r} is not in this network; {choices}"


def _fold_tokens(tokens: Tensor, tap: Tap) -> Tensor:
    side = round(tokens.shape[1] ** 0.5)
    height, width = tap.grid or (side, side)
    if height * width != tokens.shape[1]:
        what = "not a square grid" if tap.grid is None else f"not {height} x {width} of them"
        raise LayerNotSpatial(f"layer {tap.module} has {tokens.shape[1]} tokens: {what}")
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
