"""Where a network without a row in the table is tapped, found by running it once.

One pass keeps the output of every module; the graph that autograd builds says which of them reach
the logits, which of them all that is known of the image goes through, and whether a ReLU made them
or comes next. A second pass, with one part of the image changed, says whose cells lie where their
part of the image lies: tokens may be in any order. Early, mid and late are the last modules whose
grids have about an eighth, a sixteenth and a thirty-second of the image's sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from cam_engine.errors import ArchitectureUnknown
from cam_engine.models.architectures import Layout, Stage, Tap
from cam_engine.models.tracing.graph import Graph, reach_logits, sign_of
from cam_engine.models.tracing.grids import Output
from cam_engine.models.tracing.levels import LEVELS, by_depth, by_grid, by_level
from cam_engine.models.tracing.passes import noise, run
from cam_engine.models.tracing.places import in_order


def traced_layout(
    network: nn.Module, input_size: tuple[int, int], recorded: Layout | None = None
) -> Layout:
    """The layout of a network in eval mode, for images of (height, width) pixels.

    recorded: what its library records of its stages, which is taken where early, mid and late have
    a grid and reach the logits. Raises ArchitectureUnknown where nothing does, and InvalidOption
    where the network does not run on images of that size.
    """
    image = noise(network, input_size, seed=0).requires_grad_()
    logits, outputs = run(network, image)
    reached = in_order(network, image, reach_logits(logits, outputs))
    graph = Graph(logits, image)
    passed = [
        candidate for candidate in reached if graph.is_passed_by_all(candidate.tensor.grad_fn)
    ]
    by_module = {candidate.module: candidate for candidate in reached}
    if recorded is not None and _holds(recorded, by_module):
        return replace(_confirmed(recorded, by_module, graph), image_size=input_size)
    chosen = by_level(passed, input_size) or by_level(reached, input_size)
    chosen = chosen or by_grid(passed) or by_depth(passed) or by_depth(reached)
    if chosen is None:
        raise ArchitectureUnknown(
            f"{type(network).__name__} has no three modules whose outputs reach the logits and "
            "are a grid of cells that lie as in the image: nothing can be mapped onto it"
        )
    stages = tuple(_stage(candidate, graph) for candidate in chosen)
    return Layout(stages, *(stage.label for stage in stages), image_size=input_size)


def layout_of(layers: Mapping[str, str], network: nn.Module, input_size: tuple[int, int]) -> Layout:
    """The layout of which early, mid and late are known by their modules.

    layers: "early", "mid" and "late" -> dotted name. Raises ArchitectureUnknown where one is
    missing or has no grid, and InvalidOption as `traced_layout`.
    """
    image = noise(network, input_size, seed=0).requires_grad_()
    logits, outputs = run(network, image)
    wanted = [output for output in outputs if output.module in layers.values()]
    by_module = {candidate.module: candidate for candidate in in_order(network, image, wanted)}
    missing = [name for name in LEVELS if layers.get(name) not in by_module]
    if missing:
        raise ArchitectureUnknown(
            f"{type(network).__name__}: {missing[0]} is {layers.get(missing[0])!r}, which is no "
            "module whose output has a grid of cells that lie as in the image"
        )
    graph = Graph(logits, image)
    stages = tuple(_stage(by_module[layers[name]], graph) for name in LEVELS)
    return Layout(stages, *(stage.label for stage in stages), image_size=input_size)


def _holds(layout: Layout, outputs: Mapping[str, Output]) -> bool:
    wanted = {layout.early, layout.mid, layout.late}
    modules = [stage.tap.module for stage in layout.stages if stage.label in wanted]
    return all(module in outputs for module in modules)


def _confirmed(layout: Layout, outputs: Mapping[str, Output], graph: Graph) -> Layout:
    """The recorded stages as they were seen to be; those that have no grid are left out."""
    seen = [
        replace(stage, tap=_stage(outputs[stage.tap.module], graph).tap)
        for stage in layout.stages
        if stage.tap.module in outputs
    ]
    return replace(layout, stages=tuple(seen))


def _stage(output: Output, graph: Graph) -> Stage:
    sign = sign_of(output.tensor.grad_fn, graph)
    grid = output.grid if output.tokens is not None else None
    tap = Tap(output.module, sign, output.tokens, output.channels, grid)
    return Stage(output.module, output.module, tap)
