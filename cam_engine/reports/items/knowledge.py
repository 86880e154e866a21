"""Does the map know the model, and does it know the class?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cam_engine.errors import NonFiniteOutput
from cam_engine.evidence.agreement import rank_correlation
from cam_engine.evidence.randomisation import complexity_rise, randomised, similarity
from cam_engine.evidence.resampling import Interval
from cam_engine.images.preparing import to_batch
from cam_engine.maps.explainer import Explainer, NetworkInput
from cam_engine.pictures.rendering import full_size_map
from cam_engine.reports import plots
from cam_engine.reports.criteria import Cell, Criterion, Picture, Section, Table, make_table
from cam_engine.reports.study import Indices, Study, only_layer, shown
from cam_engine.reports.words import below, counted, figure_with, if_informed, judged
from cam_engine.results import Explanation, FloatMap, LayerMap, RgbImage

MOST_SHARED = 0.5  # rank correlation of the maps for two classes: half of the order
Values = NDArray[np.float64]


def measure_knowledge(study: Study) -> Section:
    """Randomisation of weights, eMPRT, and the maps for other classes."""
    chosen = study.chosen(study.effort.map_crops)
    pixels = study.inputs(chosen)
    size = pixels[0].shape[:2]
    maps = [full_size_map(one, size) for one in study.own_maps]
    pairs = _pairs(maps, study.effort.pairs, study.seed)
    class_criteria, class_table = _classes(study, chosen, pixels)
    random_criteria, random_table, rise, plot = _randomisation(study, chosen, pixels, maps, pairs)
    return Section(
        "knowledge",
        "Knows model and class",
        (
            (
                f"Maps of {counted(len(chosen), 'crop')}. Weights are made random from the head "
                "downwards, statistics of batch norms that are random are estimated anew, and "
                "the fused map for the same class is compared with the trained network's. Maps "
                "of different images stand beside it: a map of a random network should not be "
                "more alike than these."
            ),
            (
                "A map that does not know the class has a correlation of 1 with the map for any "
                "other class of the same image."
            ),
            rise,
        ),
        tuple(
            if_informed(one, informed=study.informed) for one in (*random_criteria, *class_criteria)
        ),
        (random_table, class_table),
        (plot,),
    )


def _pairs(maps: Sequence[FloatMap], count: int, seed: int) -> tuple[float, float]:
    """(mean SSIM, mean Spearman) of random pairs of different images' maps (Arun et al. 2021)."""
    if len(maps) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(len(maps), 2, replace=False) for _ in range(count)]
    ssim = [similarity(maps[i], maps[j]) for i, j in drawn]
    ranks = [rank_correlation(maps[i], maps[j]) for i, j in drawn]
    return float(np.mean(ssim)), _mean_of(np.array(ranks, np.float64))


def _classes(
    study: Study, chosen: Indices, pixels: Sequence[RgbImage]
) -> tuple[list[Criterion], Table]:
    """Correlation of the map for the named class with those for the runner-up and another."""
    rng = np.random.default_rng(study.seed)
    classes = len(study.class_names)
    other = (study.predicted + rng.integers(1, classes, len(study.crops))) % classes
    rows: list[tuple[Cell, ...]] = []
    runner_up: dict[str, Interval] = {}
    bootstrap = study.bootstrap(chosen)
    of_own = study.of_kinds(pixels, study.predicted[chosen])
    of_others = [study.of_kinds(pixels, targets[chosen]) for targets in (study.runner_up, other)]
    for name, own in of_own.items():
        cells: list[Cell] = [name]
        for others in of_others:
            found = bootstrap.mean_where_known(_correlations(own, others[name]))
            cells += [found.value, found.low, found.high]
            runner_up.setdefault(name, found)
        cells.append(sum(one.empty for one in own))
        rows.append(tuple(cells))
    found = runner_up["fused"]
    criterion = judged(
        "knowledge.class",
        below(found, MOST_SHARED),
        "The fused map for the named class and the one for the runner-up share "
        f"{figure_with(found)} of their rank order (1: it does not know the class; asked is "
        f"below {MOST_SHARED}).",
        found,
        n=bootstrap.clusters,
        threshold=MOST_SHARED,
    )
    table = make_table(
        "knowledge.classes",
        "Rank correlation of maps for different classes",
        "map, runner-up:number, low:number, high:number, another class:number, "
        "another low:number, another high:number, empty maps:count",
        rows,
        "Spearman's rho over the pixels of one image; crops with an empty map have none.",
    )
    return [criterion], table


def _correlations(one: Sequence[LayerMap], other: Sequence[LayerMap]) -> Values:
    found = [rank_correlation(a.values, b.values) for a, b in zip(one, other, strict=True)]
    return np.array([np.nan if rho is None else rho for rho in found], np.float64)


def _randomisation(
    study: Study,
    chosen: Indices,
    pixels: Sequence[RgbImage],
    maps: Sequence[FloatMap],
    pairs: tuple[float, float],
) -> tuple[list[Criterion], Table, str, Picture]:
    few = np.arange(len(chosen))[: study.effort.random_crops]
    images = [pixels[at] for at in few]
    indices = chosen[few]
    size = images[0].shape[:2]
    steps: dict[float, list[tuple[Values, Values, Values, int]]] = {}
    for seed in range(study.effort.random_seeds):
        for share, made in _random_maps(study, images, indices, study.seed + seed):
            found = [shown(one, size) for one in made]
            empty = np.array([only_layer(one).empty for one in made])
            measured = _against(found, [maps[at] for at in few], empty)
            steps.setdefault(share, []).append((*measured, int(empty.sum())))
    rows: list[tuple[Cell, ...]] = []
    for share, seeds in steps.items():
        ssim, ranks, rises = (
            _mean(part)
            for part in ([o[0] for o in seeds], [o[1] for o in seeds], [o[2] for o in seeds])
        )
        rows.append(
            (
                "head alone" if share == 0 else f"{share:.0%} of the layers",
                _mean_of(ssim),
                _mean_of(ranks),
                _mean_of(rises),
                sum(one[3] for one in seeds),
            )
        )
    rows.append(("maps of different images", *pairs, None, None))
    bootstrap = study.bootstrap(indices)
    whole = steps[max(steps)]
    criteria = [
        _below_pairs(id_, bootstrap.mean_where_known(values), pair, name, study.units(indices))
        for id_, name, values, pair in (
            ("knowledge.model", "Spearman's correlation", _mean([o[1] for o in whole]), pairs[1]),
            ("knowledge.model_structure", "SSIM", _mean([o[0] for o in whole]), pairs[0]),
        )
    ]
    rise = bootstrap.mean_where_known(_mean([one[2] for one in whole]))
    said = (
        "Once the whole network is random, the complexity of the fused map (entropy of its "
        f"histogram, eMPRT) changes by {figure_with(rise)} of the trained map's."
    )
    table = make_table(
        "knowledge.random",
        "The trained map against the maps of networks made random",
        "random, SSIM:number, Spearman:number, rise of complexity:number, empty maps:count",
        rows,
        f"{counted(len(few), 'crop')}, {counted(study.effort.random_seeds, 'seed')}; empty maps "
        "are counted over all seeds and stand in no mean.",
    )
    x = np.array(list(steps))
    plot = plots.curves(
        "knowledge.plot",
        "Similarity of the map to the trained network's while more of the network is made random, "
        "from the head downwards; controls: the mean over pairs of different images' maps.",
        {
            "SSIM": (x, np.array([row[1] for row in rows[:-1]], np.float64)),
            "Spearman": (x, np.array([row[2] for row in rows[:-1]], np.float64)),
            "control: SSIM of other images": (x, np.full(len(x), pairs[0])),
            "control: Spearman of other images": (x, np.full(len(x), pairs[1])),
        },
        ("share of layers that are random", "similarity"),
    )
    return criteria, table, said, plot


def _random_maps(
    study: Study, images: Sequence[RgbImage], indices: Indices, seed: int
) -> Iterator[tuple[float, list[Explanation]]]:
    """Of each step; a network that answers NaN is left out."""
    classifier = study.explainer.classifier
    batch = to_batch(images, classifier.preprocessing, "cpu")
    options = replace(study.options, clahe=False, target=None)
    targets = [int(index) for index in study.predicted[indices]]
    for step in randomised(classifier.network, batch, seed, study.effort.random_shares):
        explainer = Explainer(
            replace(classifier, network=step.network),
            device=study.explainer.device,
            precision="float32",
            batch_size=study.explainer.batch_size,
        )
        try:
            inputs = [NetworkInput(image) for image in images]
            yield step.share, explainer.explain_inputs(inputs, options, targets)
        except NonFiniteOutput:
            continue


def _against(
    found: Sequence[FloatMap], trained: Sequence[FloatMap], empty: NDArray[np.bool_]
) -> tuple[Values, Values, Values]:
    """(SSIM, Spearman, rise of complexity), each (n,), NaN where the map is empty."""
    rows = []
    for one, own, is_empty in zip(found, trained, empty, strict=True):
        rho = None if is_empty else rank_correlation(one, own)
        rows.append(
            (
                np.nan if is_empty else similarity(one, own),
                np.nan if rho is None else rho,
                np.nan if is_empty else complexity_rise(own, one),
            )
        )
    ssim, ranks, rises = np.array(rows, np.float64).T
    return ssim, ranks, rises


def _mean_of(values: Values) -> float:
    """Of those that are numbers; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _mean(seeds: Sequence[Values]) -> Values:
    """Over seeds, of each crop; NaN where it has none."""
    stacked = np.array(seeds)
    known = np.isfinite(stacked)
    sums = np.where(known, stacked, 0.0).sum(0)
    return np.where(known.any(0), sums / np.maximum(known.sum(0), 1), np.nan)


def _below_pairs(id_: str, found: Interval, pair: float, name: str, units: int) -> Criterion:
    if not np.isfinite(found.value) or not np.isfinite(pair):
        return Criterion(id_, "cannot_tell", "No map of a random network could be compared.")
    return judged(
        id_,
        below(found, pair),
        f"{name} of the fused map with that of a wholly random network is {figure_with(found)}; "
        f"maps of different images have {pair:.2f}.",
        found,
        n=units,
        threshold=pair,
    )
