"""Which maps find the parasite, know the class and follow the answer, side by side.

Over the crops that a model gets right, of each kind of map: AP and peak against the labelled box,
insertion less deletion by the probability, and the rank correlation of the map for the predicted
class with that for the runner-up. Maps are measured as they are delivered.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.documents import replace_block
from benchmarks.localisation import LabelledCrop, read_crops
from cam_engine.errors import CamError
from cam_engine.evidence.agreement import rank_correlation
from cam_engine.evidence.faithfulness import blurred, deletion, insertion, mean_coloured
from cam_engine.evidence.localisation import average_precision, peak_share
from cam_engine.evidence.resampling import ClusterBootstrap, Interval, Values
from cam_engine.maps.explainer import Explainer, NetworkInput
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions
from cam_engine.pictures.rendering import full_size_map
from cam_engine.results import Explanation, RgbImage

MEASURES = ("AP", "peak", "insertion - deletion", "class correlation")
KINDS: Mapping[str, CamOptions] = {
    "gradcam late": CamOptions(method="gradcam", layers=("late",)),
    "gradcam++ late": CamOptions(layers=("late",)),
    "layercam late": CamOptions(method="layercam", layers=("late",)),
    "fused": CamOptions(layers=(), fused=True),
    "fused, --taps raw": CamOptions(layers=(), fused=True, taps="raw"),
    "fused, --score margin": CamOptions(layers=(), fused=True, score="margin"),
    "fused, --fusion layercam": CamOptions(layers=(), fused=True, fusion="layercam"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One model: {kind: {measure: (crops,)}}, NaN where a crop has no such figure."""

    name: str
    given: int
    right: int
    slides: int
    kinds: Mapping[str, Mapping[str, Interval]]


def measure(path: Path, crops: Sequence[LabelledCrop], arguments: argparse.Namespace) -> Measured:
    """One model over the crops that it gets right, at most so many of them, chosen by the seed."""
    classifier = load_classifier(path)
    explainer = Explainer(classifier, device=arguments.device)
    prepared = [explainer.prepare_image(crop.image, CamOptions()).network_input for crop in crops]
    answers = np.array(explainer.probabilities([image.pixels for image in prepared]))
    labels = [classifier.class_names.index(crop.label) for crop in crops]
    right = np.flatnonzero(answers.argmax(1) == labels)
    chosen = np.sort(np.random.default_rng(arguments.seed).permutation(right)[: arguments.crops])
    if not len(chosen):
        raise SystemExit(f"{path} gets none of the {len(crops)} crops right")
    ranked = np.argsort(-answers[chosen], axis=1, kind="stable")
    kept = [crops[i] for i in chosen]
    inputs = [replace(prepared[i], plain=None) for i in chosen]
    bootstrap = ClusterBootstrap([crop.slide for crop in kept], seed=arguments.seed)
    kinds = {
        kind: _columns(list(_of_kind(explainer, options, kept, inputs, ranked)), bootstrap)
        for kind, options in KINDS.items()
    }
    return Measured(path.absolute().parent.name, len(crops), len(kept), bootstrap.clusters, kinds)


def _of_kind(
    explainer: Explainer,
    options: CamOptions,
    crops: Sequence[LabelledCrop],
    inputs: Sequence[NetworkInput],
    ranked: np.ndarray,
) -> Iterator[tuple[float, ...]]:
    first, second = (
        explainer.explain_inputs(inputs, options, ranked[:, place].tolist()) for place in (0, 1)
    )
    for crop, image, own, other in zip(crops, inputs, first, second, strict=True):
        shown = _shown(own, crop.size)
        correlation = rank_correlation(shown, _shown(other, crop.size))
        yield (
            average_precision(shown, crop.mask),
            peak_share(shown, crop.mask),
            _followed(explainer, own, image.pixels),
            np.nan if correlation is None else correlation,
        )


def _shown(explanation: Explanation, size: tuple[int, int]) -> Values:
    (layer,) = explanation.layers
    return full_size_map(layer, size).astype(np.float64)


def _followed(explainer: Explainer, explanation: Explanation, pixels: RgbImage) -> float:
    """Insertion into a blurred image less deletion to the mean colour, by the probability."""
    values = _shown(explanation, (pixels.shape[0], pixels.shape[1]))

    def score(images: Sequence[RgbImage]) -> Values:
        return np.array(explainer.probabilities(images))[:, explanation.target.index]

    into = insertion(values, pixels, blurred(pixels), score)
    out_of = deletion(values, pixels, mean_coloured(pixels), score)
    return into.area - out_of.area


def _columns(
    rows: Sequence[tuple[float, ...]], bootstrap: ClusterBootstrap
) -> Mapping[str, Interval]:
    columns = dict(zip(MEASURES, np.array(rows).T, strict=True))
    return {name: bootstrap.mean_where_known(values) for name, values in columns.items()}


def markdown(results: Sequence[Measured]) -> str:
    """A table a model, one after the other."""
    parts = []
    for result in results:
        parts.append(
            f"{result.name}: {result.right} of the crops that it gets right, of "
            f"{result.slides} slides.\n\n| map | {' | '.join(MEASURES)} |\n"
            f"|{' --- |' * (len(MEASURES) + 1)}"
        )
        for kind, columns in result.kinds.items():
            cells = (f"{c.value:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in columns.values())
            parts[-1] += f"\n| {kind} | {' | '.join(cells)} |"
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled crops")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="checkpoints")
    parser.add_argument("--crops", type=int, default=32, help="most of a model")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and of resamples")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--output", type=Path, help="page whose block is rewritten")
    arguments = parser.parse_args()
    results = []
    try:
        crops = read_crops(arguments.data)
        for path in arguments.models:
            results.append(measure(path, crops, arguments))
            print(f"\n{markdown(results[-1:])}", flush=True)
    except (CamError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if arguments.output is not None:
        replace_block(arguments.output, "evidence", markdown(results).splitlines())


if __name__ == "__main__":
    main()
