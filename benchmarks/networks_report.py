"""docs/networks.md from what the log of the networks says."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import timm
import torch
import torchvision

from benchmarks.networks_check import (
    CANCELLED,
    LIBRARIES,
    LOGITS_WITHIN,
    MAPS_WITHIN,
    LayerFact,
    Outcome,
    is_in_table,
)

GOAL = 0.95
MILLION = 1_000_000
Outcomes = Mapping[tuple[str, str], Outcome]

INTRODUCTION = """\
# Networks

Every classifier in the registries of torchvision and timm, tried one by one. Each was built by
its library with random weights and four classes, saved as a state dict with its name, loaded with
`load_classifier`, and explained at the input size that its library records of it. It counts as
explained if

- its logits are the library's own, within {logits} of the largest;
- early, mid and late each have a grid of cells, and what a cell depends on most lies at its place
  in the image;
- Grad-CAM and LayerCAM maps are those of
  [pytorch-grad-cam](https://github.com/jacobgil/pytorch-grad-cam) on the same modules of the
  library's own network, within {maps} of the map's maximum, for one of three images of noise.
  (Where rounding turns a ReLU's input of nearly 0 positive or negative, a part of a map differs.
  Where positive and negative channels cancel, so that the maximum is less than {cancelled:.0%} of
  what was summed up, the difference is relative to that share.)

Random weights say nothing about what the maps of a trained network are worth: [trust](trust.md)
does.

Where the network has a row in the engine's table, its layers are from there. Of all others they
are found by running the network: the modules that all of the image's information passes through,
of about 8, 16 and 32 pixels a cell. Where there are none of those sizes, they are the three
coarsest grids, or, where all grids are alike, a third, two thirds and the end of the way.
`gradcam inspect` says which they are for a file at hand.

This page is written by `make networks`, which takes hours on a small machine and goes on where it
was ended."""


def report(sizes: Outcomes, outcomes: Outcomes, most_parameters: int) -> list[str]:
    """The page's lines. sizes: of all networks; outcomes: of those that were tried."""
    versions = f"torchvision {torchvision.__version__}, timm {timm.__version__}"
    said = INTRODUCTION.format(logits=LOGITS_WITHIN, maps=MAPS_WITHIN, cancelled=CANCELLED)
    lines = said.splitlines()
    lines += ["", f"Made with {versions}, torch {torch.__version__}, on a CPU.", ""]
    lines += ["## Shares", "", *_shares(sizes, outcomes, most_parameters), ""]
    for library in LIBRARIES:
        own = [key for key in sizes if key[0] == library]
        if own:
            lines += [f"## {library}", "", *_families(library, sizes, outcomes, most_parameters)]
    return lines


def _shares(sizes: Outcomes, outcomes: Outcomes, most_parameters: int) -> Iterator[str]:
    limit = most_parameters // MILLION
    yield (
        f"| library | networks | tried | explained | of those tried | over {limit} million "
        "parameters, not tried | not reached |"
    )
    yield "|---|---|---|---|---|---|---|"
    for library in LIBRARIES:
        own = {key: size for key, size in sizes.items() if key[0] == library}
        if not own:
            continue
        tried = [outcomes[key] for key in own if key in outcomes]
        good = sum(outcome.problem is None for outcome in tried)
        large = sum(
            size.parameters > most_parameters for key, size in own.items() if key not in outcomes
        )
        share = good / len(tried) if tried else 0.0
        said = f"{100 * share:.1f} % (goal {100 * GOAL:.0f} %"
        said += ")" if share >= GOAL else ", NOT REACHED)"
        cells = [library, len(own), len(tried), good, said, large, len(own) - len(tried) - large]
        yield f"| {' | '.join(str(cell) for cell in cells)} |"


def _families(
    library: str, sizes: Outcomes, outcomes: Outcomes, most_parameters: int
) -> Iterator[str]:
    by_family: dict[str, list[Outcome]] = defaultdict(list)
    for key, size in sizes.items():
        if key[0] == library:
            by_family[size.family].append(size)
    yield (
        "Families are the library's own modules. Layers are those of the first network named. "
        "`relu` after a module: its output is taken after the ReLU that made it or comes next."
    )
    yield ""
    yield "| family | explained | of | for example | early, mid, late | grids | laid out as |"
    yield "|---|---|---|---|---|---|---|"
    for family in sorted(by_family):
        tried = [outcomes[library, one.name] for one in by_family[family] if _is_in(one, outcomes)]
        yield _family_row(family, len(by_family[family]), tried)
    yield ""
    yield from _others(library, sizes, outcomes, most_parameters)


def _is_in(size: Outcome, outcomes: Outcomes) -> bool:
    return (size.library, size.name) in outcomes


def _family_row(family: str, count: int, tried: Sequence[Outcome]) -> str:
    good = sorted((one for one in tried if one.problem is None), key=lambda one: one.parameters)
    if not good:
        return f"| {family} | 0 | {count} | | | | |"
    example = good[0]
    height, width = example.input_size or (0, 0)
    named = f"{example.name} at {height} x {width} px"
    if is_in_table(example.name):
        named += ", of the table"
    modules = ", ".join(_module(layer) for layer in example.layers)
    grids = ", ".join(f"{high} x {wide}" for high, wide in (one.grid for one in example.layers))
    layouts = ", ".join(dict.fromkeys(layer.layout for layer in example.layers))
    return f"| {family} | {len(good)} | {count} | {named} | {modules} | {grids} | {layouts} |"


def _module(layer: LayerFact) -> str:
    return f"`{layer.module}`" + ("" if layer.sign == "signed" else " relu")


def _others(
    library: str, sizes: Outcomes, outcomes: Outcomes, most_parameters: int
) -> Iterator[str]:
    """What was tried and failed with its reason, what was not tried and why."""
    own = [size for key, size in sizes.items() if key[0] == library]
    failed = [
        outcomes[library, one.name]
        for one in own
        if _is_in(one, outcomes) and outcomes[library, one.name].problem is not None
    ]
    untried = [one for one in own if not _is_in(one, outcomes)]
    large = [one for one in untried if one.parameters > most_parameters]
    missed = [one for one in untried if one.parameters <= most_parameters]
    yield f"### Others of {library}"
    yield ""
    if not (failed or large or missed):
        yield "None."
        yield ""
        return
    if failed:
        yield "Not explained:"
        yield ""
        for reason, names in _grouped(failed):
            yield f"- {', '.join(names)}: {reason}"
        yield ""
    if large:
        yield f"Not built here, {most_parameters // MILLION} million parameters being the limit:"
        yield ""
        yield ", ".join(f"{one.name} ({one.parameters // MILLION} million)" for one in large) + "."
        yield ""
    if missed:
        families = Counter(one.family for one in missed)
        yield "Not reached before the time was up, by family:"
        yield ""
        yield ", ".join(f"{family} ({count})" for family, count in sorted(families.items())) + "."
        yield ""


def _grouped(failed: Sequence[Outcome]) -> list[tuple[str, list[str]]]:
    """Reasons with the networks that they are of; names and numbers in them do not matter."""
    reasons: dict[str, tuple[str, list[str]]] = {}
    for outcome in failed:
        said = outcome.problem or ""
        alike = re.sub(r"[\d.e+-]+", "#", said.replace(outcome.name, "*"))
        reasons.setdefault(alike, (said, []))[1].append(outcome.name)
    return list(reasons.values())
